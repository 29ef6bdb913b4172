"""From the per-sample table to scores: three answers, every rule, with null and ceiling beside it.

An answer is a column of LVEFs: the regressor's or the segmentation stick's on the cascade's clips,
or the regressor's on the first stage enlarged linearly, which has no super-resolution to thank.
"""

import pandas as pd

from echocascade.evaluation.counterfactual import score_table
from echocascade.params import EvaluationParams

ANSWERS = {
    "regressor": "regressor",
    "stick": "segmentation",
    "linear": "regressor, base enlarged linearly",
}
# kind of a row -> where `score_answers` has it; "null" in a CSV would be read as no value
KINDS = {"measured": "", "chance": "null", "ceiling": "ceiling"}
ROW_KEYS = ("task", "answer", "kind", "rule")
OTHER_SCORES = ("N", "MAE", "RMSE", "r", "slope", "bias", "SSIM", "LPIPS")
CASES = {"best": 0.0, "median": 0.5, "worst": 1.0}  # place in the order of errors
REFERENCES = {"lvef_measured": "lvef_reference", "lvef_stick": "lvef_stick_reference"}


def score_answers(
    table: pd.DataFrame, task: str, evaluation: EvaluationParams, seed: int = 0
) -> dict[str, dict[str, object]]:
    """`score_table` of one task for every answer, flattened one level: the rules at the top.

    Keys of an answer: single, paper, best_of_k (each N, R2, MAE, RMSE, r, slope, bias, SSIM, LPIPS
    and their `*_interval`), null and ceiling (the same), n_patients, n_draws, n_samples, n_unread.
    An answer that fewer than two patients have is left out: nothing can be scored.
    """
    scores = {}
    rows = table[table["task"] == task]
    for answer in ANSWERS:
        answered = _as_judged(rows, answer)
        measured = "lvef_stick" if answer == "stick" else "lvef_measured"
        if answered.loc[answered[measured].notna(), "FileName"].nunique() < 2:
            continue
        found = score_table(
            answered, judge="stick" if answer == "stick" else "regressor", task=task,
            level=evaluation.level, resamples=evaluation.bootstrap, seed=seed,
        )  # fmt: skip
        rules = found["rules"]
        counts = {key: found[key] for key in ("n_patients", "n_draws", "n_samples", "n_unread")}
        controls = {"null": found["null"], "ceiling": found["ceiling"]}
        scores[answer] = {**(rules if isinstance(rules, dict) else {}), **controls, **counts}
    return scores


def _as_judged(rows: pd.DataFrame, answer: str) -> pd.DataFrame:
    """The rows with the answer's column where `score_table` looks; no ceiling of one clip."""
    if answer == "linear":
        rows = rows.assign(lvef_measured=rows["lvef_linear"])
    measured = "lvef_stick" if answer == "stick" else "lvef_measured"
    reference = REFERENCES[measured]
    read = rows[rows[measured].notna() & rows[reference].notna()]
    return rows if read["FileName"].nunique() >= 2 else rows.drop(columns=reference)


def score_rows(scores: dict[str, dict[str, dict[str, object]]]) -> pd.DataFrame:
    """Scores of all tasks as rows: ROW_KEYS, R2 with its interval, OTHER_SCORES.

    `scores`: task -> `score_answers`. Kind: measured, chance (the null) or ceiling.
    """
    rows = []
    for task, answers in scores.items():
        for answer, found in answers.items():
            for kind, key in KINDS.items():
                rules = found[key] if key else found
                for rule in ("single", "paper", "best_of_k"):
                    values = rules.get(rule) if isinstance(rules, dict) else None
                    if not isinstance(values, dict):
                        continue
                    low, high = values.get("R2_interval") or (None, None)
                    place = {"task": task, "answer": answer, "kind": kind}
                    r2 = {"rule": rule, "R2": values.get("R2"), "R2 low": low, "R2 high": high}
                    rows.append(place | r2 | {name: values.get(name) for name in OTHER_SCORES})
    numbers = ["R2", "R2 low", "R2 high", *OTHER_SCORES]
    table = pd.DataFrame(rows, columns=[*ROW_KEYS, *numbers])
    table[numbers] = table[numbers].apply(pd.to_numeric)  # None is no number
    return table


def pick_cases(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """The samples of the smallest, the median and the largest error by the regressor.

    Fewer rows where there are fewer samples. Adds the columns case and error (points).
    """
    rows = table[table["task"] == task]
    error = (rows["lvef_measured"] - rows["lvef_requested"]).abs()
    rows = rows.assign(error=error).sort_values("error", kind="stable").reset_index(drop=True)
    places = {name: round(share * (len(rows) - 1)) for name, share in CASES.items()}
    picked = rows.iloc[list(places.values())].assign(case=list(places))
    return picked.drop_duplicates(["FileName", "draw"]).reset_index(drop=True)
