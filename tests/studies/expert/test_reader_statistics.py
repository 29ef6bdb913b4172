"""Intervals, signal detection and agreement: values from closed forms, and honest coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from echocascade.rng import numpy_generator
from echocascade.studies.expert import agreement as agree
from echocascade.studies.expert import detection
from echocascade.studies.expert.detection import Counts
from echocascade.studies.expert.resampling import resample


def test_wilsons_interval_is_its_closed_form():
    n, p, z = 20, 0.6, norm.ppf(0.975)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = detection.proportion(12, 20, 0.95)
    assert found.value == 0.6
    assert (found.low, found.high) == pytest.approx((middle - reach, middle + reach))


def test_nothing_answered_is_nan_and_not_an_error():
    nothing = Counts(0, 0, 0, 5)
    assert math.isnan(detection.proportion(0, 0, 0.95).value)
    for score in (detection.d_prime, detection.balanced_accuracy):
        assert math.isnan(score(nothing, 0.95).value)
    assert math.isnan(detection.criterion(nothing))
    assert math.isnan(detection.equivalence_p(nothing, 0.1))


def test_d_prime_and_criterion_are_those_of_the_corrected_rates():
    counts = Counts(hits=40, n_generated=50, false_alarms=10, n_real=50)
    hit, alarm = 40.5 / 51, 10.5 / 51
    assert detection.d_prime(counts, 0.95).value == pytest.approx(norm.ppf(hit) - norm.ppf(alarm))
    assert detection.criterion(counts) == pytest.approx(0, abs=1e-12)
    cautious = Counts(hits=25, n_generated=50, false_alarms=2, n_real=50)
    assert detection.criterion(cautious) > 0.5


def test_d_prime_of_a_faultless_reader_is_finite():
    assert 3 < detection.d_prime(Counts(50, 50, 0, 50), 0.95).value < 6


@pytest.mark.parametrize("d_prime, n", [(0.0, 20), (1.0, 20), (1.0, 50), (2.0, 50)])
def test_the_interval_of_d_prime_holds_the_true_value_as_often_as_it_says(d_prime, n):
    rng = numpy_generator(0, "coverage", n)
    rates = norm.cdf(d_prime / 2), norm.cdf(-d_prime / 2)
    hits, alarms = (rng.binomial(n, rate, 1000) for rate in rates)
    held = 0
    for h, a in zip(hits, alarms, strict=True):
        found = detection.d_prime(Counts(int(h), n, int(a), n), 0.95)
        held += found.low <= d_prime <= found.high
    assert 0.93 <= held / 1000 <= 1


def test_pairs_are_easier_by_the_square_root_of_two():
    """A share of Phi(d' / sqrt 2) is right in two-alternative forced choice."""
    share = norm.cdf(1.5 / math.sqrt(2))
    found = detection.d_prime_of_pairs(round(share * 100000), 100000, 0.95)
    assert found.value == pytest.approx(1.5, abs=0.01)


def test_balanced_accuracy_ignores_what_a_reader_prefers():
    always = Counts(hits=57, n_generated=57, false_alarms=43, n_real=43)
    assert detection.balanced_accuracy(always, 0.95).value == 0.5


def test_equivalence_is_shown_by_many_answers_at_chance_and_never_by_few():
    many, few = Counts(250, 500, 250, 500), Counts(5, 10, 5, 10)
    assert detection.equivalence_p(many, 0.1) < 0.001
    assert detection.equivalence_p(few, 0.1) > 0.1
    assert detection.equivalence_p(Counts(400, 500, 100, 500), 0.1) > 0.99
    assert detection.equivalence_p_of_pairs(500, 1000, 0.1) < 0.001
    assert detection.equivalence_p_of_pairs(10, 20, 0.1) > 0.1


def test_the_test_of_equivalence_errs_no_more_than_five_percent_at_the_margin():
    rng = numpy_generator(0, "equivalence", 60)
    margin, n = 0.1, 60
    hits, alarms = rng.binomial(n, 0.6, 2000), rng.binomial(n, 0.4, 2000)
    shown = [
        detection.equivalence_p(Counts(int(h), n, int(a), n), margin) < 0.05
        for h, a in zip(hits, alarms, strict=True)
    ]
    assert np.mean(shown) <= 0.06


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.2])
def test_the_answers_that_equivalence_takes(margin):
    n = detection.answers_needed(margin)
    reach = norm.ppf(0.95) * 0.5 / np.sqrt([n, n - 1])
    assert reach[0] <= margin < reach[1]


THREE = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], float)


def test_raw_agreement_in_both_meanings():
    votes = agree.votes_of(THREE)
    assert agree.all_agree(votes) == pytest.approx(3 / 5)
    assert agree.mean_pairwise(votes) == pytest.approx((1 + 1 / 3 + 1 + 1 / 3 + 1) / 5)


