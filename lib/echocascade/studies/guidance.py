"""Choosing the scale of classifier-free guidance on validation clips, never on those reported."""

import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echocascade.data.atomic import write_text
from echocascade.evaluation.metrics import AGREEMENT_SCORES, agreement
from echocascade.params import ParamsError
from echocascade.rng import derive_seed
from echocascade.studies.protocol import (
    Progress,
    Trained,
    requested_lvef,
    task_clips,
    weights_digest,
)

Row = dict[Hashable, Any]
AS_GOOD = 0.01  # a difference of R2 far below what so few clips can tell apart


def agreement_of_read(requested: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """`metrics.agreement` of the samples that were read; all NaN where fewer than two were.

    requested, measured: (N,) in percent, NaN in `measured` where a judge could not read.
    """
    read = np.isfinite(measured)
    if read.sum() < 2:
        return dict.fromkeys(AGREEMENT_SCORES, float("nan"))
    return agreement(requested[read], measured[read])


def choose_guidance(trained: Trained, path: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Agreement on VAL clips, one draw a clip, for every candidate scale; the same noise for all.

    The table is kept in `path` from its first row on: what is there of the same weights and
    settings is not made again, so a choice that was cut off goes on, and a finished one is read.
    A params file that gives a number as scale gets one row.

    Columns: scale, n_clips, R2, MAE, RMSE, r, slope, bias, seconds_per_clip (of sampling alone),
    made_by (a digest of weights and settings), chosen: see `best_scale`; none is chosen before
    all are measured.
    """
    guidance = trained.params.cascade.guidance
    scales = guidance.candidates if guidance.scale == "auto" else (float(guidance.scale),)
    made_by = _made_by(trained)
    rows = _kept_rows(path, made_by)
    clips = task_clips(trained, "VAL", guidance.clips, draws=1)
    requested = requested_lvef(trained.params, clips, "generation", "VAL")
    seeds = [derive_seed(trained.params.seed, f"guidance {name}") for name in clips.file_name]
    for i, scale in enumerate(scales):
        if scale not in rows:
            start = time.perf_counter()
            videos = trained.generate(clips.frames[:, 0], requested, seeds, scale, clips.index)[-1]
            seconds = (time.perf_counter() - start) / len(requested)
            scores = agreement_of_read(requested, trained.read_lvef(videos))
            row: Row = {"scale": float(scale), "n_clips": len(requested)}
            row.update(scores, seconds_per_clip=seconds, made_by=made_by)
            rows[scale] = row
            _keep(path, pd.DataFrame(list(rows.values())).assign(chosen=False))
        if progress is not None:
            progress(i + 1, len(scales), f"scale {scale:g}")
    table = pd.DataFrame([rows[scale] for scale in scales])
    table = table.assign(chosen=table["scale"] == best_scale(table))
    _keep(path, table)
    return table


def _made_by(trained: Trained) -> str:
    """What decides a row besides its scale: the weights, the clips, their noises, the samplers."""
    settings = trained.params.digest(
        *("seed", "data", "conditioning", "cascade.stages", "evaluation.lvef_percent"),
        *(f"cascade.guidance.{key}" for key in ("clips", "apply_to", "sigma_interval")),
        "evaluation.views",
    )
    return f"{weights_digest(trained)[:16]}-{settings}"


def _kept_rows(path: Path, made_by: str) -> dict[float, Row]:
    """The rows of a table that this cascade made before, by scale; none of another's."""
    if not path.is_file():
        return {}
    table = pd.read_csv(path)
    if "made_by" not in table:
        return {}
    own = table[table["made_by"] == made_by].drop(columns="chosen")
    return {float(row["scale"]): row for row in own.to_dict("records")}


def _keep(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, table.to_csv(index=False))


def best_scale(table: pd.DataFrame) -> float:
    """Of the scales whose R2 is within `AS_GOOD` of the highest, the one nearest to no guidance, 1.

    More guidance than R2 asks for makes hearts exaggerate and pictures garish. Where no scale has
    an R2 (fewer than two clips), the one nearest to 1 of all.
    """
    good = table[table["R2"] >= table["R2"].max() - AS_GOOD]
    among = (good if len(good) else table)["scale"]
    return float(min(among, key=lambda scale: abs(scale - 1)))


def chosen_scale(path: Path) -> float:
    """The scale that a saved table of `choose_guidance` marks as chosen.

    Raises:
        ParamsError: there is no such table, or it does not mark exactly one scale.
    """
    return float(chosen_row(path)["scale"])


def chosen_row(path: Path) -> pd.Series:
    """The row that a saved table of `choose_guidance` marks as chosen.

    Raises:
        ParamsError: as `chosen_scale`.
    """
    how = "`echocascade guidance RUN` chooses it, and so does notebook 06"
    if not path.is_file():
        raise ParamsError(f"{path}: no guidance table; {how}")
    table = pd.read_csv(path)
    chosen = table[table["chosen"]]
    if len(chosen) != 1:
        raise ParamsError(f"{path}: {len(chosen)} scales are marked as chosen, not 1; {how}")
    return chosen.iloc[0]
