"""Intervals of pooled scores: clips and readers are drawn anew together.

Answers to one clip are alike, and so are answers of one reader: an interval that takes them as
independent is too narrow. Clips are drawn within their class, as the design fixes the classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from echocascade.evaluation.metrics import percentile_interval
from echocascade.rng import numpy_generator
from echocascade.studies.expert.design import KINDS
from echocascade.studies.expert.detection import CHANCE, NAN, Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """Scores in bootstrap resamples, by name, (resamples,) each: accuracy, balanced_accuracy, a
    class's name for its accuracy, and of single clips sensitivity, specificity and d_prime."""

    scores: dict[str, Array]

    def interval(self, name: str, level: float) -> Estimate:
        """The percentile interval of a score; the value itself is left NaN."""
        found = percentile_interval(self.scores[name], level)
        return Estimate(NAN, found.low, found.high)

    def equivalence_p(self, margin: float) -> float:
        """The larger share of resamples beyond either end of 0.5 plus or minus `margin`."""
        balanced = self.scores["balanced_accuracy"]
        known = balanced[np.isfinite(balanced)]
        if len(known) == 0:
            return NAN
        beyond = ((known <= CHANCE - margin).mean(), (known >= CHANCE + margin).mean())
        return float(max(beyond))


def resample(table: pd.DataFrame, mode: str, resamples: int, seed: int) -> Resampled:
    """Draw clips and readers with replacement, `resamples` times.

    `table`: answers with reader, files, kind and correct (bool). One reader: clips alone.
    """
    correct: dict[str, Array] = {}
    answered: dict[str, Array] = {}
    readers = sorted(table["reader"].unique())
    rng = numpy_generator(seed, "study readers", len(readers))
    drawn = _counts(len(readers), resamples, rng)
    for group, kind in enumerate(KINDS):
        rows = table[table["kind"] == kind]
        clips = sorted(rows["shown"].unique())
        weights = _counts(len(clips), resamples, numpy_generator(seed, "study clips", group))
        grid = rows.pivot_table(
            index="reader", columns="shown", values="correct", aggfunc="first"
        ).reindex(index=readers, columns=clips)
        values = grid.to_numpy(float)
        correct[kind] = _weighted(drawn, np.nan_to_num(values), weights)
        answered[kind] = _weighted(drawn, np.isfinite(values).astype(float), weights)
    right, n = np.sum(list(correct.values()), axis=0), np.sum(list(answered.values()), axis=0)
    scores: dict[str, Array] = {kind: _ratio(correct[kind], answered[kind]) for kind in KINDS}
    scores["accuracy"] = scores["balanced_accuracy"] = _ratio(right, n)
    if mode == "pairs":
        return Resampled(scores)
    hits, n_made = right - correct["real"], n - answered["real"]
    scores |= {"sensitivity": _ratio(hits, n_made), "specificity": scores["real"]}
    scores["balanced_accuracy"] = (scores["sensitivity"] + scores["specificity"]) / 2
    signal = norm.ppf((hits + 0.5) / (n_made + 1)) + norm.ppf(
        (correct["real"] + 0.5) / (answered["real"] + 1)
    )  # corrected as `detection.d_prime` is
    scores["d_prime"] = np.where((n_made > 0) & (answered["real"] > 0), signal, np.nan)
    return Resampled(scores)


def _counts(n: int, resamples: int, rng: np.random.Generator) -> Array:
    """How often each of n is drawn in each resample, (resamples, n); all once where n is 1."""
    if n < 2:
        return np.ones((resamples, n))
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def _weighted(readers: Array, grid: Array, clips: Array) -> Array:
    """Sum over readers and clips of the grid, each as often as drawn: (resamples,)."""
    return np.asarray(((readers @ grid) * clips).sum(1)) if grid.size else np.zeros(len(readers))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
