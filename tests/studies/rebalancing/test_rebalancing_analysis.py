"""Intervals that hold what they promise, and a verdict that is not fooled by noise."""

import numpy as np
import pandas as pd
import pytest

from echocascade.evaluation.metrics import mae, r2_score
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.analysis import (
    NOISE,
    REAL_GAIN,
    REAL_LOSS,
    Answers,
    compare,
    error_by_band,
    estimate,
    headline_row,
    recorded,
    spell_out,
)
from echocascade.studies.rebalancing.held_out import HeldOut
from echocascade.studies.rebalancing.plan import Bins
from echocascade.studies.rebalancing.sets import Arm

REAL, HALF = Arm("real", 40), Arm("generated", 40, 0.5, "requested")


def held_out_of(n: int, seed: int = 0) -> HeldOut:
    lvef = numpy_generator(seed, "truth").uniform(10, 90, n)
    bins = Bins.regular(10, 90, 10)
    band = bins.find(lvef)
    n_band = np.bincount(band, minlength=8)
    bands = pd.DataFrame({"low": bins.low, "high": bins.high, "n": n_band, "there": n_band})
    return HeldOut(np.arange(n), lvef, band, bands)


def answers_of(arm: Arm, held_out: HeldOut, errors, seed: int = 0) -> Answers:
    """Regressors whose errors are Gaussian, one standard deviation a repetition."""
    rng = numpy_generator(seed, f"answers {arm.key}")
    noise = rng.standard_normal((len(errors), len(held_out.rows)))
    return Answers(arm, held_out.lvef_percent + np.array(errors)[:, None] * noise)


def table_of(half, real=(12.0,) * 6, n: int = 200, resamples: int = 300) -> pd.DataFrame:
    held_out = held_out_of(n)
    both = [answers_of(REAL, held_out, real), answers_of(HALF, held_out, half, 1)]
    return compare(both, held_out, level=0.95, resamples=resamples, seed=0)


def test_scores_are_the_means_of_the_known_ones():
    held_out = held_out_of(50)
    answers = answers_of(REAL, held_out, (5, 10, 15))
    row = compare([answers], held_out, level=0.95, resamples=50, seed=0).iloc[0]
    truth, read = held_out.lvef_percent, answers.lvef_percent
    assert row["R2"] == pytest.approx(np.mean([r2_score(truth, p) for p in read]))
    assert row["MAE"] == pytest.approx(np.mean([mae(truth, p) for p in read]))
    assert row["R2 low"] < row["R2"] < row["R2 high"]


@pytest.mark.parametrize(
    ("half", "verdict"),
    [((6.0,) * 6, REAL_GAIN), ((12.0,) * 6, NOISE), ((20.0,) * 6, REAL_LOSS)],
)
def test_the_verdict_is_what_was_put_in(half, verdict):
    table = table_of(half)
    assert table.set_index("method").loc["generated", "gain verdict"] == verdict
    assert table.set_index("method").loc["real", "gain verdict"] == ""


def test_one_lucky_repetition_is_no_gain():
    """A mean over repetitions that differ as much as their mean is noise."""
    row = table_of((4.0, 12, 12), real=(12.0,) * 3).iloc[1]
    assert row["gain"] > 0.05 and row["gain verdict"] == NOISE