def test_coefficients_are_agreement_beyond_chance():
    """By hand: 11/15 of pairs agree, 6 of 15 answers are 1."""
    votes, observed, p = agree.votes_of(THREE), 11 / 15, 6 / 15
    same = p**2 + (1 - p) ** 2
    assert agree.fleiss(votes) == pytest.approx((observed - same) / (1 - same))
    drawn_without_return = 1 - 2 * 6 * 9 / (15 * 14)
    expected = (observed - drawn_without_return) / (1 - drawn_without_return)
    assert agree.alpha(votes) == pytest.approx(expected)
    gwet = 2 * p * (1 - p)
    assert agree.ac1(votes) == pytest.approx((observed - gwet) / (1 - gwet))


def test_ac1_of_missing_answers_is_the_reference_implementations():
    """irrCAC 0.4.4, told that there are two categories, gives 0.6 for this table."""
    table = THREE.copy()
    table[1, 2] = table[3, 0] = np.nan
    table[4] = [1, np.nan, 0]
    assert agree.ac1(agree.votes_of(table)) == pytest.approx(0.6)


def test_readers_who_favour_one_answer_agree_by_ac1_and_not_by_kappa():
    """The paradox that AC1 is for (Gwet08)."""
    ratings = np.zeros((50, 2))
    ratings[0, 0] = ratings[1, 1] = 1
    votes = agree.votes_of(ratings)
    assert agree.fleiss(votes) < 0.0 and agree.ac1(votes) > 0.9


def test_readers_who_guess_reach_what_is_called_chance():
    rng = numpy_generator(0, "guess")
    ratings = (rng.random((4000, 3)) < [0.3, 0.5, 0.6]).astype(float)
    found = agree.agreement(ratings, 0.95, 20, 0)
    assert found["all_agree"] == pytest.approx(found["all_agree_by_chance"], abs=0.02)
    assert found["mean_pairwise"] == pytest.approx(found["mean_pairwise_by_chance"], abs=0.02)
    assert abs(found["krippendorff_alpha"]) < 0.05


@pytest.mark.parametrize(
    "ratings", [np.zeros((0, 3)), np.zeros((5, 1)), np.zeros((5, 3)), np.full((5, 3), np.nan)]
)
def test_agreement_without_anything_to_agree_on_is_nan(ratings):
    found = agree.agreement(ratings, 0.95, 10, 0)
    assert math.isnan(found["krippendorff_alpha"]) and math.isnan(found["fleiss_kappa"])


def test_cohens_kappa_of_repeats():
    first = np.array([1, 1, 0, 0, 1, 0, 1, 0, 1, 1], float)
    assert agree.cohen(first, first) == 1
    assert agree.cohen(first, 1 - first) < 0
    assert math.isnan(agree.cohen(np.ones(5), np.ones(5)))


def answers(correct: np.ndarray, kinds: list[str]) -> pd.DataFrame:
    """(readers, clips) of right answers as a table."""
    return pd.DataFrame(
        [
            {"reader": f"r{r}", "shown": f"c{c}", "kind": kinds[c], "correct": bool(right)}
            for r, row in enumerate(correct)
            for c, right in enumerate(row)
        ]
    )


def test_resampling_clips_and_readers_is_wider_than_independent_answers():
    """Three readers give the same answers: 90 answers, but only 30 clips were looked at."""
    rng = numpy_generator(0, "same answers")
    kinds = ["real"] * 15 + ["factual"] * 8 + ["counterfactual"] * 7
    same = np.repeat(rng.random((1, 30)) < 0.6, 3, axis=0)
    drawn = resample(answers(same, kinds), "single", 2000, 0).interval("accuracy", 0.95)
    alone = detection.proportion(int(same.sum()), 90, 0.95)
    assert drawn.high - drawn.low > 1.4 * (alone.high - alone.low)


def test_the_resampled_interval_holds_the_true_accuracy():
    """Readers of different skill and clips of different difficulty, 200 studies of 8 readers."""
    kinds = ["real"] * 20 + ["factual"] * 10 + ["counterfactual"] * 10
    held = 0
    for study in range(200):
        rng = numpy_generator(1, "coverage of resampling", study)
        skill, ease = rng.normal(0, 0.4, (8, 1)), rng.normal(0, 0.4, (1, 40))
        right = 0.3 + skill + ease + rng.normal(size=(8, 40)) > 0
        found = resample(answers(right, kinds), "single", 200, 0).interval("accuracy", 0.95)
        held += found.low <= norm.cdf(0.3 / math.sqrt(1 + 2 * 0.16)) <= found.high
    assert held / 200 >= 0.88
