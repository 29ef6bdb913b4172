"""Echo amplitudes of the heart and its surroundings, painted at end-diastole.

Painting happens in material coordinates (see `geometry`): one texel is 0.8 px. Levels are in dB
below the brightest specular echo; each layer is painted over the ones before through a soft mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.geometry import Ventricle
from echocascade.data.phantom.motion import RightHeart

Float32 = NDArray[np.float32]

TEXEL = 0.8
U_LOW, U_HIGH, V_LOW, V_HIGH = -80.0, 72.0, -28.0, 108.0


@dataclass(frozen=True)
class Levels:
    """Mean echo levels in dB of one patient, and how patchy the walls are (dB)."""

    septum: float
    lateral: float
    blood: float
    background: float
    pericardium: float
    atrial_wall: float
    patchiness: float
    lateral_dropout: float


def draw_levels(rng: np.random.Generator) -> Levels:
    """Levels of one patient: from crisp (dark surroundings) to hazy (grey surroundings)."""
    haze = float(rng.beta(1.3, 1.5))
    septum = float(rng.normal(-8.0, 2.5)) - 4.0 * haze
    return Levels(
        septum=septum,
        lateral=septum - float(np.clip(rng.normal(4.5, 3.0), 0.0, 10.0)),
        blood=float(rng.uniform(-64.0, -50.0)) + 8.0 * haze,
        background=-50.0 + 28.0 * haze + float(rng.normal(0.0, 2.0)),
        pericardium=septum + float(rng.normal(1.0, 2.5)),
        atrial_wall=septum - float(rng.uniform(2.0, 8.0)),
        patchiness=float(rng.uniform(2.5, 5.0)),
        lateral_dropout=float(rng.uniform(3.0, 13.0)),
    )


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> Float32:
    """A smooth random field of unit variance, correlated over `cell` = (rows, columns) samples."""
    small = (max(3, int(shape[0] / cell[0]) + 2), max(3, int(shape[1] / cell[1]) + 2))
    coarse = rng.standard_normal(small, dtype=np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(1.25)


def material_grid() -> tuple[Float32, Float32]:
    """Material coordinates U (columns) and V (rows) of the texels, as broadcastable axes."""
    u = np.arange(U_LOW, U_HIGH, TEXEL, dtype=np.float32)[None, :]
    v = np.arange(V_LOW, V_HIGH, TEXEL, dtype=np.float32)[:, None]
    return u, v


def _cover(distance: Float32, softness: float = 0.7) -> Float32:
    """Coverage 0..1 of a layer from the signed distance (px) to its edge, negative inside."""
    return np.clip(0.5 - distance / (2 * softness), 0.0, 1.0)


class Canvas:
    """The dB image being painted, with the coordinates and fields that all layers share."""

    def __init__(self, ventricle: Ventricle, right: RightHeart, rng: np.random.Generator) -> None:
        self.ventricle, self.right, self.rng = ventricle, right, rng
        self.u, self.v = material_grid()
        self.shape = (self.v.shape[0], self.u.shape[1])
        self.x = self.v / np.float32(ventricle.length)
        self.fine = smooth_field(rng, self.shape, (3.5, 3.0))
        self.patch = smooth_field(rng, self.shape, (14.0, 12.0))
        self.broad = smooth_field(rng, self.shape, (40.0, 40.0))
        self.db = np.zeros(self.shape, np.float32)
        self.lv = self._lv_distance()

    def _lv_distance(self) -> Float32:
        """Signed distance (px) to the endocardium, negative in the cavity, open at the annulus."""
        x = self.x.astype(np.float64)
        radius2 = self.ventricle.radius_squared(np.clip(x, 0.0, 1.0))
        apical = self.ventricle.apex_power / self.ventricle.widest * self.ventricle.radius**2
        radius2 = np.where(x < 0, apical * x, radius2)
        step = 0.01
        slope = np.where(
            x < 0,
            apical,
            self.ventricle.radius_squared(np.clip(x + step, 0, 1))
            - self.ventricle.radius_squared(np.clip(x, 0, 1 - step)),
        )
        slope = np.where(x < 0, slope, slope / step) / self.ventricle.length
        u2 = self.u.astype(np.float64) ** 2
        return ((u2 - radius2) / np.sqrt(4 * u2 + slope**2 + 4.0)).astype(np.float32)

    def paint(self, coverage: Float32, level: Float32 | float) -> None:
        """Blend the level (dB) over what is there."""
        self.db += coverage * (level - self.db)

    def ellipse(self, u: float, v: float, half_u: float, half_v: float) -> Float32:
        """Signed distance (px, approximate) to an ellipse."""
        radial = np.sqrt(((self.u - u) / half_u) ** 2 + ((self.v - v) / half_v) ** 2)
        return (radial - 1.0) * np.float32(min(half_u, half_v))


def _paint_surroundings(canvas: Canvas, levels: Levels) -> None:
    """Lung, liver and fat around the heart, and the bright pericardium behind the atria."""
    right, rng = canvas.right, canvas.rng
    length = canvas.ventricle.length
    background = levels.background + 5.0 * canvas.broad + 2.0 * canvas.patch
    canvas.db = background.astype(np.float32)
    roof = length + max(right.la_length, right.ra_length)
    depth = canvas.v - roof - 3.0 - 0.012 * (canvas.u + 10.0) ** 2 * -1.0 - 2.0 * canvas.broad
    band = np.exp(-((depth / rng.uniform(3.0, 6.0)) ** 2)) * np.clip(0.65 + 0.45 * canvas.broad, 0, 1)
    canvas.paint(band.astype(np.float32), levels.pericardium - 2.0 + 3.0 * canvas.patch)
    edge = canvas.ventricle.radius + right.septum
    halo = np.exp(-np.maximum(canvas.u - edge, 0.0) / rng.uniform(6.0, 14.0))
    halo = halo * (canvas.u > 0) * np.clip(canvas.x * 1.4, 0.1, 1.0) * np.clip(1.9 - canvas.x, 0, 1)
    glow = levels.lateral - rng.uniform(1.0, 8.0) + 4.0 * canvas.patch
    canvas.paint((0.8 * halo).astype(np.float32), glow)


def _paint_right_ventricle(canvas: Canvas, levels: Levels) -> None:
    """Right ventricle: a crescent left of the septum, its free wall, sometimes a moderator band."""
    right, ventricle, rng = canvas.right, canvas.ventricle, canvas.rng
    height = np.clip((canvas.x - right.rv_apex) / (1.0 - right.rv_apex), 0.0, 1.0)
    inner = -np.sqrt(
        np.maximum(ventricle.radius_squared(np.clip(canvas.x, 0, 1)), 0.0)
    ) - np.float32(right.septum)
    outer = inner - right.rv_width * np.sqrt(height) * (1.0 - 0.25 * np.clip(canvas.x - 0.7, 0, 1))
    inside = np.maximum(canvas.u - inner, outer - canvas.u)
    below = np.maximum(inside, canvas.v - ventricle.length).astype(np.float32)
    wall = _cover(np.maximum(below - 2.8 - 0.5 * canvas.patch, canvas.v - ventricle.length))
    wall = wall * np.clip(0.6 + 0.5 * canvas.patch, 0.0, 1.0)
    canvas.paint(wall, levels.lateral - 3.0 + 3.0 * canvas.fine)
    canvas.paint(_cover(below), levels.blood + 4.0)
    trabecular = np.clip(canvas.fine - 0.9, 0.0, 1.0) * _cover(below) * np.clip(1.2 - height, 0, 1)
    canvas.paint(trabecular.astype(np.float32), levels.lateral - 6.0)
    if rng.random() < 0.5:
        start = rng.uniform(0.3, 0.5)
        line = np.abs(canvas.x - start - 0.012 * (canvas.u - inner)) * ventricle.length
        canvas.paint((_cover(line - 1.0) * _cover(below)).astype(np.float32), levels.lateral - 4.0)


def _paint_atria(canvas: Canvas, levels: Levels) -> None:
    """Left and right atrium, their walls, the septum between them with its thin oval fossa."""
    right, length, rng = canvas.right, canvas.ventricle.length, canvas.rng
    septum_u = -canvas.ventricle.radius * canvas.ventricle.base_ratio - right.septum / 2
    la_u = septum_u + 1.5 + right.la_half
    ra_u = septum_u - 1.5 - right.ra_half
    la = canvas.ellipse(la_u, length + right.la_length * 0.47, right.la_half, right.la_length * 0.56)
    ra = canvas.ellipse(ra_u, length + right.ra_length * 0.47, right.ra_half, right.ra_length * 0.56)
    la, ra = np.maximum(la, length - canvas.v), np.maximum(ra, length - canvas.v)
    both = np.minimum(la, ra)
    both = both + 1.2 * canvas.patch
    wall = _cover(both - rng.uniform(2.0, 4.5) - 1.5 * canvas.fine, 1.5) * (canvas.v > length - 1)
    wall = wall * np.clip(0.5 + 0.6 * canvas.patch + 0.4 * canvas.broad, 0.0, 1.0)
    canvas.paint(wall, levels.atrial_wall + 3.0 * canvas.fine)
    fossa = np.exp(-(((canvas.v - length - 0.55 * right.la_length) / (0.2 * right.la_length)) ** 2))
    line = np.abs(canvas.u - septum_u) - (2.0 - 1.3 * fossa)
    between = _cover(line.astype(np.float32)) * (canvas.v > length)
    between = between * _cover(canvas.v - length - 0.95 * right.la_length, 2.0)
    canvas.paint(_cover(la + 1.2 * canvas.patch, 1.2), levels.blood)
    canvas.paint(_cover(ra + 1.2 * canvas.patch, 1.2), levels.blood + 1.0)
    canvas.paint(between, levels.septum - 2.0 - 7.0 * fossa + 3.0 * canvas.fine)


def _paint_left_ventricle(canvas: Canvas, levels: Levels) -> None:
    """Myocardium with patchy, dropping-out walls, cavity, papillary muscles and trabeculae."""
    ventricle, right, rng = canvas.ventricle, canvas.right, canvas.rng
    x, side = canvas.x, np.clip(canvas.u / (0.5 * ventricle.radius) * 0.5 + 0.5, 0.0, 1.0)
    thickness = right.septum * (1.0 - 0.12 * side) * (0.62 + 0.38 * np.clip(x / 0.3, 0.0, 1.0))
    middle = 1.0 - np.abs(2.0 * np.clip(canvas.lv / thickness, 0.0, 1.0) - 1.0)
    level = levels.septum + side * (levels.lateral - levels.septum)
    apical = np.clip(1.0 - x / 0.3, 0.0, 1.0)
    dropout = np.clip(canvas.patch - 0.1, 0.0, 1.3) * levels.lateral_dropout * side
    level = level + levels.patchiness * (0.7 * canvas.patch + 0.5 * canvas.fine) - dropout
    level = level - 4.0 * apical - 1.5 * middle
    open_base = _cover(canvas.v - ventricle.length - 1.0, 1.2)
    canvas.paint((_cover(canvas.lv - thickness, 0.9) * open_base).astype(np.float32), level)
    rim = np.exp(-((canvas.lv - thickness - 1.0) ** 2) / 1.6) * side * open_base * np.clip(x * 1.6, 0, 1)
    rim = rim * np.clip(0.5 + 0.7 * canvas.broad, 0.0, 1.0)
    canvas.paint(rim.astype(np.float32), levels.pericardium - 3.0 + 3.0 * canvas.fine)
    cavity = _cover(canvas.lv, 0.6) * _cover(canvas.v - ventricle.length, 0.6)
    canvas.paint(cavity, levels.blood + 3.0 * apical + 1.5 * canvas.patch)
    near_wall = _cover(-canvas.lv - 3.2, 1.2) * cavity * np.clip(1.0 - 1.1 * x, 0.0, 1.0)
    trabeculae = np.clip(canvas.fine - 0.7, 0.0, 1.0) * near_wall
    canvas.paint(trabeculae.astype(np.float32), levels.lateral - 5.0)
    for _ in range(int(rng.integers(0, 3))):
        height, sign = rng.uniform(0.38, 0.62), 1.0 if rng.random() < 0.8 else -0.9
        reach = float(np.sqrt(ventricle.radius_squared(np.array(height))))
        muscle = canvas.ellipse(
            sign * (reach - rng.uniform(0.5, 2.5)),
            height * ventricle.length,
            rng.uniform(1.4, 2.6),
            rng.uniform(5.0, 9.0),
        )
        cover = _cover(muscle + 0.8 * canvas.fine, 1.0) * cavity
        canvas.paint(cover.astype(np.float32), levels.lateral - 3.0 + 3.0 * canvas.fine)


def _paint_annulus(canvas: Canvas, levels: Levels) -> None:
    """The bright fibrous hinges of the valves: central crux and lateral annulus."""
    ventricle, right, rng = canvas.ventricle, canvas.right, canvas.rng
    half = ventricle.radius * ventricle.base_ratio
    spots = (
        (-half - right.septum / 2, right.septum * 0.5 + 0.6, 3.5, 0.0),
        (half + 1.8, rng.uniform(1.6, 3.2), rng.uniform(2.0, 4.0), -2.0),
        (-half - right.septum - right.rv_width - 1.0, 2.0, 2.5, -4.0),
    )
    for u, half_u, half_v, level in spots:
        spot = canvas.ellipse(u, ventricle.length + 0.8, half_u, half_v)
        cover = _cover(spot + 0.6 * canvas.fine, 1.0)
        canvas.paint(cover.astype(np.float32), levels.septum + level + 2.0 + 2.0 * canvas.fine)


def echo_amplitude(
    ventricle: Ventricle, right: RightHeart, levels: Levels, rng: np.random.Generator
) -> Float32:
    """Echo amplitude (rows V, columns U) of the patient at end-diastole, 1 = 0 dB."""
    canvas = Canvas(ventricle, right, rng)
    _paint_surroundings(canvas, levels)
    _paint_right_ventricle(canvas, levels)
    _paint_atria(canvas, levels)
    _paint_left_ventricle(canvas, levels)
    _paint_annulus(canvas, levels)
    return np.exp(canvas.db * np.float32(np.log(10.0) / 20.0)).astype(np.float32)
