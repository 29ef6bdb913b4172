"""A fan as a shape: fitted to the outline of what is bright in a small picture.

A fan is five numbers, (tip x, tip y, half opening in radians, near and far radius), in pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

OPENINGS = (np.radians(22.0), np.radians(54.0))  # least and largest half opening of a cardiac fan
MOST_NEAR = 0.35  # near over far radius; a curved (abdominal) array has more
HIGHEST = -0.08  # where its top may lie, as a share of the picture's height: cut, but there
LEAST_PART = 0.03  # of the picture that the largest bright part takes


def bright_part(grey: NDArray[np.float32], level: float) -> Mask | None:
    """The largest part (h, w) above `level`, or None where it is too small."""
    bright = (cv2.GaussianBlur(grey, (0, 0), 0.8) > level).astype(np.uint8)
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, disk(3))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, disk(5))  # writing and rulers are thin
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    if stats[largest, cv2.CC_STAT_AREA] < LEAST_PART * opened.size:
        return None
    return np.asarray(labels == largest)


def hull_of(part: Mask) -> Mask:
    """The convex hull of a part, filled: dark chambers and dark borders are inside."""
    points = np.argwhere(part)[:, ::-1].astype(np.int32)
    filled = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled.astype(bool)


def disk(diameter: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)).astype(np.uint8)


def beyond(x: Array, y: Array, fan: Array) -> Array:
    """Pixels that a place lies beyond the nearest border of a fan; below 0 inside."""
    tip_x, tip_y, opening, near, far = fan
    dx, dy = x - tip_x, y - tip_y
    radius = np.hypot(dx, dy)
    across = np.abs(dx) * np.cos(opening) - dy * np.sin(opening)
    return np.maximum(np.maximum(near - radius, radius - far), across)


def overlap_of(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def fit_fan(part: Mask) -> tuple[Array, float]:
    """The fan (tip x, tip y, half opening, near, far) that overlaps a part best, and how well.

    Among those that a cardiac probe draws: with the opening and the tip that it has.
    """
    y, x = np.mgrid[: part.shape[0], : part.shape[1]].astype(float)
    highest, margins = HIGHEST * len(part), (slice(None, None, 3), slice(None, None, 3))

    def loss(fan: Array, of: tuple[slice, slice]) -> float:
        outside = beyond(x[of], y[of], fan)
        soft = 1 / (1 + np.exp(np.clip(1.5 * outside, -30, 30)))  # a border to descend on
        off = 1 - np.minimum(soft, part[of]).sum() / np.maximum(soft, part[of]).sum()
        return float(off) + _strangeness(fan, highest)

    rows = np.flatnonzero(part.any(1))
    top, bottom = float(rows[0]), float(rows[-1])
    tip, centre = (float(np.flatnonzero(m).mean()) for m in (part[rows[0]], part.any(0)))
    steps = np.diag([5.0, 5.0, 0.12, 4.0, 6.0])
    found = []
    for tip_x, opening, near in ((tip, 0.7, 2.0), (centre, 0.75, 2.0)):
        start = np.array([tip_x, top - near, opening, near, bottom - top + near])
        found.append(_descend(loss, start, steps, margins, 150))
    best = min(found, key=lambda fan: loss(fan, margins))
    fan = _descend(loss, best, steps / 5, (slice(None), slice(None)), 120)
    fan[3] = max(fan[3], 0.0)
    return fan, overlap_of(part, beyond(x, y, fan) <= 0)


def _strangeness(fan: Array, highest: float) -> float:
    """How far a fan lies outside what cardiac probes draw; 0 for one of them."""
    _, tip_y, opening, near, far = fan
    low, high = OPENINGS
    excess = max(low - opening, opening - high, 0.0)
    excess += max(near / max(far, 1.0) - MOST_NEAR, 0.0)
    return float(10 * excess + 0.3 * max(highest - (tip_y + near * np.cos(opening)), 0.0))


def _descend(
    loss: Callable[[Array, tuple[slice, slice]], float], start: Array, steps: Array,
    of: tuple[slice, slice], most: int,
) -> Array:  # fmt: skip
    options = {"initial_simplex": np.vstack([start, start + steps]), "maxiter": most,
               "xatol": 0.05, "fatol": 2e-4}  # fmt: skip
    return np.asarray(minimize(loss, start, (of,), "Nelder-Mead", options=options).x)


def sag_of(bright: Mask, part: Mask, fan: Array) -> float:
    """How far the upper border sags in the middle, as a share of the depth: a curved array's."""
    reach = max(round(0.05 * part.shape[1]), 1)
    columns = slice(max(round(fan[0]) - reach, 0), round(fan[0]) + reach + 1)
    rows = np.flatnonzero(bright[:, columns].any(1))
    hull = np.flatnonzero(part.any(1))
    if len(rows) == 0:
        return 1.0
    return float((rows[0] - hull[0]) / max(len(hull), 1))


def ellipse_of(part: Mask) -> Mask:
    """The ellipse of a part's own centre, axes and area."""
    points = np.argwhere(part).astype(float)
    centred = np.argwhere(np.ones_like(part)) - points.mean(0)
    form = np.linalg.inv(np.cov(points.T))
    return ((centred @ form * centred).sum(1) <= 4).reshape(part.shape)
