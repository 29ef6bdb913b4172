"""Where the cavity's border lies in every frame: one bullet fitted to all frames at once.

Evidence for a border is a step from dark to bright along the outward normal. Each round looks for
it near the present border, turns the evidence of every point and frame into one observation with
a precision (flat evidence: none), and solves the linear Gaussian model for the shape, the motion
and the contraction of all frames together. So a wall that is seen in one phase carries through
the dropout of another, and a clear wall speaks for the one across that is not seen.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from echocascade.evaluation import cavity

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]

SIZE = 56
# Points that look for the border: dense at the apex, none in the annulus' corners.
POINTS = cavity.outline(
    np.concatenate([[0.03, 0.08, 0.15], np.linspace(0.23, 0.97, 11)]), np.linspace(0.8, -0.8, 6)
)
STEP = 0.5  # px of a 56-pixel frame between samples of a normal
OFFSETS = np.arange(-4.0, 4.01, STEP)
_MARGIN = 2  # samples more on both ends, for the means on either side
_CONTRAST = 10.0  # grey levels, see `film`: the step that counts half a nat
_CAP = 3.0  # nats that the evidence approaches: a bright wall is not more certain than a clear one
_MOST_PRECISION = 3.0  # 1 / px^2 of one observation

# Where and how large hearts are, as mean and standard deviation of `cavity.NAMES`: an apical
# four-chamber view, the cavity right of the sector's middle, its apex near the tip.
MEAN = np.array([29.0, 8.8, 0.04, 26.0, 7.4, 0.58, 2.6, 0.76, 0.85, 0.0, 0.2, 0.0, 0.5, 0.0])
SD = np.array([1.4, 1.4, 0.14, 2.6, 1.1, 0.05, 0.35, 0.06, 0.7, 1.2, 0.6, 0.09, 0.07, 0.09])
_DRIFT_SD = 0.4  # px
_LOW = np.array([10.0, -3.0, -0.9, 17.0, 3.5, 0.42, 1.8, 0.55, -4.0])
_HIGH = np.array([46.0, 25.0, 0.9, 34.0, 12.0, 0.74, 4.0, 0.95, 5.0])
_CONTRACTION_MEAN, _CONTRACTION_SD = 0.27, 1.1
_CONTRACTION_RANGE = (-0.15, 0.8)
# Second difference of the contraction curve at 16 frames/s: contraction 0.6 in 0.25 s.
_ROUGHNESS = 0.15


@dataclass(frozen=True)
class Film:
    """A clip prepared for fits: grey (T * 56, 56) of all frames, one below the other; drift
    (T, n_terms); smooth (T, T): prior precision of the contraction curve."""

    grey: Float32
    drift: Array
    smooth: Array

    @property
    def n_frames(self) -> int:
        return len(self.drift)


@dataclass(frozen=True)
class Schedule:
    """Rounds of one fit: widths (px) of the search; what share of the evidence counts
    (neighbouring points and frames see the same speckle; little at first); samples averaged on
    either side of a border."""

    widths: tuple[float, ...]
    share: float
    samples: int


@dataclass(frozen=True)
class Fit:
    """A fitted border: parameters (P,) of `cavity`, contraction (T,).

    score: mean evidence in nats on the border; distance: half the squared Mahalanobis distance of
    the parameters from their prior.
    """

    parameters: Array
    contraction: Array
    score: float
    distance: float


def film(grey: Float32, duration_s: float) -> Film:
    """From frames (T, 56, 56), in the grey levels of a usual clip, see `stick`."""
    n_frames = len(grey)
    bend = np.diff(np.eye(n_frames), 2, axis=0)
    rate = 16.0 * duration_s / n_frames
    smooth = bend.T @ bend / (_ROUGHNESS * rate**2) ** 2 + np.eye(n_frames) / _CONTRACTION_SD**2
    drift = cavity.drift_terms(n_frames, max(2, round(duration_s)))
    stacked = np.ascontiguousarray(rearrange(grey, "t h w -> (t h) w"), np.float32)
    return Film(stacked, drift, smooth)


def usual(film: Film) -> Array:
    """The usual heart's parameters (P,)."""
    return np.concatenate([MEAN, np.zeros(2 * film.drift.shape[1])])


def _spread(film: Film) -> Array:
    """How far parameters (P,) lie from the usual heart's."""
    return np.concatenate([SD, np.full(2 * film.drift.shape[1], _DRIFT_SD)])


