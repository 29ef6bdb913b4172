"""The segmentation stick reads LVEF from images whose volumes are known."""

import numpy as np
import pytest

from echocascade.data.frames import resample_time, resize
from echocascade.data.phantom import render_clip
from echocascade.evaluation.metrics import mae, pearson_r
from echocascade.evaluation.stick import segment_lvef

# No data set, and no clip that tuned the stick, has this seed.
HELD_OUT_SEED, HELD_OUT_CLIPS = 77001, 40


def beating_ellipse(lvef_percent: float, size: int = 56, n_frames: int = 32) -> np.ndarray:
    """A dark ellipse in a bright wall, uint8 (T, size, size, 1), that beats twice in 2 s.

    Both axes shrink alike, so its volume of revolution is the cube of the factor.
    """
    t = np.arange(n_frames) / n_frames
    volume = 1 - lvef_percent / 100 * np.sin(2 * np.pi * t) ** 2
    factor = (volume ** (1 / 3))[:, None, None]
    y, x = (np.mgrid[:size, :size] + 0.5) * 56 / size
    radius = np.hypot((x - 30.5) / 7.5, (y - 21.0) / 13.0)
    inside = 1 / (1 + np.exp(-(radius - factor) * 14))
    wall = 1 / (1 + np.exp((radius - factor - 0.6) * 14))
    frames = 20 + 150 * inside * (0.35 + 0.65 * wall)
    return np.rint(frames).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, 32, 56, 56, 1) at 16 frames/s and true LVEF (N,) of held-out phantoms."""
    clips, truth = [], []
    for index in range(HELD_OUT_CLIPS):
        clip = render_clip(HELD_OUT_SEED, index, lvef="uniform", duration_s=(2.1, 2.3))
        clips.append(resize(resample_time(clip.frames, clip.fps, 16)[:32], 56))
        truth.append(clip.lvef_percent)
    return np.stack(clips), np.array(truth)


def read(clips: np.ndarray) -> np.ndarray:
    return np.array([segment_lvef(clip).lvef_percent for clip in clips])


@pytest.mark.parametrize("shade", [0, 90])
def test_a_clip_without_any_border_is_unreadable(shade):
    reading = segment_lvef(np.full((32, 56, 56, 1), shade, np.uint8))
    assert np.isnan(reading.lvef_percent)
    assert np.isnan(reading.volume).all() and reading.edv_frame == -1


def test_colour_clips_read_like_grey_ones():
    clip = beating_ellipse(50)
    colour = segment_lvef(np.repeat(clip, 3, axis=-1)).lvef_percent
    assert colour == pytest.approx(segment_lvef(clip).lvef_percent, abs=1e-3)


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        (np.zeros((8, 56, 56, 1), np.float32), "uint8"),
        (np.zeros((8, 56, 40, 1), np.uint8), "shape"),
        (np.zeros((1, 56, 56, 1), np.uint8), "shape"),
        (np.zeros((8, 56, 56), np.uint8), "shape"),
        (np.zeros((8, 4, 4, 1), np.uint8), "wide"),
    ],
)
def test_what_is_not_a_clip_is_refused(frames, word):
    with pytest.raises(ValueError, match=word):
        segment_lvef(frames)


def test_a_clip_needs_a_positive_duration():
    with pytest.raises(ValueError, match="duration_s"):
        segment_lvef(beating_ellipse(50), duration_s=0.0)
