"""Training sets: of equal size, nested, and as even as they claim; and one balanced test set."""

import numpy as np
import pytest
from scipy import stats

from echocascade.params import ExperimentParams
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.held_out import balanced_set, band_width, quota_of
from echocascade.studies.rebalancing.plan import Bins
from echocascade.studies.rebalancing.sets import (
    Arm,
    Pool,
    arms_of,
    build_set,
    density,
    inverse_density,
    left_out,
)

WANTED = ExperimentParams(sizes=(20, 40), seeds=2)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """120 unbalanced real clips and 60 generated ones where they are rare."""
    rng = numpy_generator(0, "pool")
    real = np.clip(rng.normal(60, 8, 120), 11, 89)
    requested = rng.uniform(10, 40, 60)
    estimated = np.clip(requested + rng.normal(0, 5, 60), 0, 100)
    labels = {"requested": requested, "estimated": estimated}
    return Pool(np.arange(120) + 7, real, np.arange(60), labels, Bins.regular(10, 90, 5))


def test_every_set_of_a_size_has_that_size(pool):
    for arm in arms_of(WANTED, "requested", pool):
        data = build_set(arm, pool, WANTED, 0)
        n = arm.size or len(pool.real) + len(data.generated)
        assert len(data) == n == len(data.real) + len(data.generated)
        share = arm.share if arm.size else len(data.generated) / n
        assert len(data.generated) == round(share * n)
        assert len(set(data.real)) == len(data.real)
        assert len(set(data.generated)) == len(data.generated)


def test_the_table_is_the_papers_and_the_baselines(pool):
    arms = arms_of(WANTED, "requested", pool)
    assert [arm.key for arm in arms if arm.size == 20] == [
        "real", "oversampled", "weighted", "generated_25.requested", "generated_50.requested",
        "generated_50.estimated", "generated_75.requested",
    ]  # fmt: skip
    assert [arm.key for arm in arms if arm.size is None] == [
        "real", "oversampled", "weighted", "generated_added.requested", "generated_added.estimated",
    ]  # fmt: skip
    assert len({(arm.size, arm.label) for arm in arms}) == len(arms)
    assert left_out(WANTED, pool) == []


def test_what_the_clips_do_not_reach_is_left_out_and_said(pool):
    wanted = ExperimentParams(sizes=(100, 3950))
    arms = arms_of(wanted, "estimated", pool)
    assert {arm.size for arm in arms} == {100, None}
    assert max(arm.share for arm in arms) == 0.5
    said = left_out(wanted, pool)
    assert any("75 % of 100 are 75" in text for text in said)
    assert any("3950 real clips: TRAIN has 120" in text for text in said)


def test_sets_of_one_repetition_share_their_real_clips(pool):
    small = build_set(Arm("real", 20), pool, WANTED, 5)
    large = build_set(Arm("real", 40), pool, WANTED, 5)
    half = build_set(Arm("generated", 40, 0.5, "requested"), pool, WANTED, 5)
    other = build_set(Arm("real", 20), pool, WANTED, 6)
    assert (large.real[:20] == small.real).all() and (half.real == small.real).all()
    assert set(other.real) != set(small.real)


def test_labels_of_generated_clips_follow_the_choice(pool):
    for kind in ("requested", "estimated"):
        data = build_set(Arm("generated", 40, 0.5, kind), pool, WANTED, 0)
        expected = pool.generated_lvef[kind][data.generated]
        assert (data.lvef_percent[len(data.real) :] == expected).all()
        real = pool.real_lvef[data.real - 7]
        assert (data.lvef_percent[: len(data.real)] == real).all()


def test_generated_clips_make_the_set_more_even(pool):
    def fullest(share: float) -> int:
        arm = Arm("generated", 40, share, "requested") if share else Arm("real", 40)
        return pool.bins.count(build_set(arm, pool, WANTED, 0).lvef_percent).max()

    assert fullest(0.75) < fullest(0.5) < fullest(0)


