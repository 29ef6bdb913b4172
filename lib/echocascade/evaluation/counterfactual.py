"""Counterfactual protocol: per-sample score tables and the rules that turn them into a row.

A patient has several draws for one requested LVEF. What is reported depends on which draws count:

    single      every draw counts
    paper       the best draw per score, as published: the LVEF nearest to the request, the highest
                SSIM, the lowest LPIPS, which may be three different draws (Reynaud23 Sec. 3)
    best_of_k   one draw, the one whose LVEF is nearest to the request; all scores from that draw

Choosing among draws flatters a model that ignores the request, so each rule stands beside its null
(the same rule on shuffled answers) and its ceiling (the same rule on the judge's reading of the
real clips).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from echocascade.evaluation.metrics import (
    Array,
    pair_sums,
    percentile_interval,
    resample_counts,
    scores_of_sums,
)
from echocascade.rng import numpy_generator

RULES = ("paper", "single", "best_of_k")
IMAGE_SCORES = {"SSIM": np.nanargmax, "LPIPS": np.nanargmin}  # the best draw of a patient
JUDGES = {
    "regressor": ("lvef_measured", "lvef_reference"),
    "stick": ("lvef_stick", "lvef_stick_reference"),
}
PUBLISHED_NAMES = {
    "GT EF": "lvef_requested",
    "Gen EF": "lvef_measured",
    "Ref EF": "lvef_reference",
}
# Allowed values. A regressor may leave 0..100 a little, but a value like 5506 is a label multiplied
# by 100, as in a released rebalancing table.
RANGES = {
    "lvef_requested": (0.0, 100.0),
    "lvef_true": (0.0, 100.0),
    "lvef_measured": (-100.0, 200.0),
    "lvef_reference": (-100.0, 200.0),
    "lvef_stick": (-100.0, 200.0),
    "lvef_stick_reference": (-100.0, 200.0),
    "SSIM": (-1.0, 1.0),
    "LPIPS": (0.0, 10.0),
}


class ScoreTableError(ValueError):
    """A score table that cannot be read; the message names the file, the column and the row."""


def read_score_table(path: Path | str) -> pd.DataFrame:
    """Read a per-sample score table (CSV) in our columns or in the authors' published ones.

    Ours: FileName, lvef_requested, lvef_measured and where known task, draw, lvef_true (the clip's
    label), lvef_reference (the judge on the real clip), lvef_stick, lvef_stick_reference, SSIM,
    LPIPS. Published: FileName, GT EF, Gen EF, Ref EF, SSIM, LPIPS. All LVEF in percent. Other
    columns are kept. Draws of a clip that have no number are numbered in file order.

    Raises:
        ScoreTableError: which file, column and row (row 1 is the header), what was found and what
            is allowed.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype={"FileName": str}, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ScoreTableError(f"{path}: there is no such score table") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ScoreTableError(f"{path}: not a readable CSV table ({error})") from error
    try:
        return check_score_table(table)
    except ScoreTableError as error:
        raise ScoreTableError(f"{path}: {error}") from error


