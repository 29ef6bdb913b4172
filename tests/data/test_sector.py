"""The fan of a cardiac ultrasound is found where it is, and nowhere else."""

import cv2
import numpy as np
import pytest

from drawn import fan, screen
from echocascade.data.sector import (
    ECHONET,
    Layout,
    SectorError,
    find_sector,
    measure_layout,
    place_sector,
)


def speckle(inside: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(rng.rayleigh(60, inside.shape), (0, 0), 1.2).clip(0, 255) * inside
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


Y, X = np.mgrid[:256, :256] - 127.5


@pytest.mark.parametrize("opening", [30, 38, 45])
@pytest.mark.parametrize(("left", "top"), [(60, 40), (300, 120)])
def test_a_fan_on_a_screen_is_found_to_a_few_pixels(opening, left, top):
    y, x = np.mgrid[:400, :400].astype(float)
    dx, dy = x - 200, y - 12
    inside = (np.abs(np.arctan2(dx, dy)) < np.radians(opening)) & (np.hypot(dx, dy) < 370)
    found = find_sector(screen(speckle(inside), left=left, top=top))
    assert found.tip_x == pytest.approx(left + 200, abs=8)
    assert found.top == pytest.approx(top + 12, abs=14)
    assert found.top + found.depth == pytest.approx(top + 382, abs=10)
    assert np.degrees(found.opening) == pytest.approx(opening, abs=4)


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        (speckle((np.abs(X) < 110) & (np.abs(Y) < 60)), "rectangle"),
        (speckle(np.hypot(X, Y) < 90), "round"),
        (speckle(np.ones((256, 256), bool)), "rectangle|up to its edges"),
        (speckle((np.abs(X) < (100 - Y) * 0.7) & (np.hypot(X, Y - 100) < 190)), "on its head"),
        (np.zeros((256, 256, 3), np.uint8), "even"),
        (np.full((256, 256, 3), 255, np.uint8), "even"),
    ],
    ids=["linear array", "disk", "photograph", "upside down", "black", "white"],
)
def test_what_is_no_sector_is_named_for_what_it_is(picture, word):
    with pytest.raises(SectorError, match=f"{word}.*(accepted)"):
        find_sector(picture)


def test_a_page_of_text_is_no_sector():
    page = np.zeros((300, 400, 3), np.uint8)
    for i in range(10):
        cv2.putText(page, "The quick brown fox jumps", (10, 30 + 28 * i), 0, 0.8, (255,) * 3, 1)
    for picture in (page, 255 - page):
        with pytest.raises(SectorError):
            find_sector(picture)


def test_a_curved_array_is_named():
    y, x = np.mgrid[:300, :300].astype(float)
    dx, dy = x - 150, y + 90
    radius = np.hypot(dx, dy)
    inside = (np.abs(np.arctan2(dx, dy)) < np.radians(38)) & (radius > 150) & (radius < 350)
    with pytest.raises(SectorError, match=r"curved|agrees|up to"):
        find_sector(speckle(inside))


def test_doppler_is_refused_and_a_sepia_map_is_not():
    grey = fan()[0]
    coloured = grey.copy()
    coloured[80:160, 70:150] = (200, 30, 20)
    with pytest.raises(SectorError, match=r"% of the sector is coloured \(Doppler\?\); a grey"):
        find_sector(coloured)
    sepia = (grey * np.array([1.0, 0.85, 0.65])).astype(np.uint8)
    assert find_sector(sepia).tip_x == pytest.approx(find_sector(grey).tip_x, abs=4)


def test_a_frame_that_has_its_place_already_is_not_moved():
    grey = fan(112)[0]
    placed = place_sector(grey[None], find_sector(grey), 112, Layout(0.5, 0.06, 0.9))[0]
    inside = find_sector(grey).mask(112, 112)
    assert (placed[inside] == grey[inside]).all()


@pytest.mark.parametrize("side", [180, 300])
def test_the_fan_comes_to_the_same_place_from_any_screen(side):
    shown = screen(fan(side, seed=1)[0], left=200, top=100)
    layout = Layout(0.5, 0.06, 0.9)
    placed = place_sector(shown[None], find_sector(shown), 112, layout)[0]
    again = find_sector(placed)
    assert again.tip_x / 112 == pytest.approx(layout.tip_x, abs=0.04)
    assert again.depth / 112 == pytest.approx(layout.depth, abs=0.06)


def test_motion_shows_a_fan_that_one_dark_frame_does_not():
    """A frame with one lit spot; over the clip the spot wanders through the whole fan."""
    full = fan(224)[0, ..., 0].astype(float)
    rng = np.random.default_rng(0)
    clip = np.stack([full * 0.12 * rng.uniform(0.2, 1.8, full.shape) for _ in range(8)])
    clip = np.repeat(clip.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    found = find_sector(clip[0], clip)
    assert found.tip_x == pytest.approx(112, abs=8) and found.depth > 180


def test_the_layout_of_a_training_set_is_the_middle_of_its_clips():
    clips = [np.roll(fan(112, seed=i, n_frames=4), 3 * i, axis=2) for i in range(3)]
    found = measure_layout([*clips, np.zeros((4, 112, 112, 3), np.uint8)])
    assert found.tip_x == pytest.approx(0.5 + 3 / 112, abs=0.03)
    assert found.depth == pytest.approx(0.9, abs=0.05)
    assert measure_layout([np.zeros((4, 112, 112, 1), np.uint8)]) == ECHONET


@pytest.mark.parametrize("kind", ["one frame", "clip"])
def test_real_clips_and_phantoms_are_accepted(shared_dir, kind):
    """50 public clips, dark ones among them."""
    from echocascade.data.video import read_video

    files = sorted((shared_dir / "echonet-sample" / "Videos").glob("*.avi"))[::7]
    for file in files:
        clip = read_video(file)
        find_sector(clip[0], None if kind == "one frame" else clip)