def test_the_classical_baselines_use_the_same_clips(pool):
    real, over, weighted = (
        build_set(Arm(method, 40), pool, WANTED, 1)
        for method in ("real", "oversampled", "weighted")
    )
    assert (real.real == over.real).all() and (real.real == weighted.real).all()
    assert real.weight is real.probability is over.weight is weighted.probability is None
    assert over.probability.sum() == pytest.approx(1) and weighted.weight.mean() == pytest.approx(1)
    np.testing.assert_allclose(over.probability * 40, weighted.weight)


def test_rare_lvefs_weigh_more_but_no_clip_weighs_too_much():
    lvef = np.r_[np.full(500, 60.0) + np.linspace(-3, 3, 500), 20.0]
    weight = inverse_density(lvef, ExperimentParams(most_weight=10))
    assert weight.argmax() == 500 and weight.mean() == pytest.approx(1)
    assert 9 < weight[500] < 11
    flat = inverse_density(np.linspace(0, 100, 400), ExperimentParams())
    assert np.abs(flat[100:300] - 1).max() < 0.1


def test_the_density_is_a_gaussian_kernels():
    lvef = np.array([30.0, 33.0, 70.0])
    expected = [sum(stats.norm.pdf(x, y, 3) for y in lvef) for x in lvef]
    np.testing.assert_allclose(density(lvef, 3.0), expected, rtol=1e-6)


def test_real_subsets_can_be_as_unbalanced_as_echonet_dynamic():
    rng = numpy_generator(0, "uniform")
    lvef = rng.uniform(10, 90, 4000)
    pool = Pool(np.arange(4000), lvef, np.arange(0), {}, Bins.regular(10, 90, 1))
    for rule, low, high in (("as_is", 0.22, 0.28), ("echonet", 0.03, 0.10)):
        data = build_set(Arm("real", 400), pool, ExperimentParams(real_lvef=rule), 0)
        assert low < (data.lvef_percent < 30).mean() < high, rule


class Store:
    def __init__(self, lvef, splits):
        import pandas as pd

        names = [f"c{i:03d}" for i in range(len(lvef))]
        self.table = pd.DataFrame({"FileName": names, "EF": lvef, "Split": splits})

    def indices(self, split):
        return np.flatnonzero(self.table["Split"] == split)


def test_the_test_set_is_balanced_and_of_held_out_clips_only():
    rng = numpy_generator(0, "held out")
    lvef = np.r_[rng.normal(60, 6, 300), rng.uniform(10, 90, 240)].clip(10, 90)
    store = Store(lvef, (["TRAIN", "VAL", "TEST"] * 180))
    found = balanced_set(store, ExperimentParams(), 10, 90, 0)
    assert not set(found.rows) & set(store.indices("TRAIN"))
    assert found.bands["n"].nunique() == 1 and found.bands["n"].iloc[0] >= 10
    assert (np.bincount(found.band) == found.bands["n"]).all()
    assert (lvef[found.rows] == found.lvef_percent).all()
    only_test = balanced_set(store, ExperimentParams(held_out=("TEST",)), 10, 90, 0)
    assert set(only_test.rows) <= set(store.indices("TEST"))
    again = balanced_set(store, ExperimentParams(), 10, 90, 0)
    assert (again.rows == found.rows).all()


def test_a_band_with_hardly_a_clip_does_not_hold_the_others_back():
    assert quota_of(np.array([39, 2, 120, 71])) == 39
    assert quota_of(np.array([3, 2, 5])) == 5


def test_a_quota_is_kept():
    store = Store(np.linspace(10, 90, 200), ["VAL"] * 200)
    found = balanced_set(store, ExperimentParams(per_band=4), 10, 90, 0)
    assert found.bands["n"].tolist() == [4] * 8


def test_without_held_out_clips_it_says_so():
    with pytest.raises(ValueError, match=r"0 clips of VAL and TEST.*at least 2"):
        balanced_set(Store([50.0], ["TRAIN"]), ExperimentParams(), 10, 90, 0)


@pytest.mark.parametrize(("wanted", "width"), [(10, 10), (30, 80 / 3), (200, 80)])
def test_bands_divide_the_range(wanted, width):
    assert band_width(10, 90, wanted) == pytest.approx(width)
