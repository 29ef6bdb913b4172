"""The left ventricle's cavity as a bullet that few numbers shape, place and contract.

In heart coordinates the long axis runs down from the apex (x = 0) to the middle of the mitral
annulus (x = 1); the walls lie on either side of a gently bent middle line, round at the apex,
widest below the middle, cut flat at the annulus. Contracting by c narrows the walls by 1 - c a(x),
where the fibrous annulus follows only partly, and lifts the annulus towards the apex: walls and
annulus move together in hearts. The heart also sways with its contraction and drifts with the
breath. Lengths are in pixels of a 56-pixel frame.

Parameters (P,), see `NAMES`: nine of the shape and place at rest, five of the motion, then the
drift's cosine terms, first all of x, then all of y.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NAMES = (
    "apex_x", "apex_y", "tilt", "length", "radius", "widest", "apex_power", "annulus", "bend",
    "sway_x", "sway_y", "sway_tilt", "shortening", "apex_share",
)  # fmt: skip
N_NAMED = len(NAMES)
_WIDEST, _POWER, _ANNULUS = 5, 6, 7
N_DISKS = 24
_DISKS = (np.arange(N_DISKS) + 0.5) / N_DISKS


@dataclass(frozen=True)
class Outline:
    """Places on the bullet's border: heights x (K,) from 0 to 1, and shares (K,) of the half width,
    -1 on the left wall, 1 on the right one, between on the annulus."""

    heights: Array
    shares: Array


def outline(heights: Array, across: Array) -> Outline:
    """From the apex down the right wall, across the annulus, up the left wall.

    heights (H,) ascending, without the apex; across (A,): shares of the annulus, right to left.
    """
    side = np.ones(len(heights))
    return Outline(
        np.concatenate([[0.0], heights, np.ones(len(across)), heights[::-1]]),
        np.concatenate([[0.0], side, across, -side]),
    )


def half_widths(parameters: Array, heights: Array) -> Array:
    """Half widths (K,) in px at rest."""
    _, _, _, _, radius, widest, power, annulus, _ = parameters[:9]
    up = 1 - np.abs(1 - np.minimum(heights, widest) / widest) ** power
    down = (np.maximum(heights, widest) - widest) / (1 - widest)
    return np.asarray(radius * np.sqrt(np.maximum(up - (1 - annulus**2) * down**2, 0.0)))


def _narrowing(heights: Array, apex_share: float) -> Array:
    """How much of the contraction the walls follow; apex_share > 0: the apex more than the base."""
    return (1 + apex_share * (1 - 2 * heights)) * (1 - 0.4 * heights**6)


def _lift(c: Array) -> Array:
    """Shortening of the long axis at contraction c (T,), per unit of the parameter."""
    return np.asarray(c * (1 - 0.4 * c))


def drift_terms(n_frames: int, n_terms: int) -> Array:
    """Cosine waves (T, n_terms) of 1, 2, ... half periods over the clip."""
    phase = (np.arange(n_frames) + 0.5) / n_frames
    return np.cos(np.pi * phase[:, None] * np.arange(1, n_terms + 1))


@dataclass(frozen=True)
class Border:
    """A placed border in every frame.

    x, y (T, K): points in px; normal_x, normal_y: their outward unit normals; u, v: the points
    across and along the long axis from the apex; cos, sin (T, 1): of the tilt.
    """

    x: Array
    y: Array
    normal_x: Array
    normal_y: Array
    u: Array
    v: Array
    cos: Array
    sin: Array


def place(parameters: Array, c: Array, drift: Array, line: Outline) -> Border:
    """The border at contractions c (T,); drift (T, n_terms): see `drift_terms`."""
    p, x = parameters, line.heights
    width = line.shares * half_widths(p, x)
    u = width * (1 - c[:, None] * _narrowing(x, p[13])) + p[8] * np.sin(np.pi * x)
    v = p[3] * x * (1 - p[12] * _lift(c))[:, None]
    tilt = (p[2] + p[11] * c)[:, None]
    cos, sin = np.cos(tilt), np.sin(tilt)
    breath = drift @ p[N_NAMED:].reshape(2, -1).T
    left = (p[0] + p[9] * c + breath[:, 0])[:, None]
    top = (p[1] + p[10] * c + breath[:, 1])[:, None]
    across, along = _normals(u, v, line)
    return Border(
        x=left + u * cos + v * sin,
        y=top - u * sin + v * cos,
        normal_x=across * cos + along * sin,
        normal_y=along * cos - across * sin,
        u=u, v=v, cos=cos, sin=sin,
    )  # fmt: skip


def _normals(u: Array, v: Array, line: Outline) -> tuple[Array, Array]:
    """Outward unit normals across and along the axis; on the annulus straight down."""
    du = np.roll(u, -1, 1) - np.roll(u, 1, 1)
    dv = np.roll(v, -1, 1) - np.roll(v, 1, 1)
    flat = line.heights == 1
    # The last points of the walls see the wall above them, not the corner.
    for corner, inner in _corners(flat):
        du[:, corner] = (u[:, corner] - u[:, inner]) * (1 if inner < corner else -1)
        dv[:, corner] = (v[:, corner] - v[:, inner]) * (1 if inner < corner else -1)
    across = np.where(flat, 0.0, dv)
    along = np.where(flat, 1.0, -du)
    size = np.maximum(np.hypot(across, along), 1e-6)
    return across / size, along / size


def _corners(flat: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The last point of either wall, and its neighbour towards the apex."""
    places = np.flatnonzero(flat)
    first, last = int(places[0]) - 1, int(places[-1]) + 1
    return (first, first - 1), (last, last + 1)


