"""The ultrasound sector in a picture: where it is, whether there is one, and only it.

A scanner writes names, dates and scales around the fan of echoes. A fan is what a phased array
draws: a tip at the top, two straight sides that open downwards alike, an arc below. It is found as
the fan that overlaps the outline of the bright (or moving) part best, and it must overlap it better
than a box or an ellipse does: a photograph, a page of text, a linear array's picture or a slice of
another modality is then named for what it is.
"""

from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.fan import (
    Array,
    Mask,
    beyond,
    bright_part,
    disk,
    ellipse_of,
    fit_fan,
    hull_of,
    overlap_of,
    sag_of,
)  # fmt: skip
from echocascade.data.frames import Frames, resize, set_channels

WORK = 128  # pixels of the longer side on which the fan is searched
# Grey levels of 255 above the background at which a fan may show: gain differs between scanners,
# and noise of 3 levels in a dark corner still marks it; JPEG leaves more than that around text.
LEVELS = (10.0, 5.0, 2.5)
SURE = 0.92  # overlap at which the lower levels, which also show noise, are not tried
MOTION_GAIN = 8.0  # standard deviation over time, brought to the grey levels above
COLOURED = 0.5  # of its brightest channel that a pixel's colours may lie apart and still be grey
MOST_COLOURED = 0.1  # of the fan's bright pixels
MOST_FILLED = 0.7  # of the picture's width that it has, at most, in a quarter of its depth
SAGGING = 0.15  # of its depth that the middle of its upper border lies below the outline
LEAST_OVERLAP = 0.78  # of outline and fan: intersection over union
ROUNDER = 0.10  # an ellipse overlaps by so much more: then it is one, not a fan with dark sides
ENOUGH = 0.75  # of a picture's longer side that a fan is deep when one look is enough
LEAST_DEPTH = 48  # pixels of depth below which a heart is not to be seen
PLACED = 0.15  # of the side: a square picture whose fan is that near to its place is not moved
MARGIN = 0.02  # of the depth, kept around the fan

NO_SECTOR = "no cardiac ultrasound sector found"
ACCEPTED = "an apical view by a phased array, tip at the top, is accepted"


class SectorError(ValueError):
    """A picture without the sector of a cardiac ultrasound; says what was found."""


@dataclass(frozen=True)
class Layout:
    """Where square training frames have their fan, as shares of their side: tip, top and depth."""

    tip_x: float = 0.55
    top: float = 0.06
    depth: float = 0.98


ECHONET = Layout()  # the middle of 24 public EchoNet-Dynamic clips


@dataclass(frozen=True)
class Sector:
    """A fan in pixels of a picture: tip, half opening (radians), near and far radius.

    outline (N, 2): x, y of the convex hull of what is bright, which it was found by; `overlap`: how
    well it explains that, intersection over union in 0..1.
    """

    tip_x: float
    tip_y: float
    opening: float
    near: float
    far: float
    outline: Array
    overlap: float

    @property
    def top(self) -> float:
        """Height of the fan's highest points (of the outer ends of its near arc)."""
        return self.tip_y + self.near * float(np.cos(self.opening))

    @property
    def depth(self) -> float:
        """Pixels from the top of the fan to its lowest point."""
        return self.tip_y + self.far - self.top

    def moved(self, x: float, y: float) -> "Sector":
        """The same fan in a picture that reaches `x`, `y` pixels further to the left and up."""
        return replace(self, tip_x=self.tip_x + x, tip_y=self.tip_y + y,
                       outline=self.outline + np.array([x, y]))  # fmt: skip

    def mask(self, height: int, width: int, margin: float = 0.0) -> Mask:
        """Which pixels (height, width) lie in the fan or the outline, grown by `margin` pixels."""
        y, x = np.mgrid[:height, :width].astype(float)
        fan = np.array([self.tip_x, self.tip_y, self.opening, self.near, self.far])
        hull = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(hull, np.rint(self.outline).astype(np.int32), 1)
        grown = cv2.dilate(hull, disk(2 * round(margin) + 1)) if margin >= 1 else hull
        return (beyond(x, y, fan) <= margin) | grown.astype(bool)