def check_score_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table under our column names, float64 scores, checked, `draw` filled in.

    A score column without any value is dropped: it was not computed.
    """
    table = table.rename(columns=str.strip).rename(columns=PUBLISHED_NAMES)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ScoreTableError(f"column {twice[0]} is there twice")
    missing = [name for name in ("FileName", "lvef_requested") if name not in table]
    if not any(measured in table for measured, _ in JUDGES.values()):
        missing.append("lvef_measured")
    if missing:
        published = {ours: theirs for theirs, ours in PUBLISHED_NAMES.items()}
        wanted = ", ".join(f"{m} (or {published[m]})" if m in published else m for m in missing)
        raise ScoreTableError(f"columns missing: {wanted}; found: {', '.join(table.columns)}")
    names = table["FileName"]
    _no_bad_rows(table, "FileName", (names.isna() | (names.astype(str).str.strip() == "")))
    for name, (low, high) in RANGES.items():
        if name in table:
            if table[name].isna().all() and len(table):
                table = table.drop(columns=name)
                continue
            values = pd.to_numeric(table[name], errors="coerce")
            bad = ~values.between(low, high)
            if name in JUDGES["stick"]:  # segmentation may fail to read a clip: an empty cell
                bad &= table[name].notna()
            _no_bad_rows(table, name, bad, f"a number {low:g} to {high:g}")
            table[name] = values.astype(np.float64)
    if len(table) and table["lvef_requested"].max() <= 1:
        raise ScoreTableError("column lvef_requested looks like fractions, percent is expected")
    clip = ["FileName", "task"] if "task" in table else ["FileName"]
    if "draw" not in table:
        table["draw"] = table.groupby(clip, sort=False).cumcount()
    repeated = table.duplicated([*clip, "draw"])
    _no_bad_rows(table, "draw", repeated, "one row a draw of a clip")
    return table


def _no_bad_rows(table: pd.DataFrame, column: str, bad: pd.Series, allowed: str = "a name") -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        found = table[column].iloc[rows[0]]
        clip = f" ({table['FileName'].iloc[rows[0]]})" if column != "FileName" else ""
        more = f", and {len(rows) - 1} more rows" if len(rows) > 1 else ""
        raise ScoreTableError(
            f"row {rows[0] + 2}{clip}, column {column}: found {found}, allowed is {allowed}{more}"
        )


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
    """R2, MAE, RMSE, SSIM, LPIPS, r, slope and bias of a rule, each with its `*_interval`.

    An interval is [low, high] over the bootstrap resamples `counts` (resamples, patients). A score
    that is undefined (R2 of a constant request) is None.
    """
    sums = scores_by_patient(draws, rule)
    point = scores_of_resamples(sums, np.ones((1, counts.shape[1])))
    spread = scores_of_resamples(sums, counts)
    return _with_intervals({name: float(point[name][0]) for name in point}, spread, level)


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
    return _with_intervals(mean, spread, level)


def _with_intervals(
    point: dict[str, float], spread: dict[str, Array], level: float
) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in point.items():
        interval = percentile_interval(spread[name], level)
        result[name] = None if np.isnan(value) else value
        result[f"{name}_interval"] = None if np.isnan(value) else [interval.low, interval.high]
    return result


def score_table(
    table: pd.DataFrame,
    *,
    judge: str = "regressor",
    task: str | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    permutations: int = 100,
    seed: int = 0,
) -> dict[str, object]:
    """Score one task of a per-sample table under every rule, with null and ceiling beside it.

    Args:
        table: as `read_score_table` returns it (`check_score_table` is applied again).
        judge: whose LVEF counts: "regressor" or "stick".
        task: which rows, where the table has a task column with more than one.
    Returns:
        JSON-ready: n_patients, n_draws (most draws of a patient), n_samples, n_unread (samples
        without a reading by this judge, left out), level, and for each rule `rules`, `null` and
        `ceiling`: R2, MAE, RMSE, r, slope, bias, SSIM, LPIPS, each with `*_interval`.
        `ceiling_truth` is the column that the reading of the real clips was compared with;
        `not_computed` says what is missing and why.
    """
    rows = _rows_of_task(check_score_table(table), task)
    measured, reference = _columns_of(judge, rows)
    read = rows[rows[measured].notna()]
    image = [name for name in IMAGE_SCORES if name in rows]
    n_patients = read["FileName"].nunique()
    if n_patients < 2:
        raise ScoreTableError(f"{n_patients} patients with {measured}, at least 2 are needed")
    draws = Draws.of(read, "lvef_requested", measured, image)
    counts = resample_counts(n_patients, resamples, seed)
    missing = {name: f"not computed: no {name} column" for name in IMAGE_SCORES if name not in rows}
    result: dict[str, object] = {
        "n_patients": n_patients,
        "n_draws": draws.measured.shape[1],
        "n_samples": len(read),
        "n_unread": len(rows) - len(read),
        "judge": judge,
        "level": level,
        "rules": {rule: rule_scores(draws, rule, counts, level) for rule in RULES},
        "null": {rule: null_scores(draws, rule, level, permutations, seed) for rule in RULES},
        "ceiling": {},
        "ceiling_truth": _truth_of_real_clips(rows),
        "not_computed": missing,
    }
    truth = result["ceiling_truth"]
    if reference in rows and isinstance(truth, str):
        real = Draws.of(read[read[reference].notna()], truth, reference, [])
        counts = resample_counts(len(real.measured), resamples, seed)
        result["ceiling"] = {rule: rule_scores(real, rule, counts, level) for rule in RULES}
    else:
        needs = reference if truth else "lvef_true"
        missing["ceiling"] = f"not computed: no {needs} column"
    return result


def _rows_of_task(table: pd.DataFrame, task: str | None) -> pd.DataFrame:
    tasks = sorted(table["task"].astype(str).unique()) if "task" in table else []
    if task is None and len(tasks) > 1:
        raise ScoreTableError(f"the table has several tasks, choose one of {', '.join(tasks)}")
    if task is None or (not tasks and "task" not in table):
        return table
    if task not in tasks:
        raise ScoreTableError(f"task is {task!r}, the table has {', '.join(tasks) or 'none'}")
    return table[table["task"] == task]


def _columns_of(judge: str, table: pd.DataFrame) -> tuple[str, str]:
    if judge not in JUDGES:
        raise ScoreTableError(f"judge is {judge!r}, allowed are {', '.join(JUDGES)}")
    measured, reference = JUDGES[judge]
    if measured not in table:
        raise ScoreTableError(f"the table has no column {measured}, which judge {judge!r} needs")
    return measured, reference


def _truth_of_real_clips(table: pd.DataFrame) -> str | None:
    """In generation the request is not the real clip's LVEF, so only its label can be the truth."""
    if "lvef_true" in table:
        return "lvef_true"
    generation = "task" in table and (table["task"] == "generation").any()
    return None if generation else "lvef_requested"


def counterfactual_targets(n: int, seed: int, low: float = 15.0, high: float = 85.0) -> Array:
    """Requested LVEF of clips 0..n-1 in percent, uniform in [low, high] (Reynaud23 Sec. 3).

    One per clip, kept over its draws; clip i's does not depend on n, so chunks agree.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"LVEF range is {low}..{high}, allowed is 0 <= low < high <= 100")
    return np.array(
        [numpy_generator(seed, "counterfactual target", i).uniform(low, high) for i in range(n)]
    )
