"""Image statistics by which phantom and real clips are put side by side.

All are measured inside a fixed wedge that lies within the sector of both, on grey 112 x 112 uint8
clips; rulers and marks at the edge stay outside. Speckle is what a 3-pixel Gaussian high-pass
leaves, looked at along the beam (axial) and across it (lateral), in a near and a far band.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Uint8 = NDArray[np.uint8]

PERCENTILES = (5, 25, 50, 75, 95, 99)
BLACK_BELOW = 8
MAX_LAG = 6
# Tip of the wedge (x, y), its half angle, and the radii of the bands, in a 112 x 112 frame.
_TIP, _HALF_ANGLE = (56.0, 8.0), np.radians(38.0)
_WHOLE, _NEAR, _FAR = (6.0, 98.0), (18.0, 45.0), (62.0, 95.0)
_HIGH_PASS_SIGMA = 3.0
# Speckle is only looked at where there is an echo: local mean above this grey.
_ECHO_ABOVE = 20.0


def _grey(frames: Uint8) -> NDArray[np.float32]:
    """Frames (T, 112, 112) float32 from uint8 (T, 112, 112), (..., 1) or (..., 3)."""
    if frames.ndim == 4:
        frames = frames[..., 0] if frames.shape[-1] == 1 else frames.mean(axis=-1)
    if frames.ndim != 3 or frames.shape[1:] != (112, 112):
        raise ValueError(f"frames have shape {frames.shape}; (T, 112, 112[, C]) is needed")
    return np.ascontiguousarray(frames, dtype=np.float32)


def _polar(frames: NDArray[np.float32], band: tuple[float, float]) -> NDArray[np.float32]:
    """(T, radii, beams) resampled at one pixel along the beam and about one across it."""
    radius = np.arange(band[0], band[1])
    step = 1.0 / radius.mean()
    angle = np.arange(-_HALF_ANGLE, _HALF_ANGLE, step)
    x = (_TIP[0] + radius[:, None] * np.sin(angle)).astype(np.float32)
    y = (_TIP[1] + radius[:, None] * np.cos(angle)).astype(np.float32)
    return np.stack([cv2.remap(frame, x, y, cv2.INTER_LINEAR) for frame in frames])


def _high_pass(bands: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Local mean and what is left of it, each (T, radii, beams)."""
    mean = np.stack([cv2.GaussianBlur(band, (0, 0), _HIGH_PASS_SIGMA) for band in bands])
    return mean, bands - mean


def intensity_histogram(frames: Uint8, bins: int = 64) -> tuple[FloatArray, FloatArray]:
    """Density (bins,) of grey levels in the wedge, and the bin edges (bins + 1,) from 0 to 256."""
    density, edges = np.histogram(_polar(_grey(frames), _WHOLE), bins, (0, 256), density=True)
    return density, edges


def intensity_percentiles(frames: Uint8) -> dict[str, float]:
    """Mean, `PERCENTILES` and the fraction below `BLACK_BELOW` of grey levels in the wedge."""
    values = _polar(_grey(frames), _WHOLE)
    numbers = {"mean": float(values.mean()), "black": float((values < BLACK_BELOW).mean())}
    for percent, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True):
        numbers[f"p{percent}"] = float(value)
    return numbers


@dataclass(frozen=True)
class Speckle:
    """Speckle of a clip in one band: autocorrelation at lags 0..MAX_LAG (1 at 0) across and along
    the beam, their full widths at half maximum in pixels, and contrast (std / local mean)."""

    lateral: FloatArray
    axial: FloatArray
    lateral_width: float
    axial_width: float
    contrast: float


def speckle(frames: Uint8, band: str) -> Speckle:
    """Speckle in the "near" or the "far" band of a clip, where the local mean shows an echo."""
    if band not in ("near", "far"):
        raise ValueError(f"band is {band!r}; allowed are near, far")
    mean, rest = _high_pass(_polar(_grey(frames), _NEAR if band == "near" else _FAR))
    echo = mean > _ECHO_ABOVE
    lateral, axial = _autocorrelation(rest, echo, 2), _autocorrelation(rest, echo, 1)
    contrast = float(np.std(rest[echo] / mean[echo])) if echo.any() else float("nan")
    return Speckle(lateral, axial, _width(lateral), _width(axial), contrast)


def _autocorrelation(rest: NDArray[np.float32], echo: NDArray[np.bool_], axis: int) -> FloatArray:
    """Normalised autocorrelation (MAX_LAG + 1,) along an axis over pairs that both show echo."""
    values = np.where(echo, rest, 0.0)
    out = np.full(MAX_LAG + 1, np.nan)
    for lag in range(MAX_LAG + 1):
        size = values.shape[axis] - lag
        a, b = np.take(values, range(size), axis), np.take(values, range(lag, size + lag), axis)
        both = np.take(echo, range(size), axis) & np.take(echo, range(lag, size + lag), axis)
        if both.any():
            out[lag] = float((a * b)[both].mean())
    return out / out[0]


def _width(correlation: FloatArray) -> float:
    """Full width at half maximum (px) of a correlation given at lags 0, 1, 2 ...; NaN if wider."""
    below = np.flatnonzero(correlation < 0.5)
    if len(below) == 0:
        return float("nan")
    high = int(below[0])
    before, after = correlation[high - 1], correlation[high]
    return float(2.0 * (high - 1 + (before - 0.5) / (before - after)))


def frame_correlation(
    frames: Uint8, lags: Sequence[int] = (1, 2, 4), *, high_pass: bool = False
) -> FloatArray:
    """Mean Pearson correlation (len(lags),) of the wedge between frames `lags` apart.

    At 8 fps the lags 1, 2, 4 are 125, 250 and 500 ms. `high_pass` leaves only the speckle.
    """
    bands = _polar(_grey(frames), _WHOLE)
    if high_pass:
        bands = _high_pass(bands)[1]
    flat = bands.reshape(len(bands), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    return np.array([float((flat[:-lag] * flat[lag:]).sum(1).mean()) for lag in lags])


def clip_statistics(frames: Uint8) -> dict[str, float]:
    """All numbers of one clip at 8 fps in one flat table row."""
    row = {f"intensity.{key}": value for key, value in intensity_percentiles(frames).items()}
    for band in ("near", "far"):
        found = speckle(frames, band)
        row[f"{band}.lateral_width"] = found.lateral_width
        row[f"{band}.axial_width"] = found.axial_width
        row[f"{band}.contrast"] = found.contrast
    for name, high_pass in (("frame", False), ("speckle", True)):
        values = frame_correlation(frames, high_pass=high_pass)
        for milliseconds, value in zip((125, 250, 500), values, strict=True):
            row[f"{name}_correlation.{milliseconds}ms"] = float(value)
    return row
