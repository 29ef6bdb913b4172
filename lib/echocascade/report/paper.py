"""The paper's Tables 1 and 2, and this run's numbers in the same columns (FACTS Sec. 4).

Numbers of different data stand side by side here, so every row says what it stands on.
"""

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from echocascade.evaluation.counterfactual import JUDGES
from echocascade.params import Params

CITATION = (
    "Reynaud et al., Feature-Conditioned Cascaded Video Diffusion Models for Precise"
    " Echocardiogram Synthesis, MICCAI 2023"
)
BASIS = "EchoNet-Dynamic, 1288 VAL clips, best of 3 draws by the regressor"
DARTAGNAN_BASIS = "EchoNet-Dynamic, as quoted by the paper; conditioned on a video"
RULE_NAMES = {"single": "every draw", "paper": "best draw per score, as published"}
COLUMNS = ("R2", "MAE", "RMSE", "SSIM", "LPIPS", "FID", "FVD")


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's Tables: MAE and RMSE in points of LVEF, time in seconds a video."""

    model: str
    task: str
    pixels: int
    frames: int
    seconds: float
    R2: float
    MAE: float
    RMSE: float
    SSIM: float
    LPIPS: float | None = None
    FID: float | None = None
    FVD: float | None = None
    basis: str = BASIS


TABLE_1 = (
    PaperRow("1SCM", "generation", 112, 16, 62, 0.64, 9.65, 12.2, 0.53, 0.21, 12.3, 60.5),
    PaperRow("2SCM", "generation", 112, 64, 146, 0.89, 4.81, 6.69, 0.53, 0.24, 31.7, 141),
    PaperRow("4SCM", "generation", 112, 64, 279, 0.93, 3.77, 5.26, 0.48, 0.25, 24.6, 230),
    PaperRow("1SCM", "reconstruction", 112, 16, 62, 0.76, 4.51, 6.07, 0.53, 0.21, 13.6, 89.7),
    PaperRow("2SCM", "reconstruction", 112, 64, 146, 0.93, 2.22, 3.35, 0.54, 0.24, 31.4, 147),
    PaperRow("4SCM", "reconstruction", 112, 64, 279, 0.90, 2.42, 3.87, 0.48, 0.25, 24.0, 228),
)
DARTAGNAN = (
    PaperRow(
        "Dartagnan", "generation", 112, 64, 1, 0.51, 15.7, 18.4, 0.79, basis=DARTAGNAN_BASIS
    ),
    PaperRow(
        "Dartagnan", "reconstruction", 112, 64, 1, 0.87, 2.79, 4.45, 0.82, basis=DARTAGNAN_BASIS
    ),
)  # fmt: skip
TABLE_2 = tuple(
    row
    for task in ("generation", "reconstruction")
    for row in (*DARTAGNAN, *TABLE_1)
    if row.task == task and row.model in ("Dartagnan", "2SCM")
)


def run_rows(results: Mapping[str, object], params: Params) -> list[dict[str, object]]:
    """This run's rows from its flat results (`results.json`): both tasks, judges and rules.

    A row that the run has no result for is left out; LPIPS, FID and FVD appear only where they
    were computed.
    """
    last = params.cascade.stages[-1]
    data = "phantom" if params.is_phantom else "real clips"
    rows: list[dict[str, object]] = []
    for task in ("generation", "reconstruction"):
        for judge in JUDGES:
            for rule, rule_name in RULE_NAMES.items():
                key = f"counterfactual.{task}.{judge}"
                if results.get(f"{key}.{rule}.R2") is None:
                    continue
                n, draws = results.get(f"{key}.n_patients"), results.get(f"{key}.n_draws")
                basis = f"{data}, {n} {params.evaluation.split} clips, {draws} draws, {rule_name}"
                row = {
                    "model": f"this run, by {judge}", "task": task, "pixels": last.size,
                    "frames": last.n_frames, "seconds": results.get("sampling.seconds_per_clip"),
                }  # fmt: skip
                row |= {name: results.get(f"{key}.{rule}.{name}") for name in COLUMNS}
                rows.append({**row, "basis": basis})
    return rows


def beside_paper(
    results: Mapping[str, object], params: Params, table: tuple[PaperRow, ...] = TABLE_1
) -> pd.DataFrame:
    """The paper's rows, then this run's, task by task."""
    ours = run_rows(results, params)
    rows = []
    for task in ("generation", "reconstruction"):
        rows += [asdict(row) for row in table if row.task == task]
        rows += [row for row in ours if row["task"] == task]
    frame = pd.DataFrame(rows)
    numbers = frame.columns.difference(["model", "task", "basis"])
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce")
    frame = frame.round({"R2": 2, "SSIM": 2, "LPIPS": 2})
    frame = frame.rename(columns={"basis": "stands on", "seconds": "s per video"})
    return frame.dropna(axis="columns", how="all")


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
                f'<{tag} style="text-align:{"right" if right else "left"}">{_text(value)}</{tag}>'
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


def _text(value: object) -> str:
    """A cell as escaped HTML text."""
    if value is None or value != value:  # NaN
        return "–"
    if isinstance(value, float):
        precise = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return precise.replace("-", "−")
    if isinstance(value, bool):
        return "yes" if value else ""
    return html.escape(str(value))
