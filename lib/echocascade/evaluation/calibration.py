"""How far the judge can be trusted on the clips that it judges: LVEF bands, frame rates, averaging.

All of it is measured on real clips with labels that it was not trained on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from echocascade.evaluation.frame_rate import at_rate
from echocascade.evaluation.lvef import LVEFRegressor, predict_lvef
from echocascade.evaluation.metrics import (
    Array,
    agreement,
    bootstrap_interval,
    percentile_interval,
    resample_counts,
)

BANDS = (0.0, 30.0, 40.0, 50.0, 60.0, 70.0, 100.0)  # LVEF in percent
# Shifts in pixels (down, right) of the views that test-time averaging adds, in this order.
SHIFTS = ((0, 0), (-1, -1), (1, 1), (-1, 1), (1, -1), (0, 2), (0, -2), (2, 0), (-2, 0))
Reader = Callable[[Iterable[Tensor]], NDArray[np.float64]]


def residual_bands(
    lvef_percent: ArrayLike, read: ArrayLike, *, bands: Sequence[float] = BANDS,
    level: float = 0.95, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Reading minus label by band of the label, a row a band that has clips.

    Columns: band, n, bias with its bootstrap interval (low, high; NaN for one clip), sd, MAE, all
    in points. A judge that pulls towards the mean has a positive bias below and a negative above.
    """
    label, answer = np.asarray(lvef_percent, np.float64), np.asarray(read, np.float64)
    rows = []
    for lowest, highest in pairwise(bands):
        last = highest == bands[-1]
        inside = (label >= lowest) & ((label <= highest) if last else (label < highest))
        residual = (answer - label)[inside & np.isfinite(answer)]
        if not len(residual):
            continue
        low = high = float("nan")
        if len(residual) > 1:
            counts = resample_counts(len(residual), 2000, seed)
            interval = percentile_interval(counts @ residual / len(residual), level)
            low, high = interval.low, interval.high
        rows.append(
            {"band": f"{lowest:g} to {highest:g} %", "n": len(residual),
             "bias": residual.mean(), "low": low, "high": high,
             "sd": residual.std(ddof=1) if len(residual) > 1 else float("nan"),
             "MAE": np.abs(residual).mean()}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["band", "n", "bias", "low", "high", "sd", "MAE"])


def frame_rate_table(
    clips: Sequence[Tensor], fps: float, lvef_percent: ArrayLike, rates: Sequence[float],
    read: Reader, *, level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """The judge's agreement with the labels of real clips (C, T, H, W) seen at other frame rates.

    read: from clips at `fps` to readings in percent. Columns: fps, n, and R2, MAE, bias, slope,
    each with `* low` and `* high`. A rate far below the judge's own is out of its distribution:
    what it says of generated clips at that rate is worth no more than this row.
    """
    rows = []
    for rate in rates:
        found = read(at_rate(clip[None], fps, rate)[0] for clip in clips)
        rows.append({"fps": rate, "n": len(found)} | _scores(lvef_percent, found, level))
    return pd.DataFrame(rows)


def averaging_table(
    clips: Sequence[Tensor], lvef_percent: ArrayLike, readers: Mapping[int, Reader],
    *, level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """The judge's agreement with the labels by the number of views that a reading is the mean of.

    readers: number of views -> reader as in `frame_rate_table`. Columns: views, n, and its scores.
    """
    rows = []
    for views, read in readers.items():
        found = read(clips)
        rows.append({"views": views, "n": len(found)} | _scores(lvef_percent, found, level))
    return pd.DataFrame(rows)


def _scores(lvef_percent: ArrayLike, read: Array, level: float) -> dict[str, float]:
    if len(read) < 2:
        return {}
    found = agreement(lvef_percent, read)
    intervals = bootstrap_interval(lvef_percent, read, level=level)
    row: dict[str, float] = {}
    for name in ("R2", "MAE", "bias", "slope"):
        ends = {f"{name} low": intervals[name].low, f"{name} high": intervals[name].high}
        row |= {name: found[name]} | ends
    return row


@dataclass(frozen=True)
class AveragedReading:
    """The judge's reading as the mean over slightly moved views of a clip (test-time averaging).

    views: how many, 1 is the clip as it is; see SHIFTS. The border that a shift uncovers is black,
    as in the judge's training.
    """

    model: LVEFRegressor
    views: int = 1
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.views <= len(SHIFTS):
            raise ValueError(f"views is {self.views}, allowed are 1 to {len(SHIFTS)}")

    def __call__(self, videos: Iterable[Tensor]) -> NDArray[np.float64]:
        """LVEF in percent (N,) of clips (C, T, H, W) in [-1, 1] as the model takes them."""
        views = (moved(clip, shift) for clip in videos for shift in SHIFTS[: self.views])
        read = predict_lvef(self.model, views, self.batch_size)
        return read.reshape(-1, self.views).mean(axis=1)


def moved(clip: Tensor, shift: tuple[int, int]) -> Tensor:
    """A clip (C, T, H, W) moved by whole pixels down and right; black comes in at the border."""
    down, right = shift
    if not (down or right):
        return clip
    height, width = clip.shape[-2:]
    result = torch.full_like(clip, -1.0)
    result[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = clip[
        ..., max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return result
