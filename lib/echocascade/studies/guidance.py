"""Choosing the scale of classifier-free guidance on validation clips, never on those reported."""

from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.evaluation.metrics import AGREEMENT_SCORES, agreement
from echocascade.params import ParamsError
from echocascade.rng import derive_seed
from echocascade.studies.protocol import Progress, Trained, requested_lvef, task_clips

AS_GOOD = 0.01  # a difference of R2 far below what so few clips can tell apart


def agreement_of_read(requested: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """`metrics.agreement` of the samples that were read; all NaN where fewer than two were.

    requested, measured: (N,) in percent, NaN in `measured` where a judge could not read.
    """
    read = np.isfinite(measured)
    if read.sum() < 2:
        return dict.fromkeys(AGREEMENT_SCORES, float("nan"))
    return agreement(requested[read], measured[read])


def choose_guidance(trained: Trained, progress: Progress | None = None) -> pd.DataFrame:
    """Agreement on VAL clips, one draw a clip, for every candidate scale; the same noise for all.

    Columns: scale, n_clips, R2, MAE, RMSE, r, slope, bias, chosen: see `best_scale`.
    A params file that gives a number as scale gets one row.
    """
    guidance = trained.params.cascade.guidance
    scales = guidance.candidates if guidance.scale == "auto" else (float(guidance.scale),)
    clips = task_clips(trained, "VAL", guidance.clips, draws=1)
    requested = requested_lvef(trained.params, clips, "generation", "VAL")
    seeds = [derive_seed(trained.params.seed, f"guidance {name}") for name in clips.file_name]
    rows = []
    for i, scale in enumerate(scales):
        videos = trained.generate(clips.frames[:, 0], requested, seeds, scale, clips.index)[-1]
        scores = agreement_of_read(requested, trained.read_lvef(videos))
        rows.append({"scale": float(scale), "n_clips": len(requested), **scores})
        if progress is not None:
            progress(i + 1, len(scales), f"scale {scale:g}")
    table = pd.DataFrame(rows)
    return table.assign(chosen=table["scale"] == best_scale(table))


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
    if not path.is_file():
        raise ParamsError(f"{path}: no guidance table; run notebook 06 of this run first")
    table = pd.read_csv(path)
    chosen = table.loc[table["chosen"], "scale"]
    if len(chosen) != 1:
        raise ParamsError(f"{path}: {len(chosen)} scales are marked as chosen, expected 1")
    return float(chosen.iloc[0])
