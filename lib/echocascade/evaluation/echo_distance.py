"""How generated clips differ from real ones, by measures that need no downloaded network.

SSIM as published; flicker over time; and a Fréchet distance in the LVEF regressor's features,
which carries its own name because it is neither FID nor FVD.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from echocascade.evaluation.lvef import LVEFRegressor, mean_over_windows
from echocascade.evaluation.metrics import Interval, percentile_interval, resample_counts
from echocascade.runtime import Precision

Array = NDArray[np.float64]

SSIM_WINDOW = 11  # pixels: the Gaussian window of sigma 1.5 that torchmetrics builds
LPIPS_SOURCE = "vgg16-397923af.pth, https://download.pytorch.org/models/vgg16-397923af.pth"


def ssim(generated: Tensor, real: Tensor) -> Array:
    """Structural similarity per clip: per frame on intensities in [0, 1], averaged over frames.

    Args:
        generated, real: (B, C, T, H, W) in [-1, 1], H and W at least 11 pixels.
    Returns:
        (B,) in [-1, 1], 1 for identical clips.
    """
    if generated.shape != real.shape or generated.ndim != 5:
        raise ValueError(
            "SSIM needs two clips (B, C, T, H, W) of one shape, found "
            f"{tuple(generated.shape)} and {tuple(real.shape)}"
        )
    if min(generated.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs frames of at least {SSIM_WINDOW} pixels, found {tuple(real.shape[-2:])}"
        )
    per_frame = structural_similarity_index_measure(
        _intensity_frames(generated), _intensity_frames(real), data_range=1.0, reduction="none"
    )
    if not isinstance(per_frame, Tensor):
        raise TypeError("torchmetrics returned SSIM with an image, one value a frame was asked for")
    clips = reduce(per_frame, "(b t) -> b", "mean", b=len(real))
    return clips.double().cpu().numpy()


def _intensity_frames(videos: Tensor) -> Tensor:
    return rearrange((videos.float().clamp(-1, 1) + 1) / 2, "b c t h w -> (b t) c h w")


def lpips_not_computed(weights_dir: Path | None) -> str:
    """Why LPIPS(VGG) has no value here: the weights it needs and where they are published."""
    where = "no weights_dir is set" if weights_dir is None else f"not in {weights_dir}"
    return f"not computed: needs {LPIPS_SOURCE} ({where})"


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


def frechet_distance(features: ArrayLike, others: ArrayLike) -> float:
    """Squared Fréchet distance between Gaussians fitted to two feature sets.

    |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), S with divisor N - 1 (Dowson and Landau
    1982). With S_i = A_i^T A_i, tr (S_1 S_2)^(1/2) is the sum of the singular values of A_1 A_2^T,
    so no matrix square root is taken and few samples give no imaginary part. Fewer samples than
    features bias it upwards: compare only values of the same N.

    Args:
        features: (N, F), N >= 2.
        others: (M, F), M >= 2.
    """
    (mean, factor), (other_mean, other_factor) = map(_gaussian, (features, others))
    if mean.shape != other_mean.shape:
        raise ValueError(f"feature counts differ: {len(mean)} and {len(other_mean)}")
    # np.linalg.norm(..., "nuc") is the sum of singular values.
    cross = np.linalg.norm(factor @ rearrange(other_factor, "n f -> f n"), "nuc")
    spread = (factor**2).sum() + (other_factor**2).sum()
    distance = ((mean - other_mean) ** 2).sum() + spread - 2 * cross
    return max(float(distance), 0.0)  # a set with itself: rounding


def _gaussian(features: ArrayLike) -> tuple[Array, Array]:
    """The mean (F,) and a factor A (min(N, F), F) with A^T A the covariance."""
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"features must be (N, F), N >= 2, and finite, found shape {values.shape}")
    mean = values.mean(axis=0)
    orthogonal_and_triangular = np.linalg.qr((values - mean) / (len(values) - 1) ** 0.5)
    return mean, orthogonal_and_triangular[1]


def regressor_features(
    model: LVEFRegressor,
    videos: Iterable[Tensor],
    batch_size: int = 16,
    *,
    precision: Precision = "fp32",
) -> NDArray[np.float64]:
    """Penultimate features of whole clips, as `predict_lvef` reads them: (N, F)."""
    return mean_over_windows(model, model.features, videos, batch_size, precision)


def lvef_feature_frechet_distance(
    model: LVEFRegressor,
    generated: Iterable[Tensor],
    real: Iterable[Tensor],
    batch_size: int = 16,
) -> float:
    """Fréchet distance of two sets of clips (C, T, H, W) in the regressor's penultimate features.

    Depends on the regressor: compare only values that one regressor gave.
    """
    return frechet_distance(
        regressor_features(model, generated, batch_size),
        regressor_features(model, real, batch_size),
    )
