"""Memorisation: copies are found wherever they start, unseen clips are not accused."""

import numpy as np
import pytest

from echocascade.evaluation.memorisation import (
    MemorisationIndex,
    memorisation_index,
    nearest_by_features,
)
from echocascade.evaluation.thumbnails import SIDE, shifted_distances, thumbnails
from echocascade.rng import numpy_generator


def clips_of_patients(n: int, n_frames: int, seed: int) -> list[np.ndarray]:
    """Drifting blobs, another place, pace and path for each patient: uint8 (T, 32, 32, 1)."""
    y, x = np.mgrid[:32, :32]
    found = []
    for patient in range(n):
        rng = numpy_generator(seed, "blob", patient)
        place, path = rng.uniform(8, 24, 2), rng.uniform(3, 7, 2)
        pace, phase = rng.uniform(0.3, 0.9), rng.uniform(0, 6)
        t = np.arange(n_frames)[:, None, None]
        a = place[0] + path[0] * np.sin(pace * t + phase)
        b = place[1] + path[1] * np.cos(pace * t)
        found.append(
            (250 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 20)).astype(np.uint8)[..., None]
        )
    return found


@pytest.fixture(scope="module")
def index() -> MemorisationIndex:
    train = clips_of_patients(30, 40, seed=0)
    made = MemorisationIndex(
        [f"p{i}" for i in range(30)], [thumbnails(clip) for clip in train], 16, 8.0, 8.0
    )
    unseen = np.stack([clip[:16] for clip in clips_of_patients(40, 16, seed=1)])
    made.held_out = made.nearest(unseen).distance
    return made


@pytest.fixture
def train() -> list[np.ndarray]:
    return clips_of_patients(30, 40, seed=0)


def test_a_copy_is_found_with_its_clip_and_its_shift_and_scores_one(index, train):
    copies = np.stack([train[3][11:27], train[17][0:16]])
    nearest = index.nearest(copies)
    assert nearest.index.tolist() == [3, 17] and nearest.shift.tolist() == [11, 0]
    assert index.score(copies) == pytest.approx([1, 1], abs=0.01)
    assert index.refused(copies).all()


@pytest.mark.parametrize("change", ["darker", "noisy"])
def test_a_copy_is_not_hidden_by_brightness_or_noise(index, train, change):
    copy = train[5][4:20].astype(float)
    rng = numpy_generator(0, "noise")
    changed = 0.5 * copy + 40 if change == "darker" else copy + 20 * rng.standard_normal(copy.shape)
    hidden = changed.clip(0, 255).astype(np.uint8)[None]
    assert index.nearest(hidden).index == [5]
    assert index.refused(hidden).all()


def test_unseen_patients_are_accused_as_often_as_the_threshold_says(index):
    others = np.stack(clips_of_patients(60, 16, seed=2))
    scores = index.score(others)
    assert abs(np.median(scores)) < 0.2
    assert index.refused(others).mean() <= 0.05  # 1 % is meant; 40 and 60 clips scatter


def test_the_patient_of_the_conditioning_frame_is_left_out_and_judged_apart(index, train):
    copies = np.stack([train[3][11:27]])
    assert index.score(copies, own=["p3"])[0] < 0.6 < index.score(copies)[0]
    assert index.nearest(copies, own=["p3"]).index != [3]
    index.own_beats = np.array([0.4, 0.5, 0.6])
    assert index.own_score(copies, own=["p3"])[0] > index.own_threshold
    assert index.refused(copies, own=["p3"]).all()
    assert index.own_score(copies, own=["p4"])[0] < index.own_threshold


def test_the_result_does_not_depend_on_the_clips_beside_it(index):
    others = np.stack(clips_of_patients(70, 16, seed=2))
    together = index.nearest(others)
    alone = index.nearest(others[66:67])
    assert alone.distance[0] == pytest.approx(together.distance[66], abs=1e-6)
    assert alone.index[0] == together.index[66]


def test_the_distance_is_that_of_correlation():
    rng = numpy_generator(0, "pictures")
    query, other = rng.standard_normal((2, 4, 9))
    standard = query - query.mean()
    standard /= np.linalg.norm(standard)
    r = np.corrcoef(query.ravel(), other.ravel())[0, 1]
    found = shifted_distances(standard[None].astype(np.float32), other.astype(np.float32), 1)
    assert found[0, 0] == pytest.approx((2 * (1 - r)) ** 0.5, abs=1e-5)


def test_a_store_without_unseen_clips_refuses_nothing(index, train):
    bare = MemorisationIndex(index.names, index.thumbnails, 16, 8.0, 8.0)
    assert np.isnan(bare.threshold) and not bare.refused(np.stack([train[3][:16]])).any()
    with pytest.raises(ValueError, match="no training clips"):
        MemorisationIndex([], [], 16, 8.0, 8.0)
    with pytest.raises(ValueError, match=r"uint8 \(N, 16, H, W, C\)"):
        index.score(np.zeros((1, 8, 32, 32, 1), np.uint8))


def test_an_index_of_a_store_finds_the_stores_own_clips(tiny_store):
    made = memorisation_index(tiny_store, 8, 4.0)
    rows = tiny_store.indices("TRAIN")
    assert made.names == [tiny_store.table["FileName"][row] for row in rows]
    stride = round(tiny_store.fps / 4)
    nearest = made.nearest(tiny_store.window(int(rows[2]), 8, 2, stride)[None])
    assert (nearest.index.item(), nearest.shift.item()) == (2, 2)
    assert len(made.held_out) == len(tiny_store.indices("VAL"))
    assert np.isfinite(made.threshold)


def test_the_nearest_features_are_found_in_units_of_their_spread():
    train = np.array([[0.0, 0], [10, 0], [0, 1000]])
    found = nearest_by_features(train, [[9.0, 0]])
    assert found.index.tolist() == [1]
    spread = train[:, 0].std()
    assert found.distance[0] == pytest.approx(1 / spread / 2**0.5)
    with pytest.raises(ValueError, match="features must be"):
        nearest_by_features(train, [[1.0]])


def test_thumbnails_are_means_over_areas():
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    frames[0, :2, :2] = [30, 60, 90]
    picture = thumbnails(frames).reshape(SIDE, SIDE)
    assert picture[0, 0] == 60 and picture[0, 1] == 0