def _border_evidence(film: Film, border: cavity.Border, samples: int) -> Float32:
    """Evidence in nats (T, K, len(OFFSETS)) of a border at each offset along the normals."""
    n_frames, n_points = border.x.shape
    along = (np.arange(-_MARGIN, len(OFFSETS) + _MARGIN) * STEP + OFFSETS[0]).astype(np.float32)
    x, y, across, down = (
        a.astype(np.float32).reshape(-1, 1)
        for a in (border.x, border.y, border.normal_x, border.normal_y)
    )
    x, y = np.clip(x + along * across, 0, SIZE - 1), np.clip(y + along * down, 0, SIZE - 1)
    y += np.repeat(np.arange(n_frames, dtype=np.float32) * SIZE, n_points)[:, None]
    grey = cv2.remap(film.grey, x, y, cv2.INTER_LINEAR)
    first, last = _MARGIN, _MARGIN + len(OFFSETS)
    rise = sum(
        grey[:, first + k : last + k] - grey[:, first - k : last - k] for k in range(1, samples + 1)
    )
    step = np.maximum(rise, 0.0) * np.float32(1 / (samples * _CONTRAST))
    evidence = np.float32(_CAP) * (1 - np.exp(np.float32(-0.5 / _CAP) * step**2))
    return np.asarray(evidence).reshape(n_frames, n_points, len(OFFSETS))


def _observe(evidence: Float32, width: float) -> tuple[Array, Array]:
    """Observed offsets (T, K) of the border from the present one, and their precisions."""
    places = OFFSETS.astype(np.float32)
    log_weight = evidence - np.float32(0.5 / width**2) * places**2
    weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
    powers = np.stack([np.ones_like(places), places, places**2], 1)
    total, first, second = rearrange((weight @ powers).astype(np.float64), "t k n -> n t k")
    mean = first / total
    variance = np.maximum(second / total - mean**2, 0.03)
    precision = np.maximum(1 / variance - 1 / width**2, 1e-4)
    seen = np.clip(mean / variance / precision, OFFSETS[0], OFFSETS[-1])
    return seen, np.minimum(precision, _MOST_PRECISION)


def _solve(film: Film, p: Array, c: Array, border: cavity.Border, seen: Array, precision: Array
) -> Array:  # fmt: skip
    """Change (T + P,) of contraction and parameters to the posterior mean, made linear.

    seen, precision: (T, K).
    """
    n_frames, sd = len(c), _spread(film)
    slopes = cavity.slopes(p, c, film.drift, POINTS, border)
    static, moving = slopes[..., :-1], slopes[..., -1]
    flat = rearrange(static, "t k p -> (t k) p")
    weighed = flat * precision.reshape(-1, 1)
    pull = precision * moving
    system = np.empty((n_frames + len(p), n_frames + len(p)))
    system[:n_frames, :n_frames] = film.smooth + np.diag((pull * moving).sum(1))
    system[:n_frames, n_frames:] = np.matmul(pull[:, None], static)[:, 0]
    system[n_frames:, :n_frames] = system[:n_frames, n_frames:].T
    system[n_frames:, n_frames:] = weighed.T @ flat + np.diag(sd**-2.0)
    level = _CONTRACTION_MEAN / _CONTRACTION_SD**2
    right = np.concatenate(
        [
            (pull * seen).sum(1) - film.smooth @ c + level,
            weighed.T @ seen.ravel() - (p - usual(film)) / sd**2,
        ]
    )
    return np.asarray(np.linalg.solve(system, right))


def fit_contour(film: Film, parameters: Array, contraction: Array, schedule: Schedule) -> Fit:
    """The border in every frame, starting from `parameters` (P,) and `contraction` (T,)."""
    p, c, sd = parameters, contraction, _spread(film)
    for width in schedule.widths:
        border = cavity.place(p, c, film.drift, POINTS)
        seen, precision = _observe(_border_evidence(film, border, schedule.samples), width)
        change = _solve(film, p, c, border, seen, precision * schedule.share)
        c = np.clip(c + np.clip(change[: len(c)], -0.2, 0.2), *_CONTRACTION_RANGE)
        p = p + np.clip(change[len(c) :], -1.5 * sd, 1.5 * sd)
        p[: len(_LOW)] = np.clip(p[: len(_LOW)], _LOW, _HIGH)
    border = cavity.place(p, c, film.drift, POINTS)
    score = _border_evidence(film, border, schedule.samples)[..., len(OFFSETS) // 2].mean()
    return Fit(p, c, float(score), float(0.5 * np.square((p - usual(film)) / sd).sum()))
