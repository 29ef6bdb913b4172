"""VolumeTracings for generated clips, drawn by the segmentation stick and by no reader.

EchoNet-Dynamic's loader leaves out a clip that has fewer than two traced frames, and takes the
first of them for end-systole and the last for end-diastole (Ouyang20); without tracings it would
find none of the generated clips.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from echocascade.data.echonet import TRACING_COLUMNS
from echocascade.evaluation.stick import StickReading

N_DISKS = 20
DECIMALS = 4


def trace_contour(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lines (21, 4) of X1, Y1, X2, Y2 in pixels: the long axis from the apex, then the disks.

    contour: (K, 2) closed, x and y in pixels, from the apex down the right wall and up the left.
    The axis runs from the apex through the middle of the area to the base.
    """
    apex = contour[0]
    axis = _centre(contour) - apex
    axis /= np.hypot(*axis)
    across = np.array([axis[1], -axis[0]])
    u, v = (contour - apex) @ across, (contour - apex) @ axis
    base = v.max()
    half = len(contour) // 2
    left = np.r_[0, np.arange(len(contour) - 1, half - 1, -1)]
    heights = (np.arange(N_DISKS) + 0.5) / N_DISKS * base
    walls = [
        np.interp(heights, np.maximum.accumulate(v[side]), u[side])
        for side in (left, np.arange(half + 1))
    ]
    ends = [apex + heights[:, None] * axis + wall[:, None] * across for wall in walls]
    disks = np.concatenate(ends, axis=1)
    return np.round(np.concatenate([[[*apex, *(apex + base * axis)]], disks]), DECIMALS)


def trace_clip(file_name: str, reading: StickReading) -> pd.DataFrame:
    """Rows of VolumeTracings.csv for one clip: end-systole, then end-diastole."""
    rows = []
    for frame in (reading.esv_frame, reading.edv_frame):
        lines = trace_contour(reading.contours[frame])
        rows += [(f"{file_name}.avi", *line, frame) for line in lines.tolist()]
    return pd.DataFrame(rows, columns=list(TRACING_COLUMNS))


def traceable(reading: StickReading) -> bool:
    """Whether the stick found a ventricle that moves: two frames can be traced."""
    return bool(np.isfinite(reading.lvef_percent)) and reading.esv_frame != reading.edv_frame


def _centre(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of the enclosed area (2,)."""
    x, y = contour.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    sums = [((c + np.roll(c, -1)) * cross).sum() for c in (x, y)]
    return np.array(sums) / (3 * cross.sum())
