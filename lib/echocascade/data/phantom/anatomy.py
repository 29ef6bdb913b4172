"""Echo amplitudes of the heart and its surroundings, painted at end-diastole.

Painting happens in material coordinates (see `geometry`): one texel is 0.8 px. Levels are in dB
below the brightest specular echo; each layer is painted over the ones before through a soft mask.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.canvas import Canvas, cover, smooth_field
from echocascade.data.phantom.geometry import Ventricle
from echocascade.data.phantom.motion import RightHeart

Float32 = NDArray[np.float32]


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
    septal_dropout: float
    lateral_dropout: float
    apical_dropout: float
    lateral_blur: float


def draw_levels(rng: np.random.Generator) -> Levels:
    """Levels of one patient: from crisp (dark surroundings) to hazy (grey surroundings)."""
    haze = float(rng.beta(1.3, 1.5))
    septum = float(rng.normal(-8.0, 2.5)) - 4.0 * haze
    return Levels(
        septum=septum,
        lateral=septum - float(np.clip(rng.normal(4.5, 3.0), 0.0, 10.0)),
        blood=float(rng.uniform(-64.0, -50.0)) + 8.0 * haze,
        background=-54.0 + 30.0 * haze + float(rng.normal(0.0, 2.0)),
        pericardium=septum + float(rng.normal(0.0, 2.5)),
        atrial_wall=septum - float(rng.uniform(2.0, 8.0)),
        patchiness=float(rng.uniform(2.5, 5.0)),
        septal_dropout=float(rng.uniform(0.0, 8.0)),
        lateral_dropout=float(rng.uniform(3.0, 14.0)),
        apical_dropout=float(rng.uniform(2.0, 14.0)),
        lateral_blur=float(rng.uniform(0.0, 4.5)),
    )


def _paint_surroundings(canvas: Canvas, levels: Levels) -> None:
    """Lung, liver and fat, brightest at the pericardium and fading away from the heart."""
    right, rng = canvas.right, canvas.rng
    background = levels.background + 4.0 * canvas.broad + 2.0 * canvas.patch
    canvas.db = background.astype(np.float32)
    ventricles = np.minimum(canvas.lv - right.septum, canvas.rv - 3.0)
    away = np.maximum(np.minimum(ventricles, np.minimum(canvas.la, canvas.ra) - 1.0), 0.0)
    left_fall, right_fall = 0.6 + 3.0 * rng.random(2) ** 1.3
    fall = np.where(canvas.u < 0, left_fall, right_fall)
    apical = np.clip(0.75 - canvas.x, 0.0, 0.75)
    glow = (
        levels.pericardium - rng.uniform(1.0, 8.0) - fall * away - rng.uniform(14.0, 40.0) * apical
    )
    glow = glow + levels.patchiness * (1.7 * canvas.broad + 0.6 * canvas.patch)
    glow = glow + 2.5 * smooth_field(rng, canvas.shape, (3.0, 22.0))
    glow = np.minimum(glow, levels.pericardium + 2.0)
    canvas.db = np.maximum(canvas.db, glow).astype(np.float32)
    # The bright curve of the pericardium itself, broken where it turns away from the beam.
    line = np.exp(-(((away - rng.uniform(3.0, 7.0)) / rng.uniform(1.5, 3.0)) ** 2))
    line = line * np.clip(canvas.broad + 0.2, 0.0, 1.0) * np.clip(2.0 * canvas.x - 0.8, 0.0, 1.0)
    canvas.paint(line, levels.pericardium + 2.0)


def _paint_right_ventricle(canvas: Canvas, levels: Levels) -> None:
    """Right ventricle: a crescent left of the septum, its free wall, sometimes a moderator band."""
    ventricle, rng = canvas.ventricle, canvas.rng
    cavity = cover(canvas.rv + 0.5 * canvas.patch)
    wall = cover(np.maximum(canvas.rv - 2.8 - 0.6 * canvas.patch, canvas.v - ventricle.length), 1.2)
    wall = wall * np.clip(0.55 + 0.6 * canvas.patch, 0.0, 1.0)
    canvas.paint(wall, levels.lateral - 1.0 + 2.0 * canvas.fine)
    canvas.paint(cavity, levels.blood + 4.0)
    trabecular = (
        np.clip(canvas.fine - 0.8, 0.0, 1.0) * cavity * np.clip(1.2 - canvas.rv_height, 0, 1)
    )
    canvas.paint(trabecular, levels.lateral - 6.0)
    if rng.random() < 0.5:
        slope, start = rng.uniform(-0.015, 0.0), rng.uniform(0.4, 0.6)
        line = np.abs(canvas.x - start - slope * (canvas.u + ventricle.radius)) * ventricle.length
        canvas.paint((cover(line - 0.9) * cavity), levels.lateral - 4.0)


def _paint_atria(canvas: Canvas, levels: Levels) -> None:
    """Left and right atrium, their walls, the septum between them with its thin oval fossa."""
    right, length, rng = canvas.right, canvas.ventricle.length, canvas.rng
    below = canvas.v > length - right.tricuspid_offset
    both = np.where(below, np.minimum(canvas.la, canvas.ra), 99.0).astype(np.float32)
    wall = cover(both - rng.uniform(1.5, 4.0) - 1.0 * canvas.fine, 1.5)
    wall = wall * np.clip(0.5 + 0.6 * canvas.patch + 0.4 * canvas.broad, 0.0, 1.0)
    canvas.paint(wall, levels.atrial_wall + 2.0 * canvas.fine)
    canvas.paint(cover(canvas.la, 1.0) * (canvas.v > length), levels.blood)
    canvas.paint(cover(canvas.ra, 1.0) * below, levels.blood + 1.0)
    depth = (canvas.v - length) / np.float32(right.la_length)
    fossa = np.exp(-(((depth - 0.62) / 0.16) ** 2)) * rng.uniform(0.2, 1.0)
    thickness = rng.uniform(2.4, 3.6) - 1.4 * np.clip(depth / 0.5, 0.0, 1.0)
    between = cover((np.abs(canvas.u - canvas.atrial_septum) - thickness).astype(np.float32), 1.0)
    end = rng.uniform(0.55, 1.0)
    between = (
        between * (depth > 0) * cover((depth - end) * right.la_length, 2.5) * (1 - 0.9 * fossa)
    )
    level = levels.septum + 2.0 - 5.0 * np.clip(depth, 0, 1) + 2.0 * canvas.fine
    canvas.paint(between, level)


def _paint_left_ventricle(canvas: Canvas, levels: Levels) -> None:
    """Myocardium: bright septum, softer lateral wall, both patchy and dropping out in places."""
    ventricle, right, rng = canvas.ventricle, canvas.right, canvas.rng
    x, side = canvas.x, np.clip(canvas.u / ventricle.radius + 0.5, 0.0, 1.0)
    uneven = 1.0 + 0.16 * smooth_field(rng, canvas.shape, (16.0, 30.0))
    thickness = right.septum * (1.0 + (rng.uniform(0.7, 1.2) - 1.0) * side) * uneven
    thickness = thickness * (0.62 + 0.38 * np.clip(x / 0.3, 0.0, 1.0))
    apical = np.clip(1.0 - x / 0.3, 0.0, 1.0)
    level = levels.septum + side * (levels.lateral - levels.septum)
    level = level + levels.patchiness * (0.6 * canvas.patch + 0.6 * canvas.fine)
    level = level - levels.apical_dropout * apical + rng.normal(0.0, 5.0) * (x - 0.5)
    missing = levels.septal_dropout + side * (levels.lateral_dropout - levels.septal_dropout)
    level = level - missing * np.clip(1.1 * smooth_field(rng, canvas.shape, (20.0, 40.0)), 0.0, 1.3)
    middle = 1.0 - np.abs(2.0 * np.clip(canvas.lv / thickness, 0.0, 1.0) - 1.0)
    open_base = cover(canvas.v - ventricle.length - 1.0, 1.2)
    muscle = cover(canvas.lv - thickness, 0.9 + levels.lateral_blur * side) * open_base
    canvas.paint(muscle, level - 1.5 * middle)
    rim = np.exp(-((canvas.lv - thickness - 1.0) ** 2) / 1.6) * side * open_base
    rim = rim * np.clip(x * 1.6, 0, 1) * np.clip(0.4 + 0.7 * canvas.broad, 0.0, 1.0)
    rim = rim / (1.0 + 0.4 * levels.lateral_blur)
    canvas.paint(rim, levels.pericardium - 3.0 + 3.0 * canvas.fine)
    _paint_cavity(canvas, levels, apical)


def _paint_cavity(canvas: Canvas, levels: Levels, apical: Float32) -> None:
    """Blood, with trabeculae towards the apex and up to two papillary muscles."""
    ventricle, rng = canvas.ventricle, canvas.rng
    cavity = cover(canvas.lv, 0.6) * cover(canvas.v - ventricle.length, 0.6)
    canvas.paint(cavity, levels.blood + 3.0 * apical + 1.5 * canvas.patch)
    near_wall = cover(-canvas.lv - 3.2, 1.2) * cavity * np.clip(1.0 - 1.1 * canvas.x, 0.0, 1.0)
    canvas.paint(np.clip(canvas.fine - 0.7, 0.0, 1.0) * near_wall, levels.lateral - 5.0)
    for _ in range(int(rng.integers(0, 3))):
        height, sign = rng.uniform(0.38, 0.62), 1.0 if rng.random() < 0.8 else -0.9
        reach = float(np.sqrt(ventricle.radius_squared(np.array(height))))
        papillary = canvas.ellipse(
            sign * (reach - rng.uniform(0.5, 2.5)),
            height * ventricle.length,
            rng.uniform(1.4, 2.6),
            rng.uniform(5.0, 9.0),
        )
        shape = cover(papillary + 0.8 * canvas.fine, 1.0) * cavity
        canvas.paint(shape, levels.lateral - 3.0 + 3.0 * canvas.fine)


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
        height = (
            ventricle.length + 0.8 - (right.tricuspid_offset if u < -half - right.septum else 0)
        )
        spot = canvas.ellipse(u, height, half_u, half_v)
        visible = cover(spot + 0.6 * canvas.fine, 1.0)
        canvas.paint(visible, levels.septum + level + 2.0 + 2.0 * canvas.fine)


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
