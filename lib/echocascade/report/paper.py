"""The paper's tables and this run's numbers in the same columns (FACTS Sec. 4).

Numbers of different data stand side by side here, so every row says what it stands on, and every
score has its chance and its ceiling beside it.
"""

import html
import re
from collections.abc import Iterable, Mapping

import pandas as pd

from echocascade.evaluation.score_table import JUDGES
from echocascade.params import Params
from echocascade.report.published import (
    CITATION,
    RELEASED,
    TABLE_1,
    TABLE_2,
    PaperRow,
    released_rows,
)

__all__ = [
    "CITATION", "RELEASED", "TABLE_1", "TABLE_2", "PaperRow", "ReadableTable", "beside_paper",
    "glance_rows", "readable", "released_rows", "run_rows",
]  # fmt: skip

RULE_NAMES = {"single": "every draw", "paper": "best draw"}
TASKS = ("generation", "reconstruction")
SCORES = ("R2", "MAE", "RMSE", "SSIM", "LPIPS")
SETS = ("FID", "FVD")  # of the whole set, in the paper's own preparation of frames
COLUMNS = {
    "model": "model", "basis": "stands on", "task": "task", "rule": "rule", "N": "N", "R2": "R2",
    "interval": "interval", "chance": "R2 by chance", "ceiling": "R2 ceiling", "MAE": "MAE",
    "RMSE": "RMSE",
    "SSIM": "SSIM", "LPIPS": "LPIPS", "FID": "FID", "FVD": "FVD", "seconds": "s per video",
}  # fmt: skip
LONG = 32  # characters: a sentence, not a name
GLANCE = ("one draw", "best draw", "best draw,<br>answers shuffled", "the judge on<br>real clips")


def run_rows(results: Mapping[str, object], params: Params) -> list[dict[str, object]]:
    """This run's rows from its flat results (`results.json`): both tasks, judges and rules.

    A row that the run has no result for is left out. A score whose network is missing reads "not
    computed: file, source". FID and FVD are those of mode `paper`, as the published ones; they are
    of a task's clips, whoever judges them, and stand in its first row.
    """
    last = params.cascade.stages[-1]
    data = "phantom" if params.is_phantom else "real clips"
    clip = _clip(last.size, last.n_frames)
    rows: list[dict[str, object]] = []
    for task in TASKS:
        for judge in JUDGES:
            for rule in RULE_NAMES:
                key = f"counterfactual.{task}.{judge}"
                if results.get(f"{key}.{rule}.R2") is None:
                    continue
                draws = results.get(f"{key}.n_draws")
                row = {
                    "model": f"this run, {judge}", "task": task, "rule": RULE_NAMES[rule],
                    "N": results.get(f"{key}.n_patients"),
                    "seconds": results.get("sampling.seconds_per_clip"),
                    "basis": f"{data} {params.evaluation.split}, {clip}, {draws} draws",
                    "interval": _interval(results.get(f"{key}.{rule}.R2_interval")),
                    "chance": results.get(f"{key}.null.{rule}.R2"),
                    "ceiling": results.get(f"{key}.ceiling.{rule}.R2"),
                }  # fmt: skip
                row |= {name: results.get(f"{key}.{rule}.{name}") for name in SCORES}
                quality = f"counterfactual.{task}.quality"
                if row["LPIPS"] is None:
                    row["LPIPS"] = _in_short(results.get(f"{quality}.LPIPS"))
                if not rows or rows[-1]["task"] != task:
                    sets = {name: results.get(f"{quality}.paper.{name}") for name in SETS}
                    row |= {name: _in_short(value) for name, value in sets.items()}
                rows.append(row)
    return rows


def _in_short(value: object) -> object:
    """ "not computed: file, source" with the source's host alone; a number as it is."""
    if not isinstance(value, str):
        return value
    return re.sub(r"https?://(?:www\.)?([^/]+)\S*", r"\1", value)


def _clip(pixels: int, frames: int) -> str:
    return f"{pixels} px × {frames}"


def _interval(bounds: object) -> str:
    if not isinstance(bounds, list) or None in bounds:
        return ""
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}".replace("-", "−")


