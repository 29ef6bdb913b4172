"""Which draws of a patient count: the rules of the protocol, and the null of each.

    single      every draw counts
    paper       the best draw per score, as published: the LVEF nearest to the request, the highest
                SSIM, the lowest LPIPS, which may be three different draws (Reynaud23 Sec. 3)
    best_of_k   one draw, the one whose LVEF is nearest to the request; all scores from that draw

Choosing among draws flatters a model that ignores the request; the null is what the same rule gives
on shuffled answers.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from echocascade.evaluation.metrics import Array, pair_sums, percentile_interval, scores_of_sums
from echocascade.rng import numpy_generator

RULES = ("paper", "single", "best_of_k")
IMAGE_SCORES = {"SSIM": np.nanargmax, "LPIPS": np.nanargmin}  # the best draw of a patient


@dataclass(frozen=True)
class Draws:
    """Scores as matrices (patients, draws); NaN where a patient has fewer draws than others.

    requested, measured: LVEF in percent, less their common `center`. image: SSIM and LPIPS.
    """

    requested: Array
    measured: Array
    image: dict[str, Array]

    @staticmethod
    def of(table: pd.DataFrame, truth: str, measured: str, image: list[str]) -> "Draws":
        """Rows of the same FileName are draws of a patient; `truth`, `measured`: column names."""
        table = table.sort_values("draw", kind="stable")
        patient = pd.factorize(table["FileName"], sort=True)[0]
        draw = table.groupby(patient).cumcount().to_numpy()

        def matrix(name: str) -> Array:
            values = np.full((patient.max() + 1, draw.max() + 1), np.nan)
            values[patient, draw] = table[name]
            return values

        center = float(table[truth].mean())
        return Draws(
            matrix(truth) - center,
            matrix(measured) - center,
            {name: matrix(name) for name in image},
        )

    def with_answers(self, order: NDArray[np.intp]) -> "Draws":
        """The measured values of all rows in another order, requests and draws as they were."""
        there = np.isfinite(self.measured)
        measured = self.measured.copy()
        measured[there] = self.measured[there][order]
        return Draws(self.requested, measured, self.image)

    def chosen(self, rule: str, score: str) -> NDArray[np.bool_]:
        """Which draws count for a score ("LVEF", "SSIM" or "LPIPS"): (patients, draws)."""
        if rule == "single":
            return np.isfinite(self.measured)
        if rule == "paper" and score in IMAGE_SCORES:
            best = IMAGE_SCORES[score](self.image[score], axis=1)
        elif rule in RULES:
            best = np.nanargmin(np.abs(self.measured - self.requested), axis=1)
        else:
            raise ValueError(f"rule is {rule!r}, allowed are {', '.join(RULES)}")
        return np.arange(self.measured.shape[1]) == best[:, None]


def scores_by_patient(draws: Draws, rule: str) -> dict[str, Array]:
    """Per-patient sums that a rule's scores follow from, one row a patient.

    "LVEF" has the columns of `pair_sums`; "SSIM" and "LPIPS" have (number of draws, their sum).
    """
    lvef = pair_sums(draws.requested, draws.measured)
    sums = {"LVEF": np.where(draws.chosen(rule, "LVEF")[..., None], lvef, 0).sum(axis=1)}
    for name, values in draws.image.items():
        counts = draws.chosen(rule, name)
        total = np.where(counts, values, 0).sum(axis=1)
        sums[name] = np.stack([counts.sum(axis=1), total], axis=-1)
    return sums


def scores_of_resamples(sums: dict[str, Array], counts: Array) -> dict[str, Array]:
    """Scores when patient p counts `counts[..., p]` times: one array (...) a score."""
    scores = scores_of_sums(counts @ sums["LVEF"])
    for name in [name for name in sums if name != "LVEF"]:
        n, total = (counts @ sums[name]).T
        scores[name] = total / n
    return scores


def rule_scores(draws: Draws, rule: str, counts: Array, level: float) -> dict[str, object]:
    """N (patients), R2, MAE, RMSE, SSIM, LPIPS, r, slope and bias, each with its `*_interval`.

    An interval is [low, high] over the bootstrap resamples `counts` (resamples, patients). A score
    that is undefined (R2 of a constant request) is None.
    """
    sums = scores_by_patient(draws, rule)
    point = scores_of_resamples(sums, np.ones((1, counts.shape[1])))
    spread = scores_of_resamples(sums, counts)
    values = {name: float(point[name][0]) for name in point}
    return {"N": counts.shape[1], **_with_intervals(values, spread, level)}


def null_scores(
    draws: Draws, rule: str, level: float, permutations: int, seed: int
) -> dict[str, object]:
    """The rule on shuffled answers: what a model that ignores the request would score.

    Every draw gets the answer of a random other sample, so the answers keep their distribution and
    lose the request. (Shuffling whole patients would keep the draws of a patient as alike as
    obedience made them, and choosing the best of three alike draws gains little: no control for
    the choice.) The value is the mean over permutations, the interval their spread.
    """
    n_samples = int(np.isfinite(draws.measured).sum())
    everyone = np.ones((1, len(draws.measured)))
    found = []
    for k in range(permutations):
        order = numpy_generator(seed, "permuted-condition null", k).permutation(n_samples)
        sums = scores_by_patient(draws.with_answers(order), rule)
        found.append(scores_of_resamples(sums, everyone))
    spread = {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}
    mean = {name: float(values.mean()) for name, values in spread.items()}
    return {"N": len(draws.measured), **_with_intervals(mean, spread, level)}


def _with_intervals(
    point: dict[str, float], spread: dict[str, Array], level: float
) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in point.items():
        interval = percentile_interval(spread[name], level)
        result[name] = None if np.isnan(value) else value
        result[f"{name}_interval"] = None if np.isnan(value) else [interval.low, interval.high]
    return result
