"""What was published: the paper's Tables 1 and 2, and what its released scores say beside them.

The authors released the per-sample scores behind the two 1SCM rows (1288 VAL clips, three draws
each). A single draw, and the same rule on shuffled answers, can be had from them and from nothing
else; the constants below are those, and `released_rows` computes them anew where the files are.
"""

from dataclasses import dataclass
from pathlib import Path

from echocascade.evaluation.counterfactual import score_table
from echocascade.evaluation.score_table import read_score_table

CITATION = (
    "Reynaud et al., Feature-Conditioned Cascaded Video Diffusion Models for Precise"
    " Echocardiogram Synthesis, MICCAI 2023"
)
BASIS = "EchoNet-Dynamic VAL, as printed"
RELEASED_BASIS = "EchoNet-Dynamic VAL, the authors' released scores"
DARTAGNAN_BASIS = "EchoNet-Dynamic, as quoted by the paper, told a video"
# Names of the authors' files, as they published them.
RELEASED_FILES = {"generation": "counterfactual.csv", "reconstruction": "factual.csv"}


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's Tables: MAE and RMSE in points of LVEF, time in seconds a video.

    rule: see `evaluation.rules`; chance: R2 of the same rule on shuffled answers; ceiling: R2 of
    the judge's reading of the real clips by the same rule. None where it was not published.
    """

    model: str
    task: str
    pixels: int
    frames: int
    seconds: float | None
    R2: float
    MAE: float | None = None
    RMSE: float | None = None
    SSIM: float | None = None
    LPIPS: float | None = None
    FID: float | None = None
    FVD: float | None = None
    basis: str = BASIS
    rule: str = "paper"
    N: int | None = 1288
    chance: float | None = None
    ceiling: float | None = None


TABLE_1 = (
    PaperRow("1SCM", "generation", 112, 16, 62, 0.64, 9.65, 12.2, 0.53, 0.21, 12.3, 60.5),
    PaperRow("2SCM", "generation", 112, 64, 146, 0.89, 4.81, 6.69, 0.53, 0.24, 31.7, 141),
    PaperRow("4SCM", "generation", 112, 64, 279, 0.93, 3.77, 5.26, 0.48, 0.25, 24.6, 230),
    PaperRow("1SCM", "reconstruction", 112, 16, 62, 0.76, 4.51, 6.07, 0.53, 0.21, 13.6, 89.7),
    PaperRow("2SCM", "reconstruction", 112, 64, 146, 0.93, 2.22, 3.35, 0.54, 0.24, 31.4, 147),
    PaperRow("4SCM", "reconstruction", 112, 64, 279, 0.90, 2.42, 3.87, 0.48, 0.25, 24.0, 228),
)
DARTAGNAN = tuple(
    PaperRow("Dartagnan", task, 112, 64, 1, *scores, basis=DARTAGNAN_BASIS, rule="single", N=None)
    for task, scores in (
        ("generation", (0.51, 15.7, 18.4, 0.79)),
        ("reconstruction", (0.87, 2.79, 4.45, 0.82)),
    )
)
TABLE_2 = tuple(
    row
    for task in ("generation", "reconstruction")
    for row in (*DARTAGNAN, *TABLE_1)
    if row.task == task and row.model in ("Dartagnan", "2SCM")
)
RELEASED = (
    PaperRow(
        "1SCM", "generation", 112, 16, None, 0.64, 9.65, 12.2, 0.53, 0.21,
        basis=RELEASED_BASIS, chance=0.44,
    ),
    PaperRow(
        "1SCM", "generation", 112, 16, None, 0.42, basis=RELEASED_BASIS, rule="single",
    ),
    PaperRow(
        "1SCM", "reconstruction", 112, 16, None, 0.756, 4.51, 6.07, 0.529, 0.213,
        basis=RELEASED_BASIS, chance=0.433, ceiling=0.376,
    ),
    PaperRow(
        "1SCM", "reconstruction", 112, 16, None, 0.452, 7.39, 9.11, 0.509, 0.225,
        basis=RELEASED_BASIS, rule="single", chance=-0.624, ceiling=0.241,
    ),
)  # fmt: skip


def released_rows(folder: Path | None = None) -> tuple[PaperRow, ...]:
    """RELEASED, computed anew for every task whose file lies in `folder`.

    Raises:
        ScoreTableError: a file of that name is no such table.
    """
    rows = []
    for task, name in RELEASED_FILES.items():
        file = None if folder is None else folder / name
        if file is None or not file.is_file():
            rows += [row for row in RELEASED if row.task == task]
            continue
        found = score_table(read_score_table(file), task=task)
        basis = f"{RELEASED_BASIS}, computed here"
        rows += [_row(found, task, rule, basis) for rule in ("paper", "single")]
    return tuple(rows)


def _row(found: dict[str, object], task: str, rule: str, basis: str) -> PaperRow:
    def score(group: str, name: str) -> float | None:
        rules = found[group]
        value = rules.get(rule, {}).get(name) if isinstance(rules, dict) else None
        return float(value) if isinstance(value, int | float) else None

    values = {name: score("rules", name) for name in ("MAE", "RMSE", "SSIM", "LPIPS")}
    return PaperRow(
        "1SCM", task, 112, 16, None, score("rules", "R2") or float("nan"), **values,
        basis=basis, rule=rule, N=int(str(found["n_patients"])),
        chance=score("null", "R2"), ceiling=score("ceiling", "R2"),
    )  # fmt: skip
