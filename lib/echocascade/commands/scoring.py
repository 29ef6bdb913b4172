"""``echocascade score`` and ``echocascade evaluate``: the paper's protocol on tables of samples."""

from pathlib import Path

from echocascade.commands.runs import find_run
from echocascade.evaluation.counterfactual import (
    ScoreTableError,
    read_score_table,
    score_table,
)
from echocascade.report.files import flatten
from echocascade.report.headlines import with_minus
from echocascade.report.runs import RunError

USER_ERRORS = (ScoreTableError, RunError)
TABLE = "counterfactual_samples.csv"
SHOWN = ("R2", "MAE", "RMSE", "slope", "r", "SSIM", "LPIPS")


def score(table: Path, judge: str, task: str | None) -> dict[str, object]:
    """Scores of one table as the JSON object that DESIGN promises."""
    return score_table(read_score_table(table), judge=judge, task=task)


def evaluate(run_name: str, task: str | None) -> dict[str, object]:
    """Scores of a run's table for each task (or one) and each judge, nested by task and judge."""
    directory = find_run(run_name)
    file = directory / "tables" / TABLE
    if not file.is_file():
        raise RunError(f"run {directory.name} has no {TABLE}; run notebook 07 first (make run)")
    table = read_score_table(file)
    known = sorted(table["task"].unique()) if "task" in table else []
    if task is not None and task not in known:
        raise RunError(f"task {task!r} is not in the table; there are {', '.join(known) or 'none'}")
    judges = [
        judge
        for judge, column in (("regressor", "lvef_measured"), ("stick", "lvef_stick"))
        if column in table
    ]
    return {
        each or "all": {judge: score_table(table, judge=judge, task=each) for judge in judges}
        for each in ([task] if task else known or [None])
    }


def describe(scores: dict[str, object]) -> str:
    """One table for people: a line a rule, and the null and the ceiling below."""
    flat = flatten(scores)
    lines = [f"{flat['n_patients']} patients, {flat['n_draws']} draws each"]
    for group, title in (("rules", ""), ("null", "null, "), ("ceiling", "ceiling, ")):
        rules = scores.get(group)
        for rule in rules if isinstance(rules, dict) else ():
            lines.append(f"  {title}{rule}: {_numbers(flat, f'{group}.{rule}')}")
    return "\n".join(lines)


def describe_evaluation(evaluation: dict[str, object]) -> str:
    """`describe` for each task and judge of `evaluate`."""
    parts = []
    for task, judges in evaluation.items():
        for judge, scores in judges.items():  # type: ignore[attr-defined]
            parts.append(f"{task}, judged by the {judge}: {describe(scores)}")
    return "\n".join(parts)


def _numbers(flat: dict[str, object], prefix: str) -> str:
    shown = []
    for name in SHOWN:
        value = flat.get(f"{prefix}.{name}")
        if isinstance(value, (int, float)):
            interval = flat.get(f"{prefix}.{name}_interval")
            span = (
                f" ({interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, list) else ""
            )
            shown.append(f"{name} {value:.3f}{span}")
    return with_minus("  ".join(shown))
