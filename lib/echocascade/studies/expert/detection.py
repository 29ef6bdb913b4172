"""Proportions and signal detection of one set of answers: generated clips are the signal."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from statsmodels.stats.proportion import (
    binom_tost,
    confint_proportions_2indep,
    proportion_confint,
    tost_proportions_2indep,
)

NAN = float("nan")
CHANCE = 0.5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN where there is nothing to estimate it from."""

    value: float
    low: float = NAN
    high: float = NAN

    def named(self, name: str) -> dict[str, object]:
        """As results are recorded: the value under its name, the interval beside it."""
        return {name: self.value, f"{name}_interval": [self.low, self.high]}


@dataclass(frozen=True)
class Counts:
    """Answers to generated clips (hits: called generated) and to real ones (false alarms)."""

    hits: int
    n_generated: int
    false_alarms: int
    n_real: int


def proportion(count: int, n: int, level: float) -> Estimate:
    """`count` of `n` with Wilson's score interval, which holds for few answers too."""
    if n == 0:
        return Estimate(NAN)
    low, high = proportion_confint(count, n, alpha=1 - level, method="wilson")
    return Estimate(count / n, float(low), float(high))


def d_prime(counts: Counts, level: float) -> Estimate:
    """z(hit rate) - z(false alarm rate), both rates corrected (Hautus95), interval by delta method.

    0 for a reader who guesses. NaN without answers to both kinds.
    """
    if not counts.n_generated or not counts.n_real:
        return Estimate(NAN)
    hit, alarm = _corrected(counts)
    value = float(norm.ppf(hit) - norm.ppf(alarm))
    variance = sum(
        rate * (1 - rate) / (n * norm.pdf(norm.ppf(rate)) ** 2)
        for rate, n in ((hit, counts.n_generated), (alarm, counts.n_real))
    )
    reach = float(norm.ppf((1 + level) / 2) * math.sqrt(variance))
    return Estimate(value, value - reach, value + reach)


def criterion(counts: Counts) -> float:
    """-(z(hit rate) + z(false alarm rate)) / 2: above 0 the reader says "real" more readily."""
    if not counts.n_generated or not counts.n_real:
        return NAN
    return float(-np.mean(norm.ppf(_corrected(counts))))


def d_prime_of_pairs(correct: int, n: int, level: float) -> Estimate:
    """sqrt(2) z(share correct) of two-alternative forced choice, interval through Wilson's."""
    if n == 0:
        return Estimate(NAN)
    share = proportion(correct, n, level)
    corrected = (correct + 0.5) / (n + 1)
    ends = [math.sqrt(2) * float(norm.ppf(p)) for p in (corrected, share.low, share.high)]
    return Estimate(*ends)


def balanced_accuracy(counts: Counts, level: float) -> Estimate:
    """(sensitivity + specificity) / 2, which chance keeps at 0.5 whatever a reader prefers.

    It is 1/2 + (hit rate - false alarm rate) / 2: the interval is Agresti and Caffo's of a
    difference of two proportions.
    """
    if not counts.n_generated or not counts.n_real:
        return Estimate(NAN)
    low, high = confint_proportions_2indep(
        counts.hits, counts.n_generated, counts.false_alarms, counts.n_real,
        compare="diff", method="agresti-caffo", alpha=1 - level,
    )  # fmt: skip
    value = counts.hits / counts.n_generated - counts.false_alarms / counts.n_real
    ends = (CHANCE + end / 2 for end in (value, low, high))
    return Estimate(*(float(end) for end in ends))


def equivalence_p(counts: Counts, margin: float) -> float:
    """p of two one-sided tests that balanced accuracy is off 0.5 by `margin` (a share) or more."""
    if not counts.n_generated or not counts.n_real:
        return NAN
    with np.errstate(divide="ignore", invalid="ignore"):  # of ratios that come along unasked
        found = tost_proportions_2indep(
            counts.hits, counts.n_generated, counts.false_alarms, counts.n_real,
            low=-2 * margin, upp=2 * margin, compare="diff", method="agresti-caffo",
        )  # fmt: skip
    return float(found.pvalue)


def equivalence_p_of_pairs(correct: int, n: int, margin: float) -> float:
    """The same for pairs, exact: chance is 0.5 whatever side a reader prefers."""
    if n == 0:
        return NAN
    return float(binom_tost(correct, n, CHANCE - margin, CHANCE + margin)[0])


def answers_needed(margin: float, alpha: float = 0.05) -> int:
    """Answers at which a reader exactly at chance would be shown to lie within `margin` of it.

    The half-width of the 1 - 2 alpha interval must be below the margin.
    """
    return math.ceil((float(norm.ppf(1 - alpha)) * CHANCE / margin) ** 2)


def _corrected(counts: Counts) -> np.ndarray:
    """Hit and false alarm rate with half an answer added to each side (Hautus95)."""
    hit = (counts.hits + 0.5) / (counts.n_generated + 1)
    alarm = (counts.false_alarms + 0.5) / (counts.n_real + 1)
    return np.array([hit, alarm])
