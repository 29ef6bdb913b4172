"""What a longer clip is measured by tells a seam from none, and one pace from another."""

import numpy as np
import pytest

from echocascade.evaluation.stick import segment_lvef
from echocascade.studies.continuity import beats_a_minute, continuity_table, meeting_changes
from echocascade.studies.stills import Ask, Made

FPS, WINDOW = 16, 32


def ring(rate_hz: float, n_frames: int = 96, grain_seed: int = 0) -> np.ndarray:
    """A beating ring with grain that drifts slowly, uint8 (T, 32, 32, 1)."""
    rng = np.random.default_rng(grain_seed)
    y, x = np.mgrid[:32, :32] - 15.5
    hole = 8 + 3 * np.cos(2 * np.pi * rate_hz * np.arange(n_frames) / FPS)
    bright = 200 / (1 + np.exp(-2 * (np.hypot(y, x) - hole[:, None, None])))
    grain = np.cumsum(rng.normal(0, 2, bright.shape), axis=0)
    return (20 + bright * (np.hypot(y, x) < 14) + grain).clip(0, 255).astype(np.uint8)[..., None]


def made(*videos: np.ndarray) -> Made:
    stick = tuple(segment_lvef(v, len(v) / FPS) for v in videos)
    nothing = np.full(len(videos), np.nan)
    asks = tuple(Ask(50, i) for i in range(len(videos)))
    return Made(videos[0][0], asks, np.stack(videos), FPS, nothing, stick)


def test_a_clip_from_one_piece_has_no_seam_and_one_that_is_glued_has():
    whole = ring(1.2)
    glued = np.concatenate([ring(1.2)[:40], ring(1.2, grain_seed=5)[40:]])
    table = continuity_table(made(whole, glued), WINDOW)
    assert table.change_ratio[0] == pytest.approx(1, abs=0.15) and table.beyond[0] < 0.12
    assert table.change_ratio[1] > table.change_ratio[0]


def test_the_pace_of_both_ends_is_read():
    slower = np.concatenate([ring(1.5)[:48], ring(1.0)[48:]])
    table = continuity_table(made(ring(1.25), slower), WINDOW)
    assert table.beats_first[0] == pytest.approx(75, abs=4)
    assert table.beats_last[0] == pytest.approx(75, abs=4)
    assert table.beats_first[1] == pytest.approx(90, abs=5)
    assert table.beats_last[1] == pytest.approx(60, abs=4)


def test_a_still_clip_has_no_pace():
    assert np.isnan(beats_a_minute(np.zeros((32, 16, 16, 1), np.uint8), FPS))


def test_windows_meet_over_the_second_quarter_of_each():
    """Windows of 8 start at 4, 8, ...: frames 6, 7 and 10, 11 are mixed, and changes lead there."""
    meets = np.flatnonzero(meeting_changes(16, 8)) + 1
    assert meets.tolist() == [6, 7, 8, 10, 11, 12, 14, 15]
