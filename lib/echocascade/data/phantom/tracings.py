"""VolumeTracings as EchoNet-Dynamic writes them: the long axis, then twenty disks.

Volumes by the single-plane method of disks (Ouyang20, after the guidelines of the American
Society of Echocardiography): V = pi/4 * sum(d_i^2) * L / n.
"""

import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.geometry import N_DISKS, Pose, Ventricle

FloatArray = NDArray[np.float64]

# Eight decimals, as the real table prints; rounding here makes file and memory the same numbers.
DECIMALS = 8


def trace(ventricle: Ventricle, pose: Pose, c: FloatArray) -> FloatArray:
    """Lines (T, 21, 4) of X1, Y1, X2, Y2 in pixels: long axis from the apex, then the disks.

    pose: the T frames to trace; c (T,): their contraction.
    """
    height = (np.arange(N_DISKS) + 0.5) / N_DISKS
    length = ventricle.length * ventricle.shortening(c)[:, None]
    half = np.sqrt(ventricle.radius_squared(height)) * (
        1.0 - c[:, None] * ventricle.contractility(height)
    )
    middle = ventricle.centre(height)[None, :]
    v = length * height[None, :]
    left, right = pose.to_image(middle - half, v), pose.to_image(middle + half, v)
    apex = pose.to_image(np.zeros_like(length), np.zeros_like(length))
    base = pose.to_image(np.zeros_like(length), length)
    starts = np.concatenate([np.stack(apex, -1), np.stack(left, -1)], axis=1)
    ends = np.concatenate([np.stack(base, -1), np.stack(right, -1)], axis=1)
    return np.round(np.concatenate([starts, ends], axis=-1), DECIMALS)


def disk_volume(lines: FloatArray) -> FloatArray:
    """Volume in px^3 of traced lines (..., 1 + n, 4), long axis first."""
    size = np.hypot(lines[..., 2] - lines[..., 0], lines[..., 3] - lines[..., 1])
    n_disks = lines.shape[-2] - 1
    return np.pi / 4 * (size[..., 1:] ** 2).sum(-1) * size[..., 0] / n_disks
