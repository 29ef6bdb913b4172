"""How generated clips differ from real ones, by measures that need no downloaded network.

Flicker over time, and distances in the LVEF regressor's features, which carry their own names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from echocascade.evaluation.distance import (
    Measured,
    frechet_distance,
    kernel_distance,
    with_interval,
)
from echocascade.evaluation.lvef import LVEFRegressor, mean_over_windows
from echocascade.evaluation.metrics import Interval, percentile_interval, resample_counts
from echocascade.runtime import Precision

Array = NDArray[np.float64]


def frame_difference(videos: Tensor) -> Array:
    """Mean absolute change between neighbouring frames, (B, C, T, H, W) -> (B,), T >= 2."""
    return _mean_absolute_difference(videos, order=1)


def flicker(videos: Tensor) -> Array:
    """Mean absolute second difference in time, (B, C, T, H, W) -> (B,), T >= 3.

    Zero for steady motion of an intensity and largest for one that alternates between frames.
    """
    return _mean_absolute_difference(videos, order=2)


def _mean_absolute_difference(videos: Tensor, order: int) -> Array:
    if videos.ndim != 5 or videos.shape[2] <= order:
        raise ValueError(
            f"clips (B, C, T, H, W) of more than {order} frames are needed, "
            f"found {tuple(videos.shape)}"
        )
    change = torch.diff(videos.float(), n=order, dim=2).abs()
    return reduce(change, "b c t h w -> b", "mean").double().cpu().numpy()


@dataclass(frozen=True)
class Ratio:
    """Mean over generated clips divided by mean over real clips; 1 is as real."""

    value: float
    interval: Interval


def ratio_to_real(
    generated: ArrayLike, real: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Ratio:
    """Ratio of two means of a per-clip measure, with a percentile bootstrap interval over clips.

    Args:
        generated: (N,) e.g. `frame_difference` of generated clips.
        real: (M,) the same of real clips at the same size and frame rate.
    """
    values = [np.asarray(generated, np.float64), np.asarray(real, np.float64)]
    for name, measure in zip(("generated", "real"), values, strict=True):
        if measure.ndim != 1 or len(measure) < 2 or not np.isfinite(measure).all():
            raise ValueError(
                f"{name} must be at least 2 finite values, found shape {measure.shape}: {measure}"
            )
    if values[1].mean() == 0:
        raise ValueError("the real clips do not change at all, a ratio to them is undefined")
    means = [resample_counts(len(v), 2000, seed + i) @ v / len(v) for i, v in enumerate(values)]
    return Ratio(
        float(values[0].mean() / values[1].mean()),
        percentile_interval(means[0] / means[1], level),
    )


def regressor_features(
    model: LVEFRegressor,
    videos: Iterable[Tensor],
    batch_size: int = 16,
    *,
    precision: Precision = "fp32",
) -> NDArray[np.float64]:
    """Penultimate features of whole clips, as `predict_lvef` reads them: (N, F)."""
    return mean_over_windows(model, model.features, videos, batch_size, precision)


def lvef_feature_distances(
    generated: tuple[Array, Sequence[object]],
    real: tuple[Array, Sequence[object]],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Measured]:
    """ "frechet" and "kernel" distance of two sets of clips in the regressor's features.

    Neither FID nor FVD nor KID; they depend on the regressor: compare only what one of them gave.

    Args:
        generated, real: `regressor_features` (N, F) and the patient of each row.
    """
    frechet, kernel = (
        with_interval(distance, generated, real, level=level, seed=seed)
        for distance in (frechet_distance, kernel_distance)
    )
    return {"frechet": frechet.within(0), "kernel": kernel}
