"""How far readers agree with each other, and each reader with a second look.

Raw agreement is given in both of its meanings, and beside it coefficients that take out chance:
Fleiss' kappa and Krippendorff's alpha (statsmodels, krippendorff), and Gwet's AC1, which does not
collapse where readers favour one answer (Gwet08). Intervals are bootstrapped over clips, as the
asymptotic ones do not hold (Zapf16).
"""

import warnings
from collections.abc import Callable

import krippendorff
import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from echocascade.evaluation.metrics import percentile_interval
from echocascade.rng import numpy_generator
from echocascade.studies.expert.detection import NAN, Estimate

Ratings = NDArray[np.float64]
"""(clips, readers): 1 generated (or left), 0 real (or right), NaN no answer or cannot judge."""

Votes = NDArray[np.int64]
"""(clips, 2): how many readers gave each answer."""


def votes_of(ratings: Ratings) -> Votes:
    """Readers who said 0 and who said 1, a row a clip."""
    return np.stack([(ratings == answer).sum(1) for answer in (0, 1)], axis=1)


def all_agree(votes: Votes) -> float:
    """The share of clips with at least two answers on which all readers said the same."""
    rated = votes[votes.sum(1) >= 2]
    return float((rated.min(1) == 0).mean()) if len(rated) else NAN


def mean_pairwise(votes: Votes) -> float:
    """The share of pairs of readers who agree, averaged over clips with at least two answers."""
    rated = votes[votes.sum(1) >= 2]
    n = rated.sum(1)
    agreeing = (rated * (rated - 1)).sum(1) / np.maximum(n * (n - 1), 1)
    return float(agreeing.mean()) if len(rated) else NAN


def fleiss(votes: Votes) -> float:
    """Fleiss' kappa of the clips that all readers answered; NaN where all said one thing."""
    n = votes.sum(1)
    whole = votes[(n == n.max(initial=0)) & (n >= 2)]
    if len(whole) == 0 or (whole.sum(0) == 0).any():
        return NAN
    return float(fleiss_kappa(whole))


def alpha(votes: Votes) -> float:
    """Krippendorff's alpha (nominal), missing answers allowed; NaN where all said one thing."""
    rated = votes[votes.sum(1) >= 2]
    if len(rated) == 0 or (rated.sum(0) == 0).any():
        return NAN
    return float(krippendorff.alpha(value_counts=rated, level_of_measurement="nominal"))


def ac1(votes: Votes) -> float:
    """Gwet's AC1 for two answers and any number of readers (Gwet08), missing answers allowed."""
    answered = votes[votes.sum(1) >= 1]
    agreed = mean_pairwise(votes)
    if len(answered) == 0 or np.isnan(agreed):
        return NAN
    share = (answered / answered.sum(1, keepdims=True)).mean(0)
    by_chance = float(
        (share * (1 - share)).sum()
    )  # over the number of answers less one, which is 1
    return (agreed - by_chance) / (1 - by_chance)


COEFFICIENTS: dict[str, Callable[[Votes], float]] = {
    "all_agree": all_agree,
    "mean_pairwise": mean_pairwise,
    "fleiss_kappa": fleiss,
    "krippendorff_alpha": alpha,
    "gwet_ac1": ac1,
}


def agreement(ratings: Ratings, level: float, resamples: int, seed: int) -> dict[str, object]:
    """All COEFFICIENTS of (clips, readers) with bootstrap intervals over clips.

    Also n_clips (with two answers or more), n_readers, and what readers who guess, each with
    a preference of their own, would reach: all_agree_by_chance and mean_pairwise_by_chance.
    """
    votes = votes_of(ratings)
    votes = votes[votes.sum(1) >= 2]
    rng = numpy_generator(seed, "study agreement", len(votes))
    draws = rng.integers(len(votes), size=(resamples, len(votes))) if len(votes) else ()
    found: dict[str, object] = {"n_clips": len(votes), "n_readers": ratings.shape[1]}
    for name, coefficient in COEFFICIENTS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            value = coefficient(votes)
            resampled = [coefficient(votes[rows]) for rows in draws]
        interval = percentile_interval(resampled, level)
        found |= Estimate(value, interval.low, interval.high).named(name)
    return found | _by_chance(ratings)


def _by_chance(ratings: Ratings) -> dict[str, float]:
    """Agreement of readers who answer independently of the clip, at their own rates."""
    said = [column[np.isfinite(column)] for column in ratings.T]
    rates = np.array([column.mean() for column in said if len(column)])
    if len(rates) < 2:
        return {"all_agree_by_chance": NAN, "mean_pairwise_by_chance": NAN}
    agree = np.outer(rates, rates) + np.outer(1 - rates, 1 - rates)
    pairs = agree[np.triu_indices(len(rates), 1)]
    return {
        "all_agree_by_chance": float(np.prod(rates) + np.prod(1 - rates)),
        "mean_pairwise_by_chance": float(pairs.mean()),
    }


def cohen(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Cohen's kappa of two series of 0 and 1; NaN where it is undefined."""
    table = np.zeros((2, 2))
    for a, b in zip(first.astype(int), second.astype(int), strict=True):
        table[a, b] += 1
    expected = (table.sum(0) * table.sum(1)).sum()
    if table.sum() == 0 or expected == table.sum() ** 2:
        return NAN
    return float(cohens_kappa(table).kappa)
