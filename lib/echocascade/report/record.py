"""Recording a finished run: numbers and a picture that git keeps, and README's table of them."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from echocascade.data.video import frame_strip
from echocascade.params import load_params
from echocascade.report.files import read_json, write_text
from echocascade.report.runs import RunError
from echocascade.studies.protocol import Trained, read_samples, task_clips

FILES = ("results.json", "provenance.json", "params.yaml")
BEGIN, END = "<!-- numbers of the recorded run: begin -->", "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """A line of README's table: what it is, the key of its number, decimals."""

    label: str
    key: str
    decimals: int = 2

    def text(self, results: Mapping[str, object]) -> str:
        value = results.get(self.key)
        if not isinstance(value, int | float):
            return f"| {self.label} | not computed | |"
        bounds = results.get(f"{self.key}_interval")
        interval = ""
        if isinstance(bounds, list) and None not in bounds:
            interval = f"{bounds[0]:.{self.decimals}f} to {bounds[1]:.{self.decimals}f}"
        return f"| {self.label} | {value:.{self.decimals}f} | {interval} |"


def _scores(task: str, judge: str, what: str) -> list[Row]:
    key = f"counterfactual.{task}.{judge}.single"
    return [
        Row(f"{what}: R2", f"{key}.R2"),
        Row(f"{what}: MAE, points", f"{key}.MAE", 1),
        Row(f"{what}: slope", f"{key}.slope"),
        Row(f"{what}: r", f"{key}.r"),
    ]


_GENERATION = "counterfactual.generation"

ROWS = [
    *_scores("generation", "regressor", "counterfactual, by the regressor"),
    *_scores("generation", "stick", "counterfactual, by segmentation"),
    *_scores("reconstruction", "regressor", "factual, by the regressor"),
    Row("requests permuted across patients: R2", f"{_GENERATION}.regressor.null.single.R2"),
    Row("without super-resolution (enlarged linearly): R2", f"{_GENERATION}.linear.single.R2"),
    Row("the regressor on held-out real phantoms: R2", "regressor.test.R2"),
    Row("guidance scale, chosen on VAL", "sampling.guidance.scale"),
    Row("seconds a clip", "sampling.seconds_per_clip"),
]


def readme_table(results: Mapping[str, object]) -> str:
    """README's table of numbers, Markdown, from a run's results."""
    lines = ["| | value | 95 % interval |", "|---|---|---|"]
    return "\n".join([*lines, *(row.text(results) for row in ROWS)])


def record_run(run: Path, root: Path) -> Path:
    """Copy a finished run's numbers and picture to outputs/recorded/<run> and into README.

    Raises:
        RunError: the run has not finished.
    """
    results = run / "results.json"
    if not (run / "report" / "index.html").is_file():
        raise RunError(f"{run.name}: not finished, there is no report to record")
    target = root / "outputs" / "recorded" / run.name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / name, target / name)
    cv2.imwrite(str(target / "clips.png"), picture(run, root))
    readme = root / "README.md"
    block = f"{BEGIN}\n{readme_table(read_json(results))}\n{END}"
    text = readme.read_text(encoding="utf-8")
    write_text(readme, re.sub(f"{BEGIN}.*?{END}", lambda _: block, text, flags=re.DOTALL))
    return target


def picture(run: Path, root: Path) -> np.ndarray:
    """`contact_sheet` of a finished run."""
    params = load_params(run / "params.yaml")
    trained = Trained.load(params, run / "checkpoints", root / "data")
    table = pd.read_csv(run / "tables" / "scores.csv")
    return contact_sheet(trained, table, run / "samples" / "evaluation")


def contact_sheet(
    trained: Trained, table: pd.DataFrame, samples: Path, patients: int = 4, columns: int = 8
) -> np.ndarray:
    """Real clips and what the same patients' frames became at low and high LVEF: (H, W, 3) BGR.

    A row is a clip over one second; the first picture of a generated row is its conditioning frame.
    table: of `judge_task`, whose samples lie in the folder `samples`.
    """
    e = trained.params.evaluation
    table = table[(table["task"] == "generation") & (table["draw"] == 0)].reset_index(drop=True)
    clips = task_clips(trained, e.split, e.clips, e.draws)
    order = table["lvef_requested"].argsort().tolist()
    patients = min(patients, len(order))
    chosen = [*order[: patients // 2], *order[len(order) - (patients - patients // 2) :]]
    generated = read_samples(table, samples)
    step = max(1, trained.last.fps // columns)
    rows = []
    for place in chosen:
        real, fake = clips.video[place], generated[place]
        shown = [clips.frames[place, :1], fake[: columns * step : step]]
        rows.append(frame_strip(np.concatenate(shown), columns + 1))
        rows.append(
            frame_strip(np.concatenate([real[:1] * 0, real[: columns * step : step]]), columns + 1)
        )
    sheet = np.concatenate(rows)
    return cv2.resize(sheet, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)[..., ::-1]
