"""``echocascade score``: the paper's protocol on a table of samples."""

from pathlib import Path

from echocascade.evaluation.counterfactual import score_table
from echocascade.evaluation.score_table import ScoreTableError, read_score_table, with_labels
from echocascade.report.files import flatten
from echocascade.report.headlines import with_minus

USER_ERRORS = (ScoreTableError,)
SHOWN = ("R2", "MAE", "RMSE", "slope", "r", "SSIM", "LPIPS")


def score(
    table: Path, judge: str, task: str | None, labels: Path | None = None
) -> dict[str, object]:
    """Scores of one table as the JSON object that scripts rely on.

    labels: a FileList.csv with the clips' own LVEF, for the ceiling of a published table.
    """
    samples = read_score_table(table)
    if labels is not None:
        samples = with_labels(samples, labels)
    return score_table(samples, judge=judge, task=task)


def describe(scores: dict[str, object]) -> str:
    """One table for people: what choosing does, then a line a rule, its null and its ceiling."""
    flat = flatten(scores)
    lines = [
        f"{flat['n_patients']} patients, {flat['n_draws']} draws each;"
        f" {100 * float(str(flat['level'])):g} % intervals over patients",
        f"  R2 at a glance: {glance(flat)}",
    ]
    for group, title in (("rules", ""), ("null", "null, "), ("ceiling", "ceiling, ")):
        rules = scores.get(group)
        for rule in rules if isinstance(rules, dict) else ():
            lines.append(f"  {title}{rule}: {_numbers(flat, f'{group}.{rule}')}")
    return "\n".join(lines)


def glance(flat: dict[str, object]) -> str:
    """One draw, the best of all, the best of all of shuffled answers, and the judge itself."""
    k = flat["n_draws"]
    shown = {
        "rules.single.R2": "one draw",
        "rules.paper.R2": f"best of {k}, as published",
        "null.paper.R2": f"best of {k} of shuffled answers",
        "ceiling.single.R2": "the judge on real clips",
    }
    parts = [(name, flat.get(key)) for key, name in shown.items()]
    said = [f"{name} {value:.2f}" for name, value in parts if isinstance(value, float)]
    return with_minus(", ".join(said))


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
