"""The explorer in a notebook: a slider that needs no server, and a page that does."""

import numpy as np
import pytest

from echocascade.evaluation.stick import segment_lvef
from echocascade.report.explorer_view import explorer_view
from echocascade.report.strips import comparison_strip
from echocascade.studies.stills import Ask, Made

FPS = 8


@pytest.fixture(scope="module")
def made() -> Made:
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 255, (3, 16, 32, 32, 1), dtype=np.uint8)
    stick = tuple(segment_lvef(v, 2.0) for v in videos)
    asks = tuple(Ask(lvef) for lvef in (20, 50, 80))
    return Made(videos[0, 0], asks, videos, FPS, np.array([21.0, np.nan, 77.0]), stick)


def test_the_view_reaches_nothing_and_every_view_has_its_own_name(made):
    one, two = (explorer_view(made)._repr_html_() for _ in range(2))
    assert "http" not in one and "{{" not in one
    assert one.count("data:video/mp4;base64,") == 3
    assert one.split('id="')[1].split('"')[0] != two.split('id="')[1].split('"')[0]


@pytest.mark.browser
def test_the_slider_shows_the_clip_and_what_was_read(made, browser, tmp_path):
    (tmp_path / "view.html").write_text(explorer_view(made)._repr_html_(), encoding="utf-8")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "view.html").as_uri())
    assert page.locator("output").inner_text() == "50 %"
    middle = page.locator(".shown video").get_attribute("src")
    page.locator("input").fill("2")
    assert page.locator("output").inner_text() == "80 %"
    assert "regressor 77 %" in page.locator(".read").inner_text()
    assert page.locator(".shown video").get_attribute("src") != middle
    page.locator(".others figure").first.click()
    assert page.locator("output").inner_text() == "20 %"
    assert page.locator(".read a").get_attribute("download") == "synthetic-lvef20-noise0.mp4"
    page.close()
    assert errors == []


def test_a_strip_has_a_row_a_clip_and_says_synthetic(made):
    strip = comparison_strip(made, columns=4)
    assert strip.shape == (34 + 3 * 168, 150 + 5 * 168, 3)
    header = strip[:34, :150].astype(int)
    assert (header[..., 0] - header[..., 2]).max() > 60  # the word is red
    assert (strip[34 : 34 + 168, 150 : 150 + 168].std() > 10) and strip[34:, :150].max() > 150
