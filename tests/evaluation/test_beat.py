"""The beat of clips whose beat is known."""

import numpy as np
import pytest

from echocascade.evaluation.beat import beat_of, motion_curve, phase_shift_s
from echocascade.rng import numpy_generator

FPS = 16


def ring(period_s: float, phase_s: float = 0.0, seconds: float = 2.0, grow: float = 0.0):
    """A ring whose hole beats once in `period_s`: uint8 (T, 32, 32, 1)."""
    y, x = np.mgrid[:32, :32] - 15.5
    t = np.arange(int(seconds * FPS)) / FPS
    squeeze = np.sin(np.pi * (t - phase_s) / period_s) ** 2
    hole = (9 - 4 * squeeze + grow * t)[:, None, None]
    clip = 200 / (1 + np.exp(-2 * (np.hypot(y, x) - hole))) * (np.hypot(y, x) < 14)
    return clip.astype(np.uint8)[..., None]


@pytest.mark.parametrize("period_s", [0.45, 0.6, 0.8, 1.0, 1.2])
def test_the_period_of_a_beating_ring_is_found(period_s):
    beat = beat_of(ring(period_s), FPS)
    assert beat.period_s == pytest.approx(period_s, abs=0.03)  # half a frame
    assert beat.repetition > 0.9


@pytest.mark.parametrize("what", ["still", "drift"])
def test_a_clip_without_a_second_beat_has_no_period(what):
    clip = np.repeat(ring(1.0)[:1], 32, axis=0) if what == "still" else ring(40.0)
    assert np.isnan(beat_of(clip, FPS).period_s)


def test_a_beat_that_does_not_come_again_repeats_less():
    rng = numpy_generator(0, "irregular")
    phases = np.concatenate([[0], rng.uniform(0.05, 0.55, 7)]).cumsum()
    parts = [ring(0.8, phase, 0.25) for phase in phases]
    irregular = beat_of(np.concatenate(parts), FPS).repetition
    assert not irregular > 0.8


@pytest.mark.parametrize("shift", [-4, 0, 3])
def test_a_shifted_heart_lags_by_its_shift(shift):
    clip, other = ring(1.0), ring(1.0, phase_s=-shift / FPS)
    assert phase_shift_s(other, clip, FPS) == pytest.approx(-shift / FPS, abs=1e-6)
    with pytest.raises(ValueError, match="32 and 31 frames"):
        phase_shift_s(clip, other[:31], FPS)


def test_the_motion_curve_follows_the_volume():
    clip = ring(1.0)
    squeeze = np.sin(np.pi * np.arange(32) / FPS) ** 2
    assert abs(np.corrcoef(motion_curve(clip), squeeze)[0, 1]) > 0.95
