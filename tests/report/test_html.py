"""Pages: complete without a network, safe with hostile text."""

import re

import nbformat
import numpy as np
import pytest

from echocascade.report.html import (
    Page,
    Site,
    find_external,
    first_sentence,
    inline_html,
    read_page,
    render_notebook,
    without_network,
    write_assets,
)
from echocascade.report.media import clip_html

HOSTILE = "<script>document.title='attacked'</script>"
FIGURE = {
    "data": [{"type": "scatter", "y": [1, 3, 2], "name": HOSTILE}],
    "layout": {"title": {"text": f"A figure {HOSTILE}"}, "height": 320},
}


def output(mime: str, content: object) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data={mime: content})


@pytest.fixture
def page(tmp_path):
    """A page with everything a notebook can show, and its folder."""
    frames = np.zeros((8, 28, 28, 1), np.uint8)
    outputs = [
        output("application/vnd.plotly.v1+json", FIGURE),
        output("text/html", clip_html([frames, frames], 8, ["LVEF 30 %", HOSTILE])._repr_html_()),
        output("text/html", '<script src="https://cdn.example/x.js"></script><p>kept</p>'),
        output("text/html", '<img src="https://example.org/x.png" alt="gone">'),
        output("text/markdown", f"a value of **{HOSTILE}** and $x_1$"),
        nbformat.v4.new_output("stream", name="stdout", text=f"\x1b[31m{HOSTILE}\x1b[0m"),
        output("text/plain", HOSTILE),
    ]
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell(
            "# Learning *to* beat\n\nFrom $\\lambda_c$ to a heart. More."
        ),
        nbformat.v4.new_code_cell("show()", outputs=outputs, execution_count=1),
    ]
    file = tmp_path / "04_train_base.ipynb"
    nbformat.write(notebook, file)
    site = Site(f"run {HOSTILE}", (read_page(file),), "These numbers come from a phantom")
    render_notebook(file, tmp_path / "report" / "04_train_base.html", site)
    write_assets(tmp_path / "report")
    return tmp_path / "report" / "04_train_base.html"


def test_text_from_data_is_escaped_wherever_it_appears(page):
    assert HOSTILE not in page.read_text()


def test_a_page_asks_for_nothing_outside_its_folder(page):
    text = page.read_text()
    assert find_external(text) == []
    assert re.findall(r'<script src="([^"]*)"', text) == ["assets/plotly.min.js"]
    assert "kept" in text and "cdn.example" not in text and "example.org" not in text
    assert text.count("<math") == 2


def test_the_page_is_small_because_plotly_is_beside_it(page):
    assert page.stat().st_size < 60_000
    assert (page.parent / "assets/plotly.min.js").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    "element",
    [
        '<script src="//cdn.example/a.js"></script>',
        "<script async src='http://cdn.example/a.js'>\n</script>",
        '<link rel="stylesheet" href="https://fonts.example/x.css">',
        "<img alt=a src=https://example.org/x.png>",
        '<video poster="https://example.org/x.png"></video>',
        '<iframe width=1 src="https://example.org"></iframe>',
    ],
)
def test_elements_that_would_fetch_something_are_found_and_disarmed(element):
    assert find_external(element)
    assert find_external(without_network(element)) == []


def test_links_a_reader_may_click_stay():
    link = '<a href="https://arxiv.org/abs/2303.12644">paper</a>'
    assert find_external(link) == [] and without_network(link) == link


def test_title_and_story_come_from_the_first_cell(page):
    found = read_page(page.parents[1] / "04_train_base.ipynb")
    assert found == Page("04_train_base", "Learning to beat", "From $\\lambda_c$ to a heart.")
    assert "<math" in inline_html(found.story)
    assert "&lt;b&gt;" in inline_html("<b>")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("As Karras et al. Show, it works. More", "As Karras et al. Show, it works."),
        ("See Sec. 2 of it. More", "See Sec. 2 of it."),
        ("No end", "No end"),
    ],
)
def test_the_story_is_one_sentence(text, sentence):
    assert first_sentence(text) == sentence


def test_clips_refuse_what_is_no_clip():
    with pytest.raises(ValueError, match="uint8"):
        clip_html([np.zeros((4, 8, 8, 1))], 8)
    with pytest.raises(ValueError, match="1 labels for 2 clips"):
        clip_html(np.zeros((2, 4, 8, 8, 1), np.uint8), 8, ["one"])


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_drawn_and_clips_play_without_network(page, browser, scheme):
    context = browser.new_context(offline=True, color_scheme=scheme)
    tab = context.new_page()
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_function(
        "[...document.querySelectorAll('.figure')].every(f => f.querySelector('.main-svg'))"
    )
    tab.wait_for_function(
        "[...document.querySelectorAll('video')].every(v => v.currentTime > 0 && !v.paused)"
    )
    assert tab.locator("video").count() == 2
    assert tab.locator(".figure .main-svg").count() > 0
    assert tab.title() != "attacked"
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.browser
def test_code_is_folded_and_opens(page, browser):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    assert not tab.locator("details.code .highlight").is_visible()
    tab.locator("#show-code").check()
    assert tab.locator("details.code .highlight").is_visible()
    tab.close()
