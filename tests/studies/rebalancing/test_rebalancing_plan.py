"""What a plan asks for: exactly what TRAIN lacks, on TRAIN anatomies only."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echocascade.params import PlanParams
from echocascade.studies.rebalancing.pairing import pair_anatomies
from echocascade.studies.rebalancing.plan import (
    Bins,
    PlanError,
    bins_of_targets,
    make_plan,
    plan_file_list,
    raise_lowest,
    read_targets,
)


def table_of(lvef, splits=("TRAIN",)) -> pd.DataFrame:
    n = len(lvef)
    return pd.DataFrame(
        {
            "FileName": [f"clip{i}" for i in range(n)],
            "EF": np.asarray(lvef, float),
            "Split": [splits[i % len(splits)] for i in range(n)],
        }
    )


def test_on_the_real_table_it_asks_for_what_the_paper_asked_for(shared_dir):
    """4138 clips, as many as the authors' published list has (FACTS Sec. 6)."""
    file = shared_dir / "echonet-sample" / "FileList.full.csv"
    plan = plan_file_list(file, PlanParams(per_bin=100, low=10, high=90))
    raw = pd.read_csv(file)
    train = raw[raw["Split"] == "TRAIN"]
    counts, _ = np.histogram(train["EF"], bins=np.arange(10, 91))
    assert (plan.bins["real"] == counts).all()
    assert (plan.bins["generate"] == np.maximum(0, 100 - counts)).all()
    asked, _ = np.histogram(plan.targets["lvef_requested"], bins=np.arange(10, 91))
    assert (asked + counts >= 100).all() and (asked == plan.bins["generate"]).all()
    assert len(plan.targets) == 4138 and plan.n_real == 7465
    assert set(plan.targets["anatomy"]) <= set(train["FileName"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from([1.0, 2.5, 5.0, 20.0]),
)
def test_real_and_generated_clips_fill_every_bin(lvef, per_bin, width):
    plan = make_plan(table_of(lvef), PlanParams(per_bin=per_bin, bin_width=width))
    both = plan.bins["real"] + plan.bins["generate"]
    assert (both == np.maximum(plan.bins["real"], per_bin)).all()
    place = Bins(plan.bins["low"].to_numpy(), plan.bins["high"].to_numpy())
    assert (place.count(plan.targets["lvef_requested"]) == plan.bins["generate"]).all()


def test_only_train_counts_and_only_train_lends_its_anatomy():
    table = table_of(np.linspace(11, 89, 90), ("TRAIN", "VAL", "TEST"))
    plan = make_plan(table, PlanParams(per_bin=9, bin_width=10))
    train = table[table["Split"] == "TRAIN"]
    assert plan.n_real == len(train) == plan.bins["real"].sum()
    assert set(plan.targets["anatomy"]) <= set(train["FileName"])
    known = train.set_index("FileName")["EF"]
    assert (known[plan.targets["anatomy"]].to_numpy() == plan.targets["anatomy_lvef"]).all()


def test_the_last_bin_has_its_end_in_it_and_the_others_have_not():
    bins = Bins.regular(10, 30, 10)
    assert bins.find([9.99, 10, 19.99, 20, 30, 30.01]).tolist() == [-1, 0, 0, 1, 1, -1]
    assert bins.nearest([0, 15, 99]).tolist() == [0, 0, 1]


def test_uniform_fills_up_to_the_fullest_bin():
    plan = make_plan(table_of([15] * 7 + [25] * 2), PlanParams(per_bin="uniform", bin_width=10))
    assert (plan.bins["real"] + plan.bins["generate"] == 7).all()


def test_a_budget_goes_to_the_emptiest_bins():
    lvef = [15] * 6 + [25] * 3 + [35] * 1
    wanted = PlanParams(per_bin=10, bin_width=10, high=40, most=6)
    plan = make_plan(table_of(lvef), wanted)
    assert (plan.bins["real"] + plan.bins["generate"]).tolist() == [6, 5, 5]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40))
def test_raising_the_lowest_leaves_no_valley(have, total):
    room = np.full(len(have), 10)
    given_ = raise_lowest(have, room, total, np.random.default_rng(0))
    level = np.array(have) + given_
    assert given_.sum() == min(total, room.sum())
    grown, open_ = given_ > 0, given_ < room
    if grown.any() and open_.any():
        assert level[grown].max() - level[open_].min() <= 1


