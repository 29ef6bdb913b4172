"""Patients are recognised by their frames, and draws differ as much as is said."""

import numpy as np
import pytest

from echocascade.evaluation.identity import Gallery, diversity, mean_over_patients
from echocascade.rng import numpy_generator


def patients(n: int, seed: int = 0) -> np.ndarray:
    """One smooth picture a patient: uint8 (N, 32, 32, 1)."""
    coarse = numpy_generator(seed, "patients").integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture
def frames():
    return patients(12)


def clips_of(frames: np.ndarray, noise: float) -> np.ndarray:
    """Clips that show each patient in their third frame, and something else before."""
    rng = numpy_generator(1, "clips")
    others = patients(len(frames), seed=9)
    clips = np.stack([others, others, frames, others], axis=1).astype(float)
    return (clips + noise * rng.standard_normal(clips.shape)).clip(0, 255).astype(np.uint8)


def test_a_clip_that_shows_its_patient_at_any_moment_is_recognised(frames):
    assert (Gallery(frames).rank(clips_of(frames, 10.0), range(12)) == 0).all()


def test_brightness_does_not_decide_who_it_is(frames):
    dark = (clips_of(frames, 10.0) * 0.4).astype(np.uint8)
    assert (Gallery(frames).rank(dark, range(12)) == 0).all()


def test_clips_of_other_patients_are_recognised_by_chance_only(frames):
    ranks = Gallery(frames).rank(clips_of(patients(12, seed=5), 10.0), range(12))
    assert 0.2 < ranks.mean() / 11 < 0.8


def test_the_similarity_of_a_clip_does_not_depend_on_the_clips_beside_it(frames):
    gallery, clips = Gallery(frames), clips_of(frames, 30.0)
    assert gallery.similarity(clips[3:4])[0] == pytest.approx(gallery.similarity(clips)[3])


def test_a_mean_over_patients_has_its_interval_and_leaves_out_what_was_not_read():
    values = np.array([1.0, 1, 0, np.nan, 0, 0])
    found = mean_over_patients(values, ["a", "a", "b", "b", "c", "d"])
    assert found.value == pytest.approx(0.4) and found.n_patients == 4
    assert found.interval.low <= 0.4 <= found.interval.high
    assert np.isnan(mean_over_patients([np.nan], ["a"]).value)


def test_diversity_is_zero_for_equal_draws_and_one_where_the_patient_does_not_matter():
    rng = numpy_generator(0, "features")
    own = rng.standard_normal((40, 1, 6))
    names = np.repeat(np.arange(40), 3).tolist()
    alike = np.repeat(own, 3, axis=1).reshape(120, 6)
    assert diversity(alike, names).value == pytest.approx(0, abs=1e-6)  # a root of rounding
    anew = diversity(rng.standard_normal((120, 6)), names)
    assert anew.value == pytest.approx(1, abs=0.05)
    between = diversity((own + 0.5 * rng.standard_normal((40, 3, 6))).reshape(120, 6), names)
    # variances: draws 2 * 0.25, patients 2 * 1.25
    assert between.value == pytest.approx((0.25 / 1.25) ** 0.5, abs=0.05)
    assert between.interval.low < between.value < between.interval.high


def test_one_draw_has_no_diversity():
    assert np.isnan(diversity(np.eye(3), ["a", "b", "c"]).value)
