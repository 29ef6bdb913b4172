"""Where the cavity's border lies in every frame: one contour model fitted to all frames at once.

The radius along ray k in frame t is generic(c_t) + shape_k + c_t motion_k (see `cavity`). Evidence
for a border is a step from dark to bright along the ray. Each round weighs all places near the
present contour by their evidence, turns the weights of every ray and frame into one observation
with a precision (flat evidence: none), and solves the linear Gaussian model for shape, motion and
contraction in turn. So frames and rays with a clear border speak for those without.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from echocascade.evaluation import cavity
from echocascade.evaluation.cavity import CONTRACTIONS, N_RAYS, Rays

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]

STEP = 0.5  # px of a 56-pixel frame between samples of a ray
OFFSETS = np.arange(-9.0, 6.01, STEP)
_DARK, _BRIGHT = 4, 3  # samples averaged inside and outside a border: 2 and 1.5 px
_CONTRAST = 14.0  # grey levels of 255: the step that counts half a nat
_CAP = 3.0  # evidence in nats beyond which a border is not more certain
_CONTRACTION_MEAN, _CONTRACTION_SD = 0.15, 0.6
# Second difference of the contraction curve at 16 frames/s: contraction 0.4 in 0.25 s.
_ROUGHNESS = 0.1


@dataclass(frozen=True)
class Fit:
    """A fitted contour: radii (T, N_RAYS) in px along `rays`, around `pose` (5,).

    contraction (T,); score: mean evidence in nats along the contour; next_pose (5,): the pose
    with the fitted changes in it, from which a further fit may start; distance: half the squared
    Mahalanobis distance of next_pose from the prior.
    """

    radii: Array
    contraction: Array
    rays: Rays
    pose: Array
    next_pose: Array
    score: float
    distance: float


@dataclass(frozen=True)
class Prior:
    """Where a cavity may lie, as mean and standard deviation (5,) of its pose."""

    mean: Array
    sd: Array


@dataclass(frozen=True)
class Schedule:
    """Rounds of one fit: widths (px) of the search, and what share of the evidence counts for
    the shape (neighbouring rays and frames see the same speckle; little at first)."""

    widths: tuple[float, ...]
    share: float


def border_evidence(frames: Float32, pose: Array, rays: Rays) -> Float32:
    """Evidence in nats (T, N_RAYS, len(OFFSETS)) of a border at rest radius + offset.

    frames: (T, 56, 56) grey 0..255.
    """
    margin = _DARK + 1
    offsets = np.arange(-margin, len(OFFSETS) + margin) * STEP + OFFSETS[0]
    radius = np.maximum(rays.rest[:, None] + offsets, 0.0)
    x = (pose[0] + radius * rays.x[:, None]).astype(np.float32)
    y = (pose[1] + radius * rays.y[:, None]).astype(np.float32)
    whole, part = cv2.convertMaps(x, y, cv2.CV_16SC2)
    grey = np.empty((len(frames), *radius.shape), np.float32)
    for frame, out in zip(frames, grey, strict=True):
        cv2.remap(frame, whole, part, cv2.INTER_LINEAR, out, cv2.BORDER_REPLICATE)
    total = np.cumsum(np.pad(grey, ((0, 0), (0, 0), (1, 0))), axis=-1)
    i = np.arange(len(OFFSETS)) + margin
    dark = (total[..., i] - total[..., i - _DARK]) / _DARK
    bright = (total[..., i + 1 + _BRIGHT] - total[..., i + 1]) / _BRIGHT
    rise = np.maximum(bright - dark, 0.0) / _CONTRAST
    evidence = np.minimum(0.5 * rise**2, _CAP)
    evidence[:, rays.rest[:, None] + OFFSETS < 1.0] = -5.0  # no border at the centre itself
    return evidence.astype(np.float32)


def _at(table: Array, c: Array) -> Array:
    """Rows (T, N_RAYS) of a table over CONTRACTIONS at contractions c (T,), interpolated."""
    place = (c - CONTRACTIONS[0]) / (CONTRACTIONS[1] - CONTRACTIONS[0])
    place = np.clip(place, 0, len(CONTRACTIONS) - 1.001)
    low = place.astype(int)
    share = (place - low)[:, None]
    return table[low] * (1 - share) + table[low + 1] * share


def _observe(evidence: Float32, offset: Array, width: float) -> tuple[Array, Array]:
    """Observed offsets (T, N_RAYS) near the present ones, and their precisions."""
    places = OFFSETS.astype(np.float32)
    log_weight = evidence - np.float32(0.5 / width**2) * np.square(
        places - offset[..., None].astype(np.float32)
    )
    log_weight -= log_weight.max(-1, keepdims=True)
    weight = np.exp(log_weight)
    powers = np.stack([np.ones_like(places), places, places**2], 1)
    total, first, second = rearrange((weight @ powers).astype(np.float64), "t k n -> n t k")
    mean = first / total
    variance = np.maximum(second / total - mean**2, 0.03)
    precision = np.clip(1 / variance - 1 / width**2, 1e-4, None)
    seen = (mean / variance - offset / width**2) / precision
    return np.clip(seen, offset - 4.0, offset + 4.0), np.minimum(precision, 1.0)


def _solve_shape(
    target: Array, precision: Array, c: Array, shape: Array, motion: Array, prior: Array,
    pull: Array,
) -> Array:  # fmt: skip
    """Coefficients of shape and motion terms: posterior mean given contractions c (T,).

    target, precision: (T, N_RAYS); prior: precision of the coefficients; pull: prior x its mean.
    """
    w0, w1, w2 = (np.einsum("tk,t->k", precision, c**n) for n in range(3))
    b0, b1 = (np.einsum("tk,tk,t->k", precision, target, c**n) for n in range(2))
    cross = shape.T @ (w1[:, None] * motion)
    system = np.block(
        [[shape.T @ (w0[:, None] * shape), cross], [cross.T, motion.T @ (w2[:, None] * motion)]]
    )
    right = np.concatenate([shape.T @ b0, motion.T @ b1])
    return np.linalg.solve(system + np.diag(prior), right + pull)


def _smoothness(n_frames: int, duration_s: float) -> Array:
    """Prior precision (T, T) of the contraction curve: level and second differences."""
    bend = np.diff(np.eye(n_frames), 2, axis=0)
    rate = 16.0 * duration_s / n_frames
    return bend.T @ bend / (_ROUGHNESS * rate**2) ** 2 + np.eye(n_frames) / _CONTRACTION_SD**2


def first_contraction(evidence: Float32, rays: Rays) -> Array:
    """A start for the contraction curve (T,): the best generic cavity of each frame, smoothed."""
    grid = np.arange(10, 76, 3)
    offset = rays.radii[grid] - rays.rest
    score = np.stack(
        [_evidence_on(evidence, offset[i]).mean(-1) for i in range(len(grid))], axis=-1
    )
    score = cv2.GaussianBlur(score.astype(np.float32), (1, 3), 0.6, borderType=cv2.BORDER_REFLECT)
    return CONTRACTIONS[grid][score.argmax(-1)]


def _evidence_on(evidence: Float32, offset: Array) -> Float32:
    """Evidence (T, N_RAYS) at offsets (N_RAYS,) or (T, N_RAYS), nearest sample."""
    i = np.clip(np.rint((offset - OFFSETS[0]) / STEP), 0, len(OFFSETS) - 1).astype(int)
    return np.take_along_axis(evidence, np.broadcast_to(i, evidence.shape[:2])[..., None], -1)[
        ..., 0
    ]


def fit_contour(
    frames: Float32, pose: Array, prior: Prior, schedule: Schedule, duration_s: float,
    contraction: Array | None = None,
) -> Fit:  # fmt: skip
    """The contour in every frame, starting from the generic cavity at `pose` (5,).

    frames: (T, 56, 56) grey 0..255; contraction (T,): where the curve starts, None to search.
    """
    rays = cavity.place(pose)
    evidence = border_evidence(frames, pose, rays)
    generic = rays.radii - rays.rest
    slope = np.gradient(generic, CONTRACTIONS, axis=0)
    shape, shape_prior = cavity.shape_terms(pose)
    motion, motion_prior = cavity.motion_terms(pose)
    shape_prior[:5] = prior.sd**-2.0
    precisions = np.concatenate([shape_prior, motion_prior])
    pull = np.zeros(len(precisions))
    pull[:5] = (prior.mean - pose) / prior.sd**2
    smooth = _smoothness(len(frames), duration_s)
    c = first_contraction(evidence, rays) if contraction is None else contraction
    bent, moved, solution = np.zeros(N_RAYS), np.zeros(N_RAYS), np.zeros(len(precisions))
    for width in schedule.widths:
        base = _at(generic, c)
        seen, precision = _observe(evidence, base + bent + c[:, None] * moved, width)
        solution = _solve_shape(
            seen - base, precision * schedule.share, c, shape, motion, precisions, pull
        )
        bent, moved = shape @ solution[: shape.shape[1]], motion @ solution[shape.shape[1] :]
        gain = _at(slope, c) + moved
        left = seen - base - bent - c[:, None] * moved
        certain = (precision * gain**2).sum(1)
        right = (precision * gain * left).sum(1) + certain * c
        right += _CONTRACTION_MEAN / _CONTRACTION_SD**2
        c = np.clip(np.linalg.solve(np.diag(certain) + smooth, right), -0.09, 0.72)
    offset = _at(generic, c) + bent + c[:, None] * moved
    after = np.clip(pose + solution[:5], [4, 4, -0.8, 7, 3.5], [52, 48, 0.8, 18, 12])
    return Fit(
        radii=np.maximum(rays.rest + offset, 0.3),
        contraction=c,
        rays=rays,
        pose=pose,
        next_pose=after,
        score=float(_evidence_on(evidence, offset).mean()),
        distance=float(0.5 * np.square((after - prior.mean) / prior.sd).sum()),
    )
