"""Controls beside a score: the base enlarged without a network, and how generated pictures look.

A cascade can follow the LVEF and still have no texture, or have texture that flickers; the measures
here see what R2 does not. They are ratios to real clips of the same patients, 1 is as real.
"""

import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import Tensor, nn

from echocascade.data.video import enlarge, to_model, to_uint8
from echocascade.evaluation.echo_distance import flicker, frame_difference, ratio_to_real
from echocascade.params import Params

MEASURES = {
    "texture": "texture energy",
    "frame_difference": "frame-to-frame change",
    "flicker": "temporal flicker",
}
MAKERS = {"": "generated", "_linear": "base enlarged linearly"}  # column suffix -> who made it
BLUR = 3  # pixels: detail finer than this is what enlarging cannot invent


def linear_baseline(params: Params, base: np.ndarray) -> np.ndarray:
    """The first stage's uint8 videos enlarged linearly to the last stage: no super-resolution.

    base: (N, T, H, W, C); returns (N, T', H', W', C) at the last stage's frames and pixels.
    """
    last = params.cascade.stages[-1]
    return to_uint8(enlarge(to_model(base), last.size, last.n_frames))


def texture(videos: Tensor) -> NDArray[np.float64]:
    """Standard deviation of what a 3 x 3 mean removes: (B, C, T, H, W) in [-1, 1] -> (B,)."""
    frames = rearrange(videos.float(), "b c t h w -> (b t) c h w")
    padded = nn.functional.pad(frames, [BLUR // 2] * 4, mode="replicate")
    detail = frames - nn.functional.avg_pool2d(padded, BLUR, stride=1)
    energy = reduce(detail**2, "(b t) c h w -> b", "mean", b=len(videos))
    return torch.sqrt(energy).double().cpu().numpy()


def picture_columns(
    generated: np.ndarray, linear: np.ndarray, real: np.ndarray
) -> dict[str, NDArray[np.float64]]:
    """Every one of MEASURES of uint8 clips (N, T, H, W, C), a column each."""
    columns = {}
    for suffix, videos in {"": generated, "_linear": linear, "_real": real}.items():
        video = to_model(videos)
        columns[f"texture{suffix}"] = texture(video)
        columns[f"frame_difference{suffix}"] = frame_difference(video)
        columns[f"flicker{suffix}"] = flicker(video)
    return columns


def picture_ratios(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Generated over real for every measure, with bootstrap intervals over clips.

    `table` has the columns of `picture_columns`. Returns measure, maker, ratio, low, high; NaN
    where there are fewer than two clips or the real clips are flat.
    """
    rows = []
    for measure, name in MEASURES.items():
        real = table.drop_duplicates("FileName")[f"{measure}_real"].to_numpy(float)
        for suffix, maker in MAKERS.items():
            made = table[measure + suffix].to_numpy(float)
            row = {"measure": name, "maker": maker, "ratio": np.nan, "low": np.nan, "high": np.nan}
            if len(real) >= 2 and real.mean() > 0:
                ratio = ratio_to_real(made, real, level=level)
                row |= {
                    "ratio": ratio.value, "low": ratio.interval.low, "high": ratio.interval.high
                }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


def picture_results(ratios: pd.DataFrame) -> dict[str, object]:
    """`picture_ratios` as the run records it: "<measure>_<maker>" and its interval."""
    results: dict[str, object] = {}
    for row in ratios.to_dict("records"):
        name = f"{row['measure']} {row['maker']}".replace(" ", "_")
        results |= {name: row["ratio"], f"{name}_interval": [row["low"], row["high"]]}
    return results
