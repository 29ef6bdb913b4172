"""A running explorer on the toy cascade."""

import asyncio
import http.client
import json
import socket
import threading

import pytest

TOKEN = "t" * 43


class RunningExplorer:
    """Requests to a server on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}/e/{TOKEN}"

    def ask(self, path: str, body: object = None, *, token: str = TOKEN, **headers: str):
        """(status, headers, content); POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        method = "GET" if body is None else "POST"
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        connection.request(method, f"/e/{token}{path}", sent, {"Content-Type": kind, **headers})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, dict(reply.getheaders()), content

    def said(self, path: str, body: object = None) -> dict:
        status, _, content = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def events(self, job: str) -> list[tuple[str, dict]]:
        """All server-sent events of a job, in order."""
        content = self.ask(f"/job/{job}")[2].decode()
        blocks = [block.split("\n") for block in content.strip().split("\n\n")]
        return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
                for kind, data in blocks]  # fmt: skip


@pytest.fixture(scope="module")
def explorer(still_generator):
    uvicorn = pytest.importorskip("uvicorn")
    from echocascade.studies.explorer.app import ExplorerApp
    from echocascade.studies.explorer.session import Explorer
    from echocascade.studies.server import Tokens

    page = ExplorerApp(Explorer(still_generator, "tiny", True), Tokens.of({"user": TOKEN}))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(page.app(), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    yield RunningExplorer(listening.getsockname()[1])
    server.should_exit = True
    thread.join(20)
    listening.close()