def test_many_comparisons_need_a_wider_interval():
    held_out = held_out_of(60)
    real = answers_of(REAL, held_out, (12.0,) * 4)
    other = answers_of(HALF, held_out, (8.5,) * 4, 1)
    alone = compare([real, other], held_out, level=0.95, resamples=400, seed=0)
    crowd = [answers_of(Arm("generated", 40, s / 100, "requested"), held_out, (12.0,) * 4, s)
             for s in range(1, 40)]  # fmt: skip
    among = compare([real, other, *crowd], held_out, level=0.95, resamples=400, seed=0)
    assert alone.iloc[1]["gain low"] == among.iloc[1]["gain low"]
    verdicts = alone.iloc[1]["gain verdict"], among.iloc[1]["gain verdict"]
    assert verdicts == (REAL_GAIN, NOISE)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Few repetitions, few clips: 95 % of intervals of a mean that is known to be 0."""
    rng = numpy_generator(0, "coverage")
    covered = []
    for _ in range(400):
        clips, seeds = rng.normal(0, 1.0), rng.normal(0, 1.5, 4)
        resampled = clips + seeds.mean() + rng.normal(0, 1.0, 500)
        found = estimate(clips + seeds, resampled, 0.95)
        covered.append(found.low < 0 < found.high)
    assert 0.92 < np.mean(covered) <= 0.985


def test_a_single_repetition_has_the_clips_uncertainty_only():
    found = estimate(np.array([0.5]), np.array([0.4, 0.5, 0.6]), 0.95)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1, rel=1e-3)


def test_errors_by_band_are_means_over_its_clips_and_repetitions():
    held_out = held_out_of(80)
    answers = answers_of(REAL, held_out, (5, 10))
    bands = error_by_band([answers, answers_of(HALF, held_out, (1, 1))], held_out)
    assert len(bands) == 16 and (bands["n"].iloc[:8] == held_out.bands["n"]).all()
    inside = held_out.band == 3
    expected = np.abs(answers.lvef_percent - held_out.lvef_percent)[:, inside].mean()
    assert bands["MAE"].iloc[3] == pytest.approx(expected)


def test_equal_labels_have_errors_and_no_r2():
    held_out = held_out_of(20)
    flat = HeldOut(held_out.rows, np.full(20, 50.0), held_out.band, held_out.bands)
    answers = answers_of(REAL, flat, (5, 5)), answers_of(HALF, flat, (5, 5))
    table = compare(list(answers), flat, level=0.95, resamples=50, seed=0)
    assert table["R2"].isna().all() and table["MAE"].notna().all()
    assert table["gain verdict"].tolist() == ["", NOISE]


def test_better_than_real_alone_is_not_better_than_oversampling():
    held_out = held_out_of(200)
    three = [answers_of(arm, held_out, (e,) * 5, i) for i, (arm, e) in enumerate(
        [(REAL, 14.0), (Arm("oversampled", 40), 7.0), (HALF, 7.0)]
    )]  # fmt: skip
    table = compare(three, held_out, level=0.95, resamples=300, seed=0).set_index("method")
    assert table.loc["generated", "gain verdict"] == REAL_GAIN
    assert table.loc["generated", "over_classic verdict"] == NOISE
    assert table.loc["oversampled", "gain verdict"] == REAL_GAIN
    assert table.loc["oversampled", "over_classic verdict"] == ""
    assert "oversampled real clips, sets with generated clips: 0 better" in spell_out(
        table.reset_index()
    )


def test_the_headline_is_declared_before_the_results():
    arms = [Arm("generated", size, 0.5, "requested") for size in (160, 40, 80)]
    held_out = held_out_of(30)
    both = [answers_of(Arm("real", arm.size), held_out, (9,)) for arm in arms]
    both += [answers_of(arm, held_out, (9,)) for arm in arms]
    table = compare(both, held_out, level=0.95, resamples=20, seed=0)
    assert headline_row(table, "requested")["size"] == 80
    assert headline_row(table, "estimated") is None


def test_the_sentence_says_gain_loss_and_noise_alike():
    assert "clips: 1 better, 0 worse, 0 within noise;" in spell_out(table_of((5.0,) * 6))
    assert "clips: 0 better, 0 worse, 1 within noise;" in spell_out(table_of((12.0,) * 6))
    assert "clips: 0 better, 1 worse, 0 within noise;" in spell_out(table_of((25.0,) * 6))
    real_only = compare([answers_of(REAL, held_out_of(9), (9,))], held_out_of(9), level=0.9,
                        resamples=9, seed=0)  # fmt: skip
    assert "could be compared" in spell_out(real_only)


def test_recorded_numbers_have_their_intervals():
    found = recorded(table_of((6.0,) * 6), "requested")
    half = found["size_40.generated_50.requested"]
    assert half["R2_interval"][0] < half["R2"] < half["R2_interval"][1]
    assert half["gain"] == found["headline"]["gain"] and found["headline"]["verdict"] == REAL_GAIN
    assert "gain" not in found["size_40.real"]
