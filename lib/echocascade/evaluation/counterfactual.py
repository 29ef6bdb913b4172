"""The counterfactual protocol on a score table: every rule beside its null and its ceiling.

The null is a rule on shuffled answers (what ignoring the request would give), the ceiling the same
rule on the judge's reading of the real clips. Intervals are bootstrapped over patients.
"""

import numpy as np
import pandas as pd

from echocascade.evaluation.metrics import Array, resample_counts
from echocascade.evaluation.rules import IMAGE_SCORES, RULES, Draws, null_scores, rule_scores
from echocascade.evaluation.score_table import JUDGES, ScoreTableError, check_score_table
from echocascade.rng import numpy_generator


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
        `ceiling`: N (patients), R2, MAE, RMSE, r, slope, bias, SSIM, LPIPS, each score with
        `*_interval`. `ceiling_truth` is the column that the reading of the real clips was compared
        with; `not_computed` says what is missing and why.
    """
    rows = _rows_of_task(check_score_table(table), task)
    measured, reference = _columns_of(judge, rows)
    read = rows[rows[measured].notna()]
    n_patients = read["FileName"].nunique()
    if n_patients < 2:
        raise ScoreTableError(f"{n_patients} patients with {measured}, at least 2 are needed")
    image = [name for name in IMAGE_SCORES if name in rows]
    draws = Draws.of(read, "lvef_requested", measured, image)
    counts = resample_counts(n_patients, resamples, seed)
    missing = {name: f"not computed: no {name} column" for name in IMAGE_SCORES if name not in rows}
    truth, reason = _truth_of_real_clips(rows, reference, task)
    ceiling: dict[str, object] = {}
    if truth is None:
        missing["ceiling"] = f"not computed: {reason}"
    else:
        real = Draws.of(read[read[reference].notna()], truth, reference, [])
        real_counts = resample_counts(len(real.measured), resamples, seed)
        ceiling = {rule: rule_scores(real, rule, real_counts, level) for rule in RULES}
    return {
        "n_patients": n_patients,
        "n_draws": draws.measured.shape[1],
        "n_samples": len(read),
        "n_unread": len(rows) - len(read),
        "judge": judge,
        "level": level,
        "rules": {rule: rule_scores(draws, rule, counts, level) for rule in RULES},
        "null": {rule: null_scores(draws, rule, level, permutations, seed) for rule in RULES},
        "ceiling": ceiling,
        "ceiling_truth": truth,
        "not_computed": missing,
    }


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


def _truth_of_real_clips(
    table: pd.DataFrame, reference: str, task: str | None
) -> tuple[str | None, str]:
    """The column that the judge's reading of the real clips can be compared with, or why none.

    The label; or, in reconstruction, the request, which is the label. A published table does not
    say which task it is: where requests and readings have nothing in common, it is generation.
    """
    if reference not in table:
        return None, f"no {reference} column"
    if "lvef_true" in table:
        return "lvef_true", ""
    named = task or (str(table["task"].iloc[0]) if "task" in table else None)
    if named == "generation":
        return None, "no lvef_true column"
    if named is None and not _related(table["lvef_requested"], table[reference]):
        return None, "no lvef_true column, and the requests are not the clips' own LVEF"
    return "lvef_requested", ""


def _related(requested: pd.Series, reference: pd.Series) -> bool:
    """Whether readings of the real clips rise with the requests, beyond three standard errors.

    Too few or constant values say nothing, and then the requests are taken for labels.
    """
    if len(requested) < 30 or requested.nunique() < 2 or reference.nunique() < 2:
        return True
    return float(requested.corr(reference)) > 3 / len(requested) ** 0.5


def counterfactual_targets(n: int, seed: int, low: float = 15.0, high: float = 85.0) -> Array:
    """Requested LVEF of clips 0..n-1 in percent, uniform in [low, high] (Reynaud23 Sec. 3).

    One per clip, kept over its draws; clip i's does not depend on n, so chunks agree.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"LVEF range is {low}..{high}, allowed is 0 <= low < high <= 100")
    return np.array(
        [numpy_generator(seed, "counterfactual target", i).uniform(low, high) for i in range(n)]
    )