def slopes(parameters: Array, c: Array, drift: Array, line: Outline, border: Border) -> Array:
    """Outward shift (T, K, P + 1) of the border's points per unit of each parameter, then of c."""
    p, x = parameters, line.heights
    nx, ny = border.normal_x, border.normal_y
    across, along = nx * border.cos - ny * border.sin, nx * border.sin + ny * border.cos
    turn = across * border.v - along * border.u
    width, follow = line.shares * half_widths(p, x), _narrowing(x, p[13])
    col, narrowed = c[:, None], across * (1 - c[:, None] * follow)
    n_terms = drift.shape[1]
    out = np.empty((*nx.shape, N_NAMED + 2 * n_terms + 1))
    out[..., 0], out[..., 1], out[..., 2] = nx, ny, turn
    out[..., 3] = along * x * (1 - p[12] * _lift(c))[:, None]
    out[..., 4] = narrowed * width / p[4]
    for k in (_WIDEST, _POWER, _ANNULUS):
        step = np.zeros_like(p)
        step[k] = 1e-4
        out[..., k] = narrowed * (line.shares * half_widths(p + step, x) - width) / 1e-4
    out[..., 8] = across * np.sin(np.pi * x)
    out[..., 9], out[..., 10], out[..., 11] = nx * col, ny * col, turn * col
    out[..., 12] = -along * x * p[3] * _lift(c)[:, None]
    out[..., 13] = -across * col * width * (1 - 2 * x) * (1 - 0.4 * x**6)
    out[..., N_NAMED : N_NAMED + n_terms] = nx[..., None] * drift[:, None]
    out[..., N_NAMED + n_terms : -1] = ny[..., None] * drift[:, None]
    lifted = along * x * p[3] * p[12] * (1 - 0.8 * col)
    out[..., -1] = nx * p[9] + ny * p[10] + turn * p[11] - lifted - across * width * follow
    return out


def volumes(parameters: Array, c: Array) -> Array:
    """Volumes (T,) in px^3 by the method of disks (Ouyang20) at contractions c (T,)."""
    p = parameters
    half = half_widths(p, _DISKS) * (1 - c[:, None] * _narrowing(_DISKS, p[13]))
    length = p[3] * (1 - p[12] * _lift(c))
    return np.asarray(np.pi * np.square(half).sum(1) * length / N_DISKS)
