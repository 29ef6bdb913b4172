"""Pictures of several clips side by side, drawn as pixels: for files that need no browser."""

import cv2
import numpy as np
from einops import rearrange

from echocascade.data.frames import Frames, set_channels
from echocascade.studies.stills import Made

COLUMNS = 8
SIDE = 168  # pixels of one frame
LABEL_WIDTH, HEADER = 150, 34
INK, QUIET, GROUND = (232, 236, 240), (150, 160, 170), (12, 15, 19)


def comparison_strip(made: Made, columns: int = COLUMNS) -> Frames:
    """One RGB picture: a row a clip, the conditioning frame first, then frames in even steps."""
    rows = []
    for ask, video, measured, stick in zip(
        made.asks, made.videos, made.lvef_measured, made.stick, strict=True
    ):
        places = np.rint(np.linspace(0, len(video) - 1, columns)).astype(int)
        frames = np.concatenate([made.frame[None], video[places]])
        shown = np.stack([_enlarged(f) for f in set_channels(frames, 3)])
        lines = [f"LVEF {ask.lvef_percent:g} %", f"seed {ask.seed}"]
        if np.isfinite(measured):
            lines.append(f"regressor {measured:.0f} %")
        if np.isfinite(stick.lvef_percent):
            lines.append(f"stick {stick.lvef_percent:.0f} %")
        rows.append(np.hstack([_label(lines), rearrange(shown, "t h w c -> h (t w) c")]))
    picture = np.vstack(rows)
    return np.vstack([_header(picture.shape[1], len(made.videos[0]) / made.fps), picture])


def _enlarged(frame: Frames) -> Frames:
    shrinking = frame.shape[0] > SIDE
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(frame, (SIDE, SIDE), interpolation=method).astype(np.uint8)


def _label(lines: list[str]) -> Frames:
    field = np.full((SIDE, LABEL_WIDTH, 3), GROUND, np.uint8)
    for i, line in enumerate(lines):
        _write(field, line, (10, 34 + 26 * i), INK if i == 0 else QUIET, 0.62 if i == 0 else 0.5)
    return field


def _header(width: int, seconds: float) -> Frames:
    field = np.full((HEADER, width, 3), GROUND, np.uint8)
    _write(field, "SYNTHETIC", (10, 23), (240, 137, 125), 0.55)
    _write(field, "image", (LABEL_WIDTH + 8, 23), QUIET, 0.5)
    _write(field, f"frames over {seconds:g} s", (LABEL_WIDTH + SIDE + 8, 23), QUIET, 0.5)
    return field


def _write(
    field: Frames, text: str, place: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    cv2.putText(field, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
