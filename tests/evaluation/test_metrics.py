"""Agreement scores against closed forms and references, and their intervals."""

import numpy as np
import pytest
from scipy import stats

from echocascade.evaluation.metrics import (
    agreement,
    bootstrap_interval,
    calibration_line,
    mae,
    pearson_r,
    percentile_interval,
    r2_score,
    rmse,
)

SCORES = [r2_score, mae, rmse, pearson_r, calibration_line]


@pytest.fixture
def pairs():
    rng = np.random.default_rng(1)
    requested = rng.uniform(15, 85, 200)
    return requested, 0.8 * requested + 9 + rng.normal(0, 6, 200)


def test_scores_of_four_samples_worked_by_hand():
    requested, measured = [20, 40, 60, 80], [30, 40, 50, 80]
    assert r2_score(requested, measured) == pytest.approx(1 - 200 / 2000)
    assert mae(requested, measured) == pytest.approx(5)
    assert rmse(requested, measured) == pytest.approx(50**0.5)
    slope, bias = calibration_line(requested, measured)
    assert slope == pytest.approx(1600 / 2000)
    assert bias == pytest.approx(0)
    assert pearson_r(requested, measured) == pytest.approx(1600 / (2000 * 1400) ** 0.5)


def test_correlation_and_line_equal_scipy(pairs):
    line = stats.linregress(*pairs)
    assert pearson_r(*pairs) == pytest.approx(line.rvalue)
    slope, bias = calibration_line(*pairs)
    assert slope == pytest.approx(line.slope)
    assert line.intercept + line.slope * pairs[0].mean() == pytest.approx(pairs[0].mean() + bias)


def test_perfect_answers_score_best(pairs):
    scores = agreement(pairs[0], pairs[0])
    assert scores == pytest.approx({"R2": 1, "MAE": 0, "RMSE": 0, "r": 1, "slope": 1, "bias": 0})


def test_r2_of_the_mean_request_is_zero_and_of_worse_answers_negative(pairs):
    requested = pairs[0]
    assert r2_score(requested, np.full_like(requested, requested.mean())) == pytest.approx(0)
    assert r2_score(requested, 100 - requested) < -1


def test_r2_takes_the_request_as_truth(pairs):
    assert r2_score(*pairs) != pytest.approx(r2_score(*pairs[::-1]))


def test_every_score_worsens_with_noise(pairs):
    requested, measured = pairs
    noisy = measured + np.random.default_rng(2).normal(0, 20, len(requested))
    better, worse = agreement(requested, measured), agreement(requested, noisy)
    assert better["R2"] > worse["R2"] and better["r"] > worse["r"]
    assert better["MAE"] < worse["MAE"] and better["RMSE"] < worse["RMSE"]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("requested", "measured", "word"),
    [
        ([50], [50], "1 samples found"),
        ([50, 60, 70], [50, 60], "one length"),
        ([50, np.nan], [50, 60], r"requested\[1\] is nan"),
        ([50, 60], [np.inf, 60], r"measured\[0\] is inf"),
        ([[50, 60]], [[50, 60]], "vectors"),
    ],
)
def test_bad_samples_are_an_error_that_says_what_was_found(score, requested, measured, word):
    with pytest.raises(ValueError, match=word):
        score(requested, measured)


@pytest.mark.parametrize("score", [r2_score, pearson_r, calibration_line])
def test_a_constant_request_is_an_error(score):
    with pytest.raises(ValueError, match="must vary"):
        score([55.6, 55.6, 55.6], [50, 60, 70])


def test_interval_of_the_bias_matches_the_normal_theory():
    error = np.random.default_rng(3).normal(2, 5, 2000)
    requested = np.random.default_rng(4).uniform(15, 85, 2000)
    found = bootstrap_interval(requested, requested + error, level=0.9)["bias"]
    half_width = stats.norm.ppf(0.95) * error.std() / 2000**0.5
    # 2000 resamples fix a 5 % quantile to about 4 % of the half width.
    assert found.low == pytest.approx(error.mean() - half_width, abs=0.12 * half_width)
    assert found.high == pytest.approx(error.mean() + half_width, abs=0.12 * half_width)
    assert found.level == 0.9


def test_interval_equals_a_plain_bootstrap_of_each_score(pairs):
    rng = np.random.default_rng(5)
    draws = [rng.integers(0, 200, 200) for _ in range(2000)]
    plain = [agreement(pairs[0][i], pairs[1][i]) for i in draws]
    found = bootstrap_interval(*pairs)
    for name, interval in found.items():
        low, high = np.quantile([score[name] for score in plain], [0.025, 0.975])
        tolerance = 0.1 * (high - low)  # Monte Carlo error of two times 2000 resamples
        assert interval.low == pytest.approx(low, abs=tolerance), name
        assert interval.high == pytest.approx(high, abs=tolerance), name


def test_copies_of_a_patient_do_not_narrow_the_interval(pairs):
    patients = np.repeat(np.arange(200), 9)
    requested, measured = np.repeat(pairs[0], 9), np.repeat(pairs[1], 9)
    once = bootstrap_interval(*pairs)["R2"]
    copied = bootstrap_interval(requested, measured, patients=patients)["R2"]
    naive = bootstrap_interval(requested, measured)["R2"]
    assert copied.high - copied.low == pytest.approx(once.high - once.low)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_same_seed_same_interval_and_a_higher_level_is_wider(pairs):
    assert bootstrap_interval(*pairs, seed=1) == bootstrap_interval(*pairs, seed=1)
    assert bootstrap_interval(*pairs, seed=1) != bootstrap_interval(*pairs, seed=2)
    wide, narrow = (bootstrap_interval(*pairs, level=level)["R2"] for level in (0.99, 0.5))
    assert wide.low < narrow.low < r2_score(*pairs) < narrow.high < wide.high


def test_interval_errors_say_what_is_needed(pairs):
    with pytest.raises(ValueError, match="1 patient found"):
        bootstrap_interval(*pairs, patients=["a"] * 200)
    with pytest.raises(ValueError, match="patients has shape"):
        bootstrap_interval(*pairs, patients=["a", "b"])
    with pytest.raises(ValueError, match=r"level is 95"):
        percentile_interval([1.0, 2.0], 95)
