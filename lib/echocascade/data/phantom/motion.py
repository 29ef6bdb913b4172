"""Where each point of a frame was at end-diastole: the inverse warp, and the valve leaflets.

Inside the moving wall the map is u'^2 = u^2 - w^2 + r^2 (an incompressible ring: walls thicken as
the cavity of half width w shrinks from r), so the material endocardium |U| = r lies exactly on
|u| = w. Above the apex nothing moves; below the annulus the descent of the base fades out over
the atria, which therefore fill while the ventricle empties.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.geometry import Pose, Ventricle

FloatArray = NDArray[np.float64]
Float32 = NDArray[np.float32]

# Inside this share of the half width the blood is mapped linearly (the ring formula is singular
# on the axis); small enough for the kink to lie in the blood, away from the endocardium.
_CORE = 0.6
_X_LOW, _X_HIGH, _NODES = -0.7, 2.8, 4096


@dataclass(frozen=True)
class RightHeart:
    """Right ventricle and atria in pixels at end-diastole.

    septum: thickness between the cavities; rv_width: cavity at the annulus; rv_apex: height of its
    apex as a share of the LV length; free_wall_shift: inward motion at full contraction;
    la_length, la_half, ra_length, ra_half: atria;
    tricuspid_offset: how much nearer to the apex the tricuspid hinges lie.
    """

    septum: float
    rv_width: float
    rv_apex: float
    free_wall_shift: float
    la_length: float
    la_half: float
    ra_length: float
    ra_half: float
    tricuspid_offset: float


def draw_right_heart(rng: np.random.Generator, ventricle: Ventricle) -> RightHeart:
    """Right ventricle and atria that fit the patient's left ventricle."""
    big = rng.random() < 0.2
    la_half = (
        ventricle.radius * ventricle.base_ratio * rng.uniform(1.0, 1.45) * (1.15 if big else 1)
    )
    return RightHeart(
        septum=float(rng.uniform(4.5, 7.5)),
        rv_width=float(rng.uniform(13.0, 21.0)),
        rv_apex=float(rng.uniform(0.1, 0.35)),
        free_wall_shift=float(rng.uniform(3.0, 5.5)),
        la_length=float(rng.uniform(23.0, 36.0)) * (1.15 if big else 1.0),
        la_half=float(la_half),
        ra_length=float(rng.uniform(21.0, 35.0)),
        ra_half=float(rng.uniform(10.0, 17.0)),
        tricuspid_offset=float(rng.uniform(1.0, 4.0)),
    )


def _tables(ventricle: Ventricle, right: RightHeart) -> Float32:
    """(3, nodes) over x: r^2, and the terms of r^2 - w^2 in c and c^2."""
    x = np.linspace(_X_LOW, _X_HIGH, _NODES)
    radius2 = ventricle.radius_squared(np.clip(x, 0.0, 1.0))
    weight = ventricle.contractility(x)
    below = np.maximum(x - 1.0, 0.0)
    fade = np.exp(-((below / 0.18) ** 2))
    atrial = 0.12 * right.la_half**2 * (1.0 - fade) * np.exp(-((below / 0.6) ** 4))
    linear = 2.0 * radius2 * weight * fade - atrial
    square = radius2 * weight**2 * fade
    return np.stack([radius2, linear, square]).astype(np.float32)


def material_coordinates(
    ventricle: Ventricle, right: RightHeart, pose: Pose, c: FloatArray, points: Float32
) -> tuple[Float32, Float32]:
    """End-diastolic heart coordinates (U, V), each (T, N), of image points.

    points: (2, N) image x, y in pixels, the same for all frames; c (T,): contraction of each.
    """
    tables = _tables(ventricle, right)
    cos = np.cos(pose.tilt)[:, None].astype(np.float32)
    sin = np.sin(pose.tilt)[:, None].astype(np.float32)
    dx = points[0][None, :] - pose.apex_x[:, None].astype(np.float32)
    dy = points[1][None, :] - pose.apex_y[:, None].astype(np.float32)
    u, v = dx * cos - dy * sin, dx * sin + dy * cos
    short = ventricle.shortening(c)[:, None].astype(np.float32)
    length = np.float32(ventricle.length)
    base = length * short
    reach = np.float32(1.3 * right.la_length)
    below = np.clip((v - base) / (reach + length - base), 0.0, 1.0)
    V = np.where(v < base, np.where(v > 0, v / short, v), length + below * reach)
    V = V + np.maximum(v - (length + reach), 0.0)
    bend = ventricle.bend * np.sin(np.pi * np.clip(v / base, 0.0, 1.0))
    return _across(u - bend.astype(np.float32), V / length, c, tables, right, ventricle), V