def test_a_users_histogram_replaces_the_bins(tmp_path):
    pd.DataFrame({"low": [10, 40], "high": [20, 60], "count": [3, 1]}).to_csv(
        tmp_path / "wanted.csv", index=False
    )
    wanted = PlanParams(histogram=str(tmp_path / "wanted.csv"))
    plan = make_plan(table_of([15, 30, 45, 46]), wanted)
    assert plan.bins["real"].tolist() == [1, 2] and plan.bins["generate"].tolist() == [2, 0]
    assert plan.targets["lvef_requested"].between(10, 20).all()
    assert len(bins_of_targets(plan.targets, wanted)) == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("low,high\n1,2\n", "columns low, high, count"),
        ("low,high,count\n10,20,3\n15,30,3\n", "row 3"),
        ("low,high,count\n10,20,-1\n", "row 2"),
        ("low,high,count\n10,20,many\n", "row 2"),
        ("", "cannot be read"),
    ],
)
def test_a_bad_histogram_is_named(tmp_path, text, what):
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(PlanError, match=what):
        make_plan(table_of([50]), PlanParams(histogram=str(tmp_path / "h.csv")))


def test_the_same_seed_makes_the_same_plan_and_another_one_another():
    table = table_of(np.linspace(12, 88, 50))
    wanted = PlanParams(per_bin=3)
    plans = [make_plan(table, wanted, seed).targets for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(plans[0], plans[1])
    assert not plans[0].equals(plans[2])


def test_a_part_of_a_plan_is_a_sample_of_it():
    plan = make_plan(table_of([50] * 5), PlanParams(per_bin=20))
    half = plan.targets["lvef_requested"][: len(plan.targets) // 2]
    assert abs(half.mean() - plan.targets["lvef_requested"].mean()) < 2
    assert half.max() > 85 and half.min() < 15


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        ({"bin_width": 7}, "whole number of bins"),
        ({"low": 50, "high": 50}, "whole number of bins"),
        ({"cap": 1, "per_bin": 9}, "cap 1"),
    ],
)
def test_what_cannot_be_planned_is_said(wanted, what):
    with pytest.raises(ValueError, match=what):
        make_plan(table_of([20, 50, 60]), PlanParams(**wanted))


def test_a_table_without_train_rows_cannot_be_rebalanced():
    with pytest.raises(PlanError, match="no TRAIN row"):
        make_plan(table_of([50, 60], ("VAL",)), PlanParams())


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = make_plan(table_of([50] * 5), PlanParams(per_bin=2))
    plan.write(tmp_path / "deep" / "plan.csv")
    pd.testing.assert_frame_equal(read_targets(tmp_path / "deep" / "plan.csv"), plan.targets)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.drop(columns="anatomy"), "'anatomy' is missing"),
        (lambda t: t.assign(lvef_requested=120), "row 2: lvef_requested"),
        (lambda t: t.iloc[1:], "count the rows from 0"),
        (lambda t: t.iloc[:0], "no row"),
    ],
)
def test_a_plan_that_was_spoiled_is_refused(tmp_path, change, what):
    plan = make_plan(table_of([50] * 5), PlanParams(per_bin=2))
    change(plan.targets).to_csv(tmp_path / "plan.csv", index=False)
    with pytest.raises(PlanError, match=what):
        read_targets(tmp_path / "plan.csv")


def test_random_pairing_is_spread_over_patients_and_keeps_its_cap():
    requested, lvef = np.full(3000, 50.0), np.linspace(10, 90, 30)
    free = np.bincount(pair_anatomies(requested, lvef, "random", None, 0), minlength=30)
    assert free.min() > 60 and free.max() < 150  # 100 expected, standard deviation 10
    capped = np.bincount(pair_anatomies(requested[:50], lvef, "random", 2, 0), minlength=30)
    assert capped.max() == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=12),
    st.lists(st.integers(0, 100), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_nearest_pairing_takes_the_nearest_patient_that_is_left(requested, lvef, cap):
    lvef, requested = np.array(lvef, float), np.array(requested[: cap * len(lvef)], float)
    chosen = pair_anatomies(requested, lvef, "nearest", cap, 0)
    left = np.full(len(lvef), cap)
    for value, row in zip(requested, chosen, strict=True):
        assert left[row] > 0
        assert abs(lvef[row] - value) == np.abs(lvef - value)[left > 0].min()
        left[row] -= 1


def test_nearest_pairing_without_a_cap_is_nearest_of_all():
    requested, lvef = np.array([12.0, 55, 88]), np.array([10.0, 50, 60, 90])
    chosen = pair_anatomies(requested, lvef, "nearest", None, 0)
    assert lvef[chosen].tolist() in ([10, 50, 90], [10, 60, 90])


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match=r"'lucky'.*random, nearest"):
        pair_anatomies(np.array([50.0]), np.array([50.0]), "lucky", None, 0)


def test_bins_of_one_width_are_without_gaps():
    bins = Bins.regular(10, 90, 2.5)
    assert len(bins) == 32 and bins.low[0] == 10 and bins.high[-1] == 90
    assert (bins.high[:-1] == bins.low[1:]).all()
