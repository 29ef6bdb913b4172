"""What can be done to the frames of a clip, as uint8 arrays (T, H, W, C): no files, no networks."""

import math

import cv2
import numpy as np
from einops import rearrange, repeat
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

# BT.601, the luma of JPEG: grey made here equals the Y plane that a Motion-JPEG decoder hands out.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def check_frames(frames: Frames) -> Frames:
    """`frames` itself if it is uint8 (T, H, W, 1 or 3) with at least one frame, else ValueError."""
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        found = getattr(frames, "dtype", type(frames).__name__)
        raise ValueError(f"frames are {found}; a uint8 array (T, H, W, C) is needed")
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3) or 0 in frames.shape:
        raise ValueError(
            f"frames have shape {frames.shape}; (T, H, W, C) with C 1 or 3 and no empty axis is "
            "needed"
        )
    return frames


def check_fps(fps: float, name: str = "fps") -> float:
    """`fps` itself if it is finite and positive, else ValueError."""
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"{name} is {fps}; a finite number above 0 is needed")
    return fps


def resample_time(frames: NDArray, source_fps: float, target_fps: float) -> NDArray:
    """The clip at another frame rate, by linear interpolation in time.

    `frames` (T, ...) of any dtype, frame i at time i / source_fps. Frames of the result stand at
    k / target_fps for every k that does not pass the last frame: nothing is invented after it, so
    a motion that is linear in time stays linear to the end. The result has the dtype of `frames`
    (integers rounded to nearest) and floor((T - 1) target_fps / source_fps) + 1 frames.
    """
    check_fps(source_fps, "source_fps")
    check_fps(target_fps, "target_fps")
    if len(frames) == 0:
        raise ValueError("a clip without frames cannot be resampled")
    if source_fps == target_fps:
        return frames.copy()
    last = len(frames) - 1
    # The margin keeps a frame that falls on the last one, up to float rounding of the quotient.
    n_frames = math.floor(last * target_fps / source_fps + 1e-6) + 1
    position = np.minimum(np.arange(n_frames) * (source_fps / target_fps), last)
    before = np.minimum(position.astype(np.int64), max(last - 1, 0))
    after = np.minimum(before + 1, last)
    real = np.float64 if frames.dtype == np.float64 else np.float32
    weight = (position - before).astype(real).reshape(-1, *[1] * (frames.ndim - 1))
    mixed = frames[after].astype(real)
    start = frames[before].astype(real)
    mixed -= start
    mixed *= weight
    mixed += start
    if np.issubdtype(frames.dtype, np.integer):
        np.rint(mixed, out=mixed)
    return mixed.astype(frames.dtype)


def resize(frames: Frames, size: int) -> Frames:
    """Square frames (T, size, size, C) from square frames: area when shrinking, else linear.

    Area averaging uses every pixel, so speckle is smoothed and not aliased. Frames that are not
    square raise ValueError: squeezing one axis would change the shape of the ventricle.
    """
    check_frames(frames)
    if size < 1:
        raise ValueError(f"size is {size}; at least 1 pixel is needed")
    height, width, channels = frames.shape[1:]
    if height != width:
        raise ValueError(
            f"frames are {width} x {height} pixels; square frames are needed, since squeezing "
            "them would change the anatomy"
        )
    if height == size:
        return frames
    method = cv2.INTER_AREA if size < height else cv2.INTER_LINEAR
    out = np.empty((len(frames), size, size, channels), dtype=np.uint8)
    for source, target in zip(frames, out, strict=True):
        target[...] = cv2.resize(source, (size, size), interpolation=method).reshape(target.shape)
    return out


def set_channels(frames: Frames, channels: int) -> Frames:
    """(T, H, W, C) as grey (1; BT.601 luma) or RGB (3; grey repeated)."""
    check_frames(frames)
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}; 1 (grey) or 3 (RGB) is allowed")
    if frames.shape[-1] == channels:
        return frames
    if channels == 3:
        return repeat(frames, "t h w 1 -> t h w c", c=3)
    grey = np.rint(frames.astype(np.float32) @ LUMA).astype(np.uint8)
    return rearrange(grey, "t h w -> t h w 1")


def frame_strip(frames: Frames, columns: int) -> Frames:
    """One RGB picture (H, columns * W, 3) of `columns` frames, evenly spaced from first to last."""
    check_frames(frames)
    if columns < 1:
        raise ValueError(f"columns is {columns}; at least 1 is needed")
    chosen = np.rint(np.linspace(0, len(frames) - 1, columns)).astype(int)
    return rearrange(set_channels(frames[chosen], 3), "t h w c -> h (t w) c")