def beside_paper(
    results: Mapping[str, object],
    params: Params,
    table: tuple[PaperRow, ...] = TABLE_1,
    released: tuple[PaperRow, ...] = (),
    tasks: tuple[str, ...] = TASKS,
) -> pd.DataFrame:
    """The paper's rows, then what its released scores add, then this run's, task by task."""
    ours = run_rows(results, params)
    rows: list[dict[str, object]] = []
    for task in tasks:
        rows += [_published(row) for row in (*table, *released) if row.task == task]
        rows += [row for row in ours if row["task"] == task]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).rename(columns=COLUMNS)
    frame = frame.drop(columns="task") if len(tasks) == 1 else frame
    return frame.dropna(axis="columns", how="all")


def _published(row: PaperRow) -> dict[str, object]:
    """A row in our columns; its three digits as they were printed."""
    values = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
    basis = f"{row.basis}, {_clip(row.pixels, row.frames)}"
    return values | {"rule": RULE_NAMES[row.rule], "interval": "", "basis": basis}


def glance_rows(
    results: Mapping[str, object], params: Params, released: Iterable[PaperRow] = RELEASED
) -> pd.DataFrame:
    """What choosing among draws does to R2: columns task, who, what (GLANCE), R2, low, high.

    For the paper's 1SCM by its released scores, and for this run by each judge.
    """
    rows: list[tuple[object, ...]] = []
    for row in released:
        who = "paper, 1SCM"
        if row.rule == "single":
            rows.append((row.task, who, GLANCE[0], row.R2, None, None))
            rows.append((row.task, who, GLANCE[3], row.ceiling, None, None))
        else:
            rows.append((row.task, who, GLANCE[1], row.R2, None, None))
            rows.append((row.task, who, GLANCE[2], row.chance, None, None))
    keys = ("single", "paper", "null.paper", "ceiling.single")
    for task in TASKS:
        for judge in JUDGES:
            for what, key in zip(GLANCE, keys, strict=True):
                place = f"counterfactual.{task}.{judge}.{key}.R2"
                bounds = results.get(f"{place}_interval")
                ends = tuple(bounds) if isinstance(bounds, list) else (None, None)
                rows.append((task, f"this run, {judge}", what, results.get(place), *ends))
    frame = pd.DataFrame(rows, columns=["task", "who", "what", "R2", "low", "high"])
    return frame.dropna(subset="R2").reset_index(drop=True)


class ReadableTable:
    """A table for reading, shown by Jupyter and by the report: whole texts, no row numbers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def _repr_html_(self) -> str:
        is_number = [pd.api.types.is_numeric_dtype(kind) for kind in self.frame.dtypes]
        rows = [list(self.frame.columns), *self.frame.to_numpy(dtype=object).tolist()]
        tags = ["th"] + ["td"] * len(self.frame)
        lines = [
            "".join(
                f'<{tag} style="{_style(value, right)}">{_text(value)}</{tag}>'
                for value, right in zip(row, is_number, strict=True)
            )
            for tag, row in zip(tags, rows, strict=True)
        ]
        head, *body = [f"<tr>{line}</tr>" for line in lines]
        body_html = "".join(body)
        return f'<table class="dataframe"><thead>{head}</thead><tbody>{body_html}</tbody></table>'

    def __repr__(self) -> str:
        return self.frame.to_string(index=False)


def readable(frame: pd.DataFrame) -> ReadableTable:
    """The table with its numbers to three digits and an en dash where there is none."""
    return ReadableTable(frame)


def _style(value: object, right: bool) -> str:
    """Numbers to the right; the reason why there is none small and in several lines."""
    if isinstance(value, str) and value.startswith("not computed"):
        return (
            "text-align:left;font-size:70%;line-height:1.3;min-width:8.5em;overflow-wrap:anywhere"
        )
    if isinstance(value, str) and len(value) > LONG:
        return "text-align:left;font-size:80%;line-height:1.3;min-width:12em"
    is_number = right or (isinstance(value, int | float) and not isinstance(value, bool))
    return f"text-align:{'right' if is_number else 'left'}"


def _text(value: object) -> str:
    """A cell as escaped HTML text."""
    if value is None or value != value:  # NaN
        return "–"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        precise = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return precise.replace("-", "−")
    return html.escape(str(value))
