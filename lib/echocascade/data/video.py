"""Clips as files, as frames and as model input: the only place where one becomes the other.

Frames are uint8 (T, H, W, C); a model sees float32 (C, T, H, W) in [-1, 1]. Reading is in
`decode`, writing in `encode`, time, space and colour in `frames`; this module is their front.
"""

import numpy as np
import torch
from einops import rearrange, reduce
from torch.nn import functional as F

from echocascade.data.decode import VideoError, read_frames, read_video, video_fps
from echocascade.data.encode import encode_mp4, write_avi, write_mp4
from echocascade.data.frames import Frames, frame_strip, resample_time, resize, set_channels

__all__ = [
    "Frames",
    "VideoError",
    "encode_mp4",
    "enlarge",
    "frame_strip",
    "read_frames",
    "read_video",
    "resample_time",
    "resize",
    "set_channels",
    "shrink",
    "to_model",
    "to_uint8",
    "video_fps",
    "write_avi",
    "write_mp4",
]


def to_model(frames: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 (T, H, W, C) or (B, T, H, W, C) to float32 (C, T, H, W) or (B, C, T, H, W) in [-1, 1].

    A tensor stays on its device; an array becomes a CPU tensor. `to_uint8` is its exact inverse.
    """
    if isinstance(frames, np.ndarray):
        # A store hands out read-only views; torch wants memory that it may write.
        frames = torch.from_numpy(frames if frames.flags.writeable else frames.copy())
    if frames.dtype != torch.uint8 or frames.ndim not in (4, 5):
        raise ValueError(
            f"frames are {frames.dtype} {tuple(frames.shape)}; uint8 (T, H, W, C) or "
            "(B, T, H, W, C) is needed"
        )
    video = rearrange(frames, "... t h w c -> ... c t h w").float()
    return video.div_(127.5).sub_(1).contiguous()


def to_uint8(video: torch.Tensor) -> Frames:
    """Float (C, T, H, W) or (B, C, T, H, W) in [-1, 1] to uint8 (T, H, W, C) or (B, T, H, W, C).

    Values outside [-1, 1] are clipped, as a sampler overshoots a little; NaN is a ValueError.
    """
    if not video.is_floating_point() or video.ndim not in (4, 5):
        raise ValueError(
            f"video is {video.dtype} {tuple(video.shape)}; floating point (C, T, H, W) or "
            "(B, C, T, H, W) is needed"
        )
    video = video.detach().float()
    if bool(torch.isnan(video).any()):
        raise ValueError("video holds NaN; finite values are needed")
    levels = video.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).cpu()
    return rearrange(levels, "... c t h w -> ... t h w c").contiguous().numpy()


def shrink(video: torch.Tensor, size: int, n_frames: int) -> torch.Tensor:
    """(B, C, T, H, W) to (B, C, n_frames, size, size): every k-th frame, pixels averaged.

    Frames are picked, not averaged: frame i of the result is the heart at the same instant.
    """
    step, side = video.shape[2] // n_frames, video.shape[-1] // size
    if step * n_frames != video.shape[2] or side * size != video.shape[-1]:
        raise ValueError(
            f"cannot shrink {video.shape[2]} frames of {video.shape[-1]} px to {n_frames} frames "
            f"of {size} px: both must be whole fractions"
        )
    video = video[:, :, ::step]
    if side == 1:
        return video
    return reduce(video, "b c t (h p) (w q) -> b c t h w", "mean", p=side, q=side)


def enlarge(video: torch.Tensor, size: int, n_frames: int, cubic: bool = False) -> torch.Tensor:
    """(B, C, T, H, W) to (B, C, n_frames, size, size), linear in space; in time linear too or, if
    `cubic`, by the cubic convolution of the four frames around (Keys81).

    Frame i stays at its instant; the frames after the last known one repeat it.
    """
    t = video.shape[2]
    if t != n_frames:
        position = (torch.arange(n_frames, device=video.device) * (t / n_frames)).clamp_max(t - 1)
        left = position.floor().long()
        weight = (position - left).to(video.dtype)[:, None, None]
        a, b, c, d = (video[:, :, (left + i).clamp(0, t - 1)] for i in (-1, 0, 1, 2))
        video = _keys(a, b, c, d, weight) if cubic else torch.lerp(b, c, weight)
    if video.shape[-1] == size:
        return video
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    frames = F.interpolate(frames, size=(size, size), mode="bilinear", align_corners=False)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=video.shape[0])


def _keys(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    """Between b and c, a share `at` of the way: exact for quadratics."""
    bend = 2 * a - 5 * b + 4 * c - d
    twist = 3 * (b - c) + d - a
    return b + 0.5 * at * (c - a + at * (bend + at * twist))