def find_sector(picture: Frames, clip: Frames | None = None) -> Sector:
    """The fan in one picture uint8 (H, W, 1 or 3).

    clip: more frames (T, H, W, C) of the same view, if there are; what moves in them is echo, what
    does not is burnt in.
    Raises:
        SectorError: there is none, it is too small, or much of it is coloured (Doppler).
    """
    found = _search(picture, clip)
    if found.depth < ENOUGH * max(picture.shape[:2]):
        # a fan that is a small part of a screen is looked at again, from near
        (left, top), (right, bottom) = found.outline.min(0), found.outline.max(0)
        reach = 0.15 * found.depth
        rows = slice(max(round(top - reach), 0), round(bottom + reach))
        columns = slice(max(round(left - reach), 0), round(right + reach))
        near = _search(picture[rows, columns], None if clip is None else clip[:, rows, columns])
        found = near.moved(columns.start, rows.start)
    if found.depth < LEAST_DEPTH:
        raise SectorError(
            f"the sector is {found.depth:.0f} pixels deep; at least {LEAST_DEPTH} are needed"
        )
    _require_grey(picture, found)
    return found


def _search(picture: Frames, clip: Frames | None) -> Sector:
    scale = WORK / max(picture.shape[:2])
    small = [_small(picture, scale)]
    if clip is not None and len(clip) > 2:
        small.append(_motion(clip, scale))
    best: tuple[float, Array, Mask, Mask] | None = None
    for grey, level in product(small, LEVELS):
        if best is not None and best[0] > SURE:
            break
        bright = bright_part(grey, level)
        if bright is not None:
            part = hull_of(bright)
            fan, overlap = fit_fan(part)
            if best is None or overlap > best[0]:
                best = (overlap, fan, part, bright)
    if best is None:
        raise SectorError(f"{NO_SECTOR}: the picture is even, or holds thin lines only; {ACCEPTED}")
    overlap, fan, part, bright = best
    _judge(part, fan, overlap, sag_of(bright, part, fan))
    x, y, opening, near, far = (float(v) for v in fan)
    outline = cv2.convexHull(np.argwhere(part)[:, ::-1].astype(np.int32))[:, 0]
    return Sector((x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, opening, near / scale,
                  far / scale, (outline + 0.5) / scale - 0.5, overlap)  # fmt: skip


def place_sector(pictures: Frames, sector: Sector, size: int, layout: Layout = ECHONET) -> Frames:
    """Pictures uint8 (T, H, W, C) as square frames (T, size, size, C), the fan where `layout` is.

    Everything outside the fan becomes black. A square picture that has its fan there already is not
    moved, only cleaned and resized.
    """
    height, width = pictures.shape[1:3]
    inside = sector.mask(height, width, MARGIN * sector.depth)
    kept = np.where(inside[..., None], pictures, np.uint8(0))
    if height == width and _lies_in(sector, width, layout):
        return resize(kept, size)
    side = max(round(sector.depth / layout.depth), 1)
    left = round(sector.tip_x + 0.5 - layout.tip_x * side)
    top = round(sector.top + 0.5 - layout.top * side)
    before_x, before_y = max(-left, 0), max(-top, 0)
    after_x, after_y = max(left + side - width, 0), max(top + side - height, 0)
    padded = np.pad(kept, [(0, 0), (before_y, after_y), (before_x, after_x), (0, 0)])
    y, x = top + before_y, left + before_x
    return resize(np.ascontiguousarray(padded[:, y : y + side, x : x + side]), size)


def measure_layout(clips: list[Frames]) -> Layout:
    """The usual place of the fan in square clips (T, S, S, C), e.g. of a run's training set.

    From the clips in which a fan is found; EchoNet-Dynamic's where it is found in none.
    """
    places = []
    for clip in clips:
        try:
            found = find_sector(clip[0], clip)
        except SectorError:
            continue
        places.append(np.array([found.tip_x, found.top, found.depth]) / clip.shape[2])
    if not places:
        return ECHONET
    tip_x, top, depth = np.median(places, axis=0)
    return Layout(float(tip_x), float(top), float(depth))


def _lies_in(sector: Sector, side: int, layout: Layout) -> bool:
    found = np.array([sector.tip_x, sector.top, sector.depth]) / side
    usual = np.array([layout.tip_x, layout.top, layout.depth])
    return bool(np.abs(found - usual).max() < PLACED)


def _small(picture: Frames, scale: float) -> NDArray[np.float32]:
    """Grey levels (h, w) above the background, coloured pixels (marks, Doppler) black."""
    small = cv2.resize(set_channels(picture[None], 3)[0], None, fx=scale, fy=scale,
                       interpolation=cv2.INTER_AREA)  # fmt: skip
    grey = np.where(_is_coloured(small), 0, small.mean(-1)).astype(np.float32)
    return grey - np.quantile(grey, 0.02).astype(np.float32)


def _motion(clip: Frames, scale: float) -> NDArray[np.float32]:
    """How much each place (h, w) changes over time, in levels that compare with brightness."""
    chosen = clip[np.linspace(0, len(clip) - 1, min(len(clip), 16)).astype(int)]
    small = [cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in chosen]
    grey = np.stack(small).reshape(len(small), *small[0].shape[:2], -1).mean(-1)
    return (MOTION_GAIN * grey.std(0)).astype(np.float32)


def _is_coloured(picture: Frames) -> Mask:
    values = picture.astype(np.int16)
    brightest = values.max(-1)
    return brightest - values.min(-1) > COLOURED * brightest.clip(40)


def _judge(part: Mask, fan: Array, overlap: float, sag: float) -> None:
    """Raise a SectorError where the outline is no fan."""
    y, x = np.argwhere(part).T
    if part.sum() / ((np.ptp(x) + 1) * (np.ptp(y) + 1)) > overlap:
        raise SectorError(f"{NO_SECTOR}: the bright part is a rectangle; {ACCEPTED}")
    opening, near, far = fan[2:]
    quarter = 0.75 * near * np.cos(opening) + 0.25 * far  # below the tip
    if 2 * quarter * np.tan(opening) > MOST_FILLED * part.shape[1]:
        raise SectorError(f"{NO_SECTOR}: the picture is bright up to its edges; {ACCEPTED}")
    if sag > SAGGING:
        raise SectorError(f"{NO_SECTOR}: it is the sector of a curved array; {ACCEPTED}")
    if overlap_of(part, ellipse_of(part)) > overlap + ROUNDER:
        raise SectorError(f"{NO_SECTOR}: the bright part is round; {ACCEPTED}")
    if fit_fan(part[::-1])[1] > max(overlap + 0.05, LEAST_OVERLAP):
        raise SectorError(f"{NO_SECTOR}: it stands on its head, tip below; {ACCEPTED}")
    if overlap < LEAST_OVERLAP:
        raise SectorError(
            f"{NO_SECTOR}: the outline agrees to {100 * overlap:.0f} % with a fan, "
            f"{100 * LEAST_OVERLAP:.0f} % are needed; {ACCEPTED}"
        )


def _require_grey(picture: Frames, sector: Sector) -> None:
    if picture.shape[-1] == 1:
        return
    inside = sector.mask(*picture.shape[:2]) & (picture.max(-1) > 40)
    share = float((_is_coloured(picture) & inside).sum() / max(inside.sum(), 1))
    if share > MOST_COLOURED:
        raise SectorError(
            f"{100 * share:.0f} % of the sector is coloured (Doppler?); "
            "a grey (B-mode) picture is accepted"
        )
