"""The beat of a clip without any label: how long it lasts, whether it comes again, when it is.

The heart is what moves most regularly in a clip. Its motion curve is the first principal component
over time of the clip's thumbnails; the beat is the lag at which that curve is most like itself.
"""

from dataclasses import dataclass

import numpy as np

from echocascade.evaluation.thumbnails import Array, thumbnails

SHORTEST_S, LONGEST_S = 0.33, 1.5  # 180 to 40 beats a minute
LEAST_OVERLAP = 0.3  # of the clip, that a lag must leave for a comparison
AS_HIGH = 0.15  # correlations this near to the highest are as high


@dataclass(frozen=True)
class Beat:
    """period_s: seconds a beat, NaN where the clip shows no second beat. repetition: correlation
    of the clip's motion with itself one beat later, at most 1; NaN likewise."""

    period_s: float
    repetition: float


def motion_curve(frames: np.ndarray) -> Array:
    """The strongest common motion of a uint8 clip (T, H, W, C): (T,), mean 0, sign arbitrary."""
    pictures = thumbnails(frames).astype(np.float64)
    left, strength, _ = np.linalg.svd(pictures - pictures.mean(axis=0), full_matrices=False)
    return left[:, 0] * strength[0]


def beat_of(frames: np.ndarray, fps: float) -> Beat:
    """The beat of a uint8 clip (T, H, W, C) at `fps`."""
    curve = motion_curve(frames)
    if not np.any(np.abs(curve) > 1e-6):
        return Beat(float("nan"), float("nan"))
    lags = np.arange(1, int((1 - LEAST_OVERLAP) * len(curve)) + 1)
    alike = np.array([_correlation(curve[:-lag], curve[lag:]) for lag in lags])
    peaks = [
        i for i in range(1, len(lags) - 1)
        if alike[i - 1] <= alike[i] >= alike[i + 1]
        and SHORTEST_S <= lags[i] / fps <= LONGEST_S
        and alike[i] > 0 > alike[:i].min()  # half a beat later the heart is in its other half
    ]  # fmt: skip
    if not peaks:
        return Beat(float("nan"), float("nan"))
    highest = max(alike[i] for i in peaks)
    best = next(i for i in peaks if alike[i] >= highest - AS_HIGH)  # two beats repeat as well
    before, at, after = alike[best - 1 : best + 2]
    bend = before - 2 * at + after  # a parabola through the peak and its neighbours
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return Beat(float((lags[best] + offset) / fps), float(at))


def phase_shift_s(frames: np.ndarray, other: np.ndarray, fps: float) -> float:
    """By how many seconds the motion of `frames` lags that of `other`, both uint8 (T, H, W, C).

    The lag, of at most half the longest beat either way, at which both motions are most alike,
    whichever sign the curves have. 0 where super-resolution kept the base's heart in its phase.
    """
    one, two = motion_curve(frames), motion_curve(other)
    if len(one) != len(two):
        raise ValueError(f"clips of {len(one)} and {len(two)} frames cannot be compared in phase")
    most = min(int(LONGEST_S / 2 * fps), int((1 - LEAST_OVERLAP) * len(one)))
    lags = sorted(range(-most, most + 1), key=abs)  # of equal ones the smallest
    alike = [abs(_correlation(*_overlap(one, two, lag))) for lag in lags]
    return lags[int(np.argmax(alike))] / fps


def _overlap(one: Array, two: Array, lag: int) -> tuple[Array, Array]:
    n = len(one) - abs(lag)
    return (one[lag:], two[:n]) if lag >= 0 else (one[:n], two[-lag:])


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else 0.0
