"""The left ventricle's cavity as a closed contour that a few numbers bend and contract.

A generic apical cavity (round apex, widest below the middle, cut flat at the mitral annulus) is
described by its radius along rays from its centre. Rays are fixed in coordinates in which the
cavity is 2 long and 2 wide, so angle 0 points to the apex, pi/2 to the lateral wall, pi to the
annulus. A pose (5,) places it: x, y of the centre, tilt (radians, positive turns the base towards
image right), half length, half width; lengths in pixels of a 56-pixel frame.

Contracting by c narrows the walls by the factor 1 - c, the annulus by 1 - 0.6 c, and lifts the
annulus towards the resting apex by c / 2 - c^2 / 5 of the length: walls and annulus move together
in hearts, in that order of size. All deviations of a patient from that are linear terms with
Gaussian priors, see `shape_terms` and `motion_terms`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_RAYS = 48
ANGLES: Array = np.linspace(0.0, 2 * np.pi, N_RAYS, endpoint=False, dtype=np.float64)
CONTRACTIONS: Array = np.linspace(-0.1, 0.75, 86)
_REST = 10  # CONTRACTIONS[_REST] is 0
_WIDEST, _APEX_POWER, _BASE_RATIO = 0.58, 2.5, 0.77
_HARMONICS = 5
_SHAPE_WAVE, _MOTION_WAVE = 0.35, 0.5  # px, px per unit of contraction


def half_width(
    x: Array, widest: float = _WIDEST, power: float = _APEX_POWER, base: float = _BASE_RATIO
) -> Array:
    """Half width 0..1 at height x from 0 (apex) to 1 (annulus).

    widest: height of the widest place; power: 2 an ellipse, more a blunter apex; base: half width
    of the annulus.
    """
    up = 1 - np.abs(1 - np.clip(x, 0, widest) / widest) ** power
    down = (np.maximum(x, widest) - widest) / (1 - widest)
    return np.sqrt(np.maximum(up - (1 - base**2) * down**2, 0))


def _outline(c: float) -> Array:
    """Closed outline (N, 2) of the generic cavity contracted by c: right of the axis, down."""
    x = np.linspace(0, 1, 200)
    width = half_width(x) * (1 - c * (1 - 0.4 * x**6))
    down = -1 + 2 * x * (1 - 0.5 * c * (1 - 0.4 * c))
    across = np.linspace(width[-1], -width[-1], 60)
    base = np.stack([across, np.full(60, down[-1])], -1)
    right, left = np.stack([width, down], -1), np.stack([-width, down], -1)[::-1]
    return np.concatenate([right, base, left])


def _radii(outline: Array, angles: Array) -> Array:
    angle = np.arctan2(outline[:, 0], -outline[:, 1]) % (2 * np.pi)
    order = np.argsort(angle)
    radius = np.hypot(outline[:, 0], outline[:, 1])
    return np.interp(angles, angle[order], radius[order], period=2 * np.pi)


def generic_radii(angles: Array, c: float) -> Array:
    """Radii (N,) of the generic cavity, contracted by c, along `angles` (N,), unit coordinates."""
    return _radii(_outline(c), angles)


@dataclass(frozen=True)
class _Unit:
    """The generic cavity at rest in unit coordinates, all (N_RAYS,).

    u, v: where the rays meet it; normal_u, normal_v: its outward normal, over the cosine
    between normal and ray; x: height from 0 (apex) to 1; family (86, N_RAYS): radii at
    CONTRACTIONS; fourier (N_RAYS, 1 + 2 _HARMONICS).
    """

    u: Array
    v: Array
    normal_u: Array
    normal_v: Array
    x: Array
    family: Array
    fourier: Array

    def along(self, du: Array | float, dv: Array | float) -> Array:
        """Change of radius (N_RAYS,) when the outline is displaced by (du, dv)."""
        return du * self.normal_u + dv * self.normal_v


@lru_cache(1)
def _unit() -> _Unit:
    family = np.stack([generic_radii(ANGLES, float(c)) for c in CONTRACTIONS])
    radius, rest = family[_REST], _outline(0.0)
    step = 0.03  # radians: fine against the outline, coarse against its corners' cusp
    ends = [
        _radii(rest, ANGLES + s) * np.stack([np.sin(ANGLES + s), -np.cos(ANGLES + s)])
        for s in (-step, step)
    ]
    tangent = ends[1] - ends[0]
    normal = np.stack([-tangent[1], tangent[0]]) / np.hypot(*tangent)
    facing = (normal * np.stack([np.sin(ANGLES), -np.cos(ANGLES)])).sum(0)
    # Where a ray grazes the outline (the annulus' corners) the linear change is kept finite.
    normal = normal * np.sign(facing) / np.maximum(np.abs(facing), 0.35)
    u, v = radius * np.sin(ANGLES), -radius * np.cos(ANGLES)
    waves = [np.ones(N_RAYS)]
    for h in range(1, _HARMONICS + 1):
        waves += [np.cos(h * ANGLES), np.sin(h * ANGLES)]
    return _Unit(u, v, normal[0], normal[1], (v + 1) / 2, family, np.stack(waves, 1))


@dataclass(frozen=True)
class Rays:
    """Rays of a placed cavity, in pixels of a 56-pixel frame.

    scale (N_RAYS,): pixels per unit radius; u, v: direction across and along the long axis; x, y:
    direction in the image; radii (86, N_RAYS): the generic cavity at CONTRACTIONS.
    """

    scale: Array
    u: Array
    v: Array
    x: Array
    y: Array
    radii: Array

    @property
    def rest(self) -> Array:
        """Radii (N_RAYS,) of the generic cavity at c = 0."""
        return self.radii[_REST]


def place(pose: Array) -> Rays:
    """The rays of the generic cavity at `pose` (5,)."""
    _, _, tilt, half_length, half_wide = pose
    u, v = half_wide * np.sin(ANGLES), -half_length * np.cos(ANGLES)
    scale = np.hypot(u, v)
    u, v = u / scale, v / scale
    cos, sin = np.cos(tilt), np.sin(tilt)
    return Rays(scale, u, v, u * cos + v * sin, -u * sin + v * cos, _unit().family * scale)


def shape_terms(pose: Array) -> tuple[Array, Array]:
    """Linear changes of radius that make a patient's shape, and the precision of their priors.

    Columns of the (N_RAYS, 20) matrix: the five numbers of the pose (their prior is the caller's,
    their precision here 0), height of the widest place, bluntness of the apex, width of the
    annulus, sideways bend (px), then free Fourier waves (px).
    """
    _, _, tilt, a, b = pose
    one, cos, sin = _unit(), np.cos(tilt), np.sin(tilt)
    x = np.clip(one.x, 0.02, 1.0)
    side = np.sign(one.u) * (np.abs(one.u) > 1e-3) * (one.x < 0.985) * (one.x > 0.01)
    widest = (half_width(x, widest=0.6) - half_width(x, widest=0.56)) / 0.04
    blunt = (half_width(x, power=2.6) - half_width(x, power=2.4)) / 0.2
    base = (half_width(x, base=0.8) - half_width(x, base=0.74)) / 0.06
    named = [
        one.along(cos / b, sin / a),
        one.along(-sin / b, cos / a),
        one.along(a * one.v / b, -b * one.u / a),
        one.along(0.0, one.v / a),
        one.along(one.u / b, 0.0),
        one.along(widest * side, 0.0),
        one.along(blunt * side, 0.0),
        one.along(base * side, 0.0),
        one.along(np.sin(np.pi * np.clip(one.x, 0, 1)) / b, 0.0),
    ]
    terms = np.stack(named, 1) * place(pose).scale[:, None]
    sd = np.array([0.06, 0.35, 0.08, 0.8] + [_SHAPE_WAVE] * one.fourier.shape[1])
    return np.concatenate([terms, one.fourier], 1), np.concatenate([np.zeros(5), sd**-2.0])


def motion_terms(pose: Array) -> tuple[Array, Array]:
    """Changes of radius per unit of contraction beside the generic ones, and their precision.

    Columns of the (N_RAYS, 17) matrix: the heart's sway x, y (px) and turn about its apex
    (radians), share of long-axis shortening, of narrowing, apex against base, free Fourier waves.
    """
    _, _, tilt, a, b = pose
    one, cos, sin = _unit(), np.cos(tilt), np.sin(tilt)
    named = [
        one.along(cos / b, sin / a),
        one.along(-sin / b, cos / a),
        one.along(a * (one.v + 1) / b, -b * one.u / a),
        one.along(0.0, -(one.v + 1)),
        one.along(-one.u * (1 - 0.4 * np.clip(one.x, 0, 1) ** 6), 0.0),
        one.along(one.u * (1 - 2 * one.x), 0.0),
    ]
    terms = np.stack(named, 1) * place(pose).scale[:, None]
    sd = np.array([1.2, 1.2, 0.12, 0.12, 0.12, 0.12] + [_MOTION_WAVE] * one.fourier.shape[1])
    return np.concatenate([terms, one.fourier], 1), sd**-2.0
