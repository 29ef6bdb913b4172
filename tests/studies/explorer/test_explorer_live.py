"""The explorer in a notebook: the page in a frame while a kernel lives, its command after that."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from echocascade.report.explorer_view import live_explorer


@pytest.mark.browser
def test_the_live_page_may_stand_in_a_local_frame(browser, still_generator, monkeypatch):
    """As JupyterLab shows it: a page of localhost with the explorer of another port inside."""
    monkeypatch.delenv("ECHOCASCADE_EXECUTION", raising=False)
    shown = live_explorer(still_generator, "tiny", True)._repr_html_().encode()

    class Notebook(BaseHTTPRequestHandler):
        def do_GET(self):  # the name that http.server calls
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(shown)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Notebook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        frame = page.frame_locator("iframe")
        frame.locator("#drop").wait_for(timeout=20_000)
        frame.locator("#pick").wait_for(timeout=20_000)
        assert "run tiny" in frame.locator("#run").inner_text()
        page.close()
        server.shutdown()


def test_under_the_runner_the_command_is_named(still_generator, monkeypatch):
    monkeypatch.setenv("ECHOCASCADE_EXECUTION", "x")
    shown = live_explorer(still_generator, "quick", True)._repr_html_()
    assert "<code>echocascade explore quick</code>" in shown and "iframe" not in shown
