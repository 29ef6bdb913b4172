"""The index page: what the run did, on one page."""

import json

import numpy as np
import pytest

from echocascade.report.headlines import HEADLINES, Headline, summary_line
from echocascade.report.index import write_report
from echocascade.report.runs import start_notebook

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def run_directory(project, write_notebook):
    """A run with one executed notebook, one failed, numbers, and a hero."""
    run = start_notebook("params/tiny.yaml", "", "04_train_base", stage="base")
    run.record({"x": 1})
    executed = write_notebook("04_train_base")
    (run.directory / "notebooks").mkdir()
    executed.rename(run.directory / "notebooks" / executed.name)
    failure = {"notebook": "06_sampling.ipynb", "stage": None, "reason": f"ValueError: {HOSTILE}"}
    run.path("logs", "06_sampling.failure.json").write_text(json.dumps(failure))
    results = {
        "counterfactual.generation.regressor.single.R2": 0.8421,
        "counterfactual.generation.regressor.single.R2_interval": [0.78, 0.89],
        "counterfactual.generation.regressor.null.single.R2": -0.9,
        "regressor.test.R2": HOSTILE,
    }
    (run.directory / "results.json").write_text(json.dumps(results))
    videos = np.zeros((2, 4, 16, 16, 1), np.uint8)
    np.savez(
        run.path("samples", "hero.npz"),
        frame=videos[0, 0],
        videos=videos,
        lvef_percent=np.array([30.0, 60.0]),
        lvef_measured=np.array([33.4, np.nan]),
        fps=8.0,
    )
    return run.directory


def test_the_index_says_what_the_run_did(run_directory):
    text = write_report(run_directory).read_text()
    assert "come from a phantom" in text
    assert 'href="04_train_base.html"' in text and "The 04_train_base notebook" in text
    assert "0.84" in text and "0.78 to 0.89 (95 % interval)" in text and "−0.90" in text
    assert text.count("<video") == 2 and "33 % measured" in text and "nan" not in text
    assert "This run is not complete. Stopped: sampling." in text
    assert HOSTILE not in text


def test_a_report_on_few_real_clips_says_so(run_directory):
    (run_directory / "logs/04_train_base.status.json").write_text('{"phantom": false}')
    (run_directory / "results.json").write_text('{"data.n_clips": 50}')
    text = write_report(run_directory).read_text()
    assert "These numbers stand on 50 clips" in text and "phantom: drawn" not in text
    assert "pass it on only where" in text
    assert "stand on 50 clips" in (run_directory / "report/04_train_base.html").read_text()


def test_pages_of_notebooks_that_are_gone_are_removed(run_directory):
    write_report(run_directory)
    (run_directory / "notebooks/04_train_base.ipynb").unlink()
    write_report(run_directory)
    assert not (run_directory / "report/04_train_base.html").exists()


def test_a_damaged_hero_is_named(run_directory):
    (run_directory / "samples/hero.npz").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=r"hero\.npz"):
        write_report(run_directory)


def test_headlines_have_a_label_and_a_reading():
    assert all(headline.label and headline.reading.endswith(".") for headline in HEADLINES)
    assert len({headline.key for headline in HEADLINES}) == len(HEADLINES)


def test_a_number_without_value_says_so():
    assert Headline("x", "X").value({"x": None}) == "no value"
    assert Headline("x", "X").value({"x": "not computed: weights"}) == "not computed: weights"


def test_the_console_gets_the_first_numbers():
    line = summary_line({HEADLINES[0].key: 0.8, HEADLINES[2].key: 6.0})
    assert line == f"{HEADLINES[0].label} 0.80; {HEADLINES[2].label} 6.0 points"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_index_opens_offline_and_fits_the_window(run_directory, browser, width):
    index = write_report(run_directory)
    context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
    tab = context.new_page()
    requests = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(index.as_uri())
    tab.wait_for_function("[...document.querySelectorAll('video')].every(v => v.currentTime > 0)")
    assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    tab.click("text=The 04_train_base notebook")
    assert tab.url.endswith("04_train_base.html")
    context.close()
