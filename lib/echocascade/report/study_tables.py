"""Tables of notebook 08 and of the console: what readers answered, beside the paper's row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from echocascade.report.headlines import with_minus
from echocascade.studies.expert.analysis import analyse
from echocascade.studies.expert.answer_table import load_answers, people_answered
from echocascade.studies.expert.folder import load_study

STUDY = "study"  # the folder, in a run's, of the study that people are asked in
NOBODY = (
    "Nobody has been asked yet. `make study` opens the reading room on this machine and prints one"
    " link a reader; `study/files/` in the run's folder holds the same pages as files."
)
CLASSES = ("real", "factual", "counterfactual")
COEFFICIENTS = {
    "all_agree": "all readers agree, share of clips",
    "mean_pairwise": "two readers agree, mean over pairs",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
    "gwet_ac1": "Gwet's AC1",
}
ASIDE = {
    "criterion": "criterion", "said_left": "said left", "auc": "AUC",
    "seconds_mean": "mean s", "seconds_median": "median s",
}  # fmt: skip


@dataclass(frozen=True)
class PaperStudy:
    """The expert study of the paper, shares (Reynaud23 Sec. 3; FACTS Sec. 5).

    Its text does not say whether `agreement` counts clips on which all three agree or pairs.
    """

    n_readers: int = 3
    n_answers: int = 300
    accuracy: float = 0.5433
    agreement: float = 0.50
    real: float = 0.6385
    factual: float = 0.5056
    counterfactual: float = 0.4321
    seconds_mean: float = 16.2


def people(run: Path, level: float, resamples: int) -> dict[str, object] | None:
    """What people answered in the study of a run folder; None where nobody was asked."""
    if not people_answered(run / STUDY):
        return None
    return analyse(load_answers(load_study(run / STUDY)), level, resamples)


def paper_row() -> dict[str, object]:
    """The paper's numbers as a mapping."""
    return asdict(PaperStudy())


def design_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials of a study's key: a row a role and class, a column a reader."""
    table = pd.crosstab([trials["role"], trials["kind"]], trials["reader"])
    table.columns.name = None
    return table.reset_index().rename(columns={"kind": "class"})


def score_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Right answers in percent, with intervals: a row a reader, all together, and the paper.

    `found`: what `studies.expert.analysis.analyse` returns.
    """
    rows = [_row(name, scores, "interval") for name, scores in found["readers"].items()]
    rows.append(_row("all", found["pooled"], "cluster_interval"))
    paper = PaperStudy()
    last = {
        "": "the paper",
        "answers": paper.n_answers,
        "accuracy, %": f"{100 * paper.accuracy:.2f}",
    }
    last |= {f"{kind}, %": f"{100 * getattr(paper, kind):.2f}" for kind in CLASSES}
    return pd.DataFrame([*rows, last])


def _row(name: str, scores: Mapping[str, Any], kind: str) -> dict[str, object]:
    row: dict[str, object] = {"": name, "answers": scores["n"]}
    for score in ("accuracy", "balanced_accuracy"):
        if score in scores:
            row[f"{score.replace('_', ' ')}, %"] = percent(scores[score], scores[f"{score}_{kind}"])
    for kind_of_clip in CLASSES:
        if kind_of_clip in scores:
            own = scores[kind_of_clip]
            interval = scores.get(f"{kind_of_clip}_accuracy_{kind}", own["accuracy_interval"])
            row[f"{kind_of_clip}, %"] = percent(own["accuracy"], interval)
    return row


def skill_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Sensitivity, specificity, d', criterion and seconds: a row a reader, all, and the paper."""
    makers = [(name, scores, "interval") for name, scores in found["readers"].items()]
    rows = []
    for name, scores, kind in [*makers, ("all", found["pooled"], "cluster_interval")]:
        row: dict[str, object] = {"": name}
        for score in ("sensitivity", "specificity"):
            if score in scores:
                row[f"{score}, %"] = percent(scores[score], scores[f"{score}_{kind}"])
        d_prime = scores.get(f"d_prime_{kind}", scores["d_prime_interval"])
        row["d'"] = _with_interval(scores["d_prime"], d_prime)
        row |= {name: scores[key] for key, name in ASIDE.items() if key in scores}
        rows.append(row)
    return pd.DataFrame([*rows, {"": "the paper", "mean s": PaperStudy().seconds_mean}])


def agreement_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Raw agreement in both meanings, the coefficients, and repeats, each with its interval."""
    agreement, repeats = found["agreement"], found["repeats"]
    chance = {name: agreement.get(f"{name}_by_chance") for name in COEFFICIENTS}
    rows = [
        {
            "what": label, "value": agreement[name],
            "interval": _ends(agreement[f"{name}_interval"]), "by chance": chance[name],
            "clips": agreement["n_clips"],
        }
        for name, label in COEFFICIENTS.items()
    ]  # fmt: skip
    same = {"what": "same answer to the same clip, one reader", "value": repeats["same"]}
    same |= {"interval": _ends(repeats["same_interval"]), "clips": repeats["n"]}
    return pd.DataFrame([*rows, same]).astype({"by chance": float})


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """The results as lines of text for the console."""
    lines = []
    skills = skill_table(found).drop(columns="").to_dict("records")
    for row, more in zip(score_table(found).to_dict("records"), skills, strict=True):
        shown = [
            f"{name} {_cell(value)}" for name, value in {**row, **more}.items()
            if name and value is not None and value == value
        ]  # fmt: skip
        lines.append(f"{row['']}: {'; '.join(shown)}".replace("\u00a0", " "))
    for row in agreement_table(found).to_dict("records"):
        chance = row["by chance"]
        aside = f" (by chance {_cell(chance)})" if chance == chance else ""
        lines.append(f"{row['what']}: {_cell(row['value'])}, {row['interval']}{aside}")
    return lines


def percent(value: float, interval: object = ()) -> str:
    """ "54.3 (49 to 60)" for a share, an en dash where there is none; it does not break."""
    if value != value:
        return "–"
    ends = [100 * float(end) for end in interval] if isinstance(interval, (list, tuple)) else []
    known = len(ends) == 2 and all(end == end for end in ends)
    if not known:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({ends[0]:.0f} to {ends[1]:.0f})".replace(" ", "\u00a0")


def _with_interval(value: float, interval: object) -> str:
    if value != value:
        return "–"
    text = with_minus(f"{value:.2f}") + f" ({_ends(interval)})"
    return text.replace(" ", "\u00a0")


def _ends(interval: object) -> str:
    ends = list(interval) if isinstance(interval, (list, tuple)) else []
    if len(ends) != 2 or any(end != end for end in ends):
        return "–"
    return with_minus(f"{ends[0]:.2f} to {ends[1]:.2f}")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else with_minus(f"{value:.2f}")
    return str(value)