def _across(
    u: Float32, x: Float32, c: FloatArray, tables: Float32, right: RightHeart, ventricle: Ventricle
) -> Float32:
    """Material U (T, N) of the unbent across-coordinate u at material height x."""
    scale = np.float32((_NODES - 1) / (_X_HIGH - _X_LOW))
    index = np.clip((x - np.float32(_X_LOW)) * scale + 0.5, 0, _NODES - 1).astype(np.int32)
    c = c[:, None].astype(np.float32)
    radius2, linear, square = (np.take(table, index) for table in tables)
    change = c * (linear - c * square)
    core2 = np.float32(_CORE**2) * np.maximum(radius2 - np.maximum(change, 0.0), 0.0) + 1e-3
    outside2 = np.maximum(u * u, core2)
    U = u * np.sqrt(np.maximum(outside2 + change, 1e-6) / outside2)
    wall = -(ventricle.radius + right.septum + right.rv_width)
    q = (u - np.float32(wall)) * np.float32(1.0 / 16.0)
    inward = np.square(np.maximum(1.0 - q * q, 0.0)) * np.clip(1.2 * x, 0.0, 1.0)
    fade = np.clip(2.0 - 1.4 * x, 0.0, 1.0)
    return U - np.float32(right.free_wall_shift * 2.2) * c * inward * fade


@dataclass(frozen=True)
class Leaflets:
    """Mitral and tricuspid leaflets: lengths as shares of the annulus width, angles in radians."""

    anterior: float
    posterior: float
    closed_angle: float
    open_angle: float
    curl: float


def draw_leaflets(rng: np.random.Generator) -> Leaflets:
    """Leaflets of one patient; the anterior one is the longer."""
    anterior = float(rng.uniform(0.55, 0.68))
    return Leaflets(
        anterior=anterior,
        posterior=float(1.0 - anterior + rng.uniform(0.06, 0.12)),
        closed_angle=float(rng.uniform(-0.08, 0.26)),
        open_angle=float(rng.uniform(1.05, 1.4)),
        curl=float(rng.uniform(-0.6, 0.8)),
    )


def leaflet_lines(
    leaflets: Leaflets,
    ventricle: Ventricle,
    right: RightHeart,
    c: FloatArray,
    opening: FloatArray,
    n_points: int = 9,
) -> FloatArray:
    """Four leaflets in heart coordinates (T, 4, n_points, 2): anterior, posterior, septal, free.

    c, opening (T,): contraction and opening 0..1 of each frame.
    """
    half = np.sqrt(ventricle.radius_squared(np.ones(()))) * (
        1.0 - c * ventricle.contractility(np.ones(()))
    )
    base = ventricle.length * ventricle.shortening(c)
    rv_width = right.rv_width - 0.5 * right.free_wall_shift * 2.2 * c
    rv_left, rv_right = -half - right.septum - rv_width, -half - right.septum
    annuli = (
        (-half, 1.0, 2 * half * leaflets.anterior, 1.0, 0.0),
        (half, -1.0, 2 * half * leaflets.posterior, 0.92, 0.0),
        (rv_right, -1.0, rv_width * 0.45, 0.8, right.tricuspid_offset),
        (rv_left, 1.0, rv_width * 0.62, 0.9, right.tricuspid_offset),
    )
    s = np.linspace(0.0, 1.0, n_points)
    lines = []
    for hinge, side, size, swing, offset in annuli:
        angle = leaflets.closed_angle + opening * (
            leaflets.open_angle * swing - leaflets.closed_angle
        )
        # Closed leaflets sag towards the atrium, open ones curl towards the jet.
        curl = leaflets.curl * opening + 0.55 * (1.0 - opening)
        theta = angle[:, None] + curl[:, None] * (s[None, 1:] - 0.5)
        step = size[:, None] / (n_points - 1)
        du = np.cumsum(side * np.cos(theta) * step, axis=1)
        dv = np.cumsum(-np.sin(theta) * step, axis=1)
        u = np.concatenate([np.zeros((len(c), 1)), du], axis=1) + hinge[:, None]
        v = np.concatenate([np.zeros((len(c), 1)), dv], axis=1) + base[:, None] - offset
        lines.append(np.stack([u, v], axis=-1))
    return np.stack(lines, axis=1)
