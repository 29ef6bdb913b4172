"""The explorer as a person meets it, in headless Chromium, which reaches nothing but its server."""

import io

import pytest
from PIL import Image
from pydicom import examples

from drawn import fan

pytestmark = pytest.mark.browser
CLIP, DONE = ".card .files a[href$='clip.mp4']", "#progress"


@pytest.fixture
def page(browser, explorer):
    """The opened page; fails on any script error, and on a request that leaves the server."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    errors, outside = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: outside.append(r.url) if _leaves(r.url, explorer) else None)
    page.goto(explorer.address)
    page.locator("#pick").wait_for()
    yield page
    page.close()
    assert errors == [] and outside == []


def _leaves(url: str, explorer) -> bool:
    return not url.startswith((explorer.address, "data:", "blob:"))


def upload(page, name: str = "still.png") -> None:
    buffer = io.BytesIO()
    Image.fromarray(fan(128)[0]).save(buffer, format="PNG")
    page.set_input_files(
        "#file", {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    wait_for_clips(page, 1)


def wait_for_clips(page, count: int) -> None:
    page.locator(CLIP).nth(count - 1).wait_for(timeout=60_000)
    page.locator(DONE).wait_for(state="hidden", timeout=60_000)
    assert page.locator(".card").count() == count


def titles(page) -> list[str]:
    return page.locator(".card h2 > span").all_inner_texts()


def test_an_image_becomes_a_playing_clip_with_curve_and_reading(page):
    assert page.locator("#lvef").is_disabled()
    upload(page)
    assert titles(page) == ["55 %"]
    assert "regressor" in page.locator(".card .read").inner_text()
    assert page.locator(".card svg .axis").count() == 2
    assert "sector of" in page.locator("#facts").inner_text()
    video = page.locator(".card video")
    video.evaluate("v => new Promise(r => v.readyState >= 2 ? r() : v.onloadeddata = r)")
    before = video.evaluate("v => v.currentTime")
    page.wait_for_timeout(400)
    assert video.evaluate("v => !v.paused && v.duration") == pytest.approx(2, abs=0.1)
    assert video.evaluate("v => v.currentTime") != before


def test_the_slider_asks_for_another_heart(page):
    upload(page)
    first = page.locator(CLIP).get_attribute("href")
    page.locator("#lvef").fill("30")
    page.locator(".card .files a[href*='.30.']").first.wait_for(timeout=60_000)
    assert titles(page) == ["30 %"] and page.locator("#value").inner_text() == "30 %"
    assert page.locator(CLIP).get_attribute("href") != first


def test_lvefs_are_compared_side_by_side_with_the_same_noise(page):
    upload(page)
    page.click("#add")
    wait_for_clips(page, 2)
    assert titles(page) == ["55 %", "30 %"]
    assert page.locator(".card h2 small").all_inner_texts() == ["noise 0", "noise 0"]
    page.locator(".card").first.click()
    assert page.locator("#lvef").input_value() == "55"
    page.click("#noise")
    page.locator(".card .files a[href*='.1.']").nth(5).wait_for(timeout=60_000)
    assert page.locator(".card h2 small").all_inner_texts() == ["noise 1", "noise 1"]
    page.locator(".card .remove").first.click()
    wait_for_clips(page, 1)
    assert titles(page) == ["30 %"]


def test_intermediate_denoising_is_shown(page):
    """Slowed by a longer clip of several hearts, the sheet of the stage at work is drawn."""
    upload(page)
    for _ in range(3):
        page.click("#add")
    page.locator("#length button", has_text="6 s").click()
    page.locator(".card .doing").first.wait_for(timeout=60_000)
    assert page.locator(".card .doing").first.inner_text().split(",")[0] in ("base", "tssr")
    page.locator(".card canvas").first.wait_for()
    wait_for_clips(page, 4)
    page.locator(".card svg text", has_text="6 s").nth(3).wait_for(timeout=60_000)


def test_a_patient_is_picked_and_a_clip_saved(page, tmp_path):
    page.locator("#patient").select_option("0")
    wait_for_clips(page, 1)
    assert page.locator("#facts").inner_text().startswith("Patient 1, own LVEF")
    with page.expect_download() as download:
        page.locator(CLIP).click()
    assert download.value.suggested_filename == "synthetic-lvef55-noise0.mp4"


def test_a_dicom_cine_offers_its_frames(page):
    page.set_input_files("#file", str(examples.get_path("ybr_color")))
    wait_for_clips(page, 1)
    assert page.locator("#at").inner_text() == "1 of 30"
    page.locator("#frame").fill("12")
    page.locator("#at", has_text="13 of 30").wait_for(timeout=60_000)
    wait_for_clips(page, 1)


def test_a_dropped_file_is_taken(page):
    page.evaluate(
        """() => { const sent = new DataTransfer();
        sent.items.add(new File(['no picture'], 'notes.txt'));
        dispatchEvent(new DragEvent('drop', { dataTransfer: sent, bubbles: true })); }"""
    )
    page.locator("#notice", has_text="of no known format; accepted: PNG").wait_for()


def test_what_is_no_sector_is_said_on_the_page(page):
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200)).save(buffer, format="PNG")
    file = {"name": "black.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.set_input_files("#file", file)
    page.locator("#notice", has_text="no cardiac ultrasound sector found").wait_for()
    assert page.locator("#lvef").is_disabled()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_out_of_the_page(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    upload(page)
    page.click("#add")
    wait_for_clips(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
