"""Clips seen at a slower frame rate and brought back, as a judge meets generated ones.

A regressor made for 64 frames over two seconds reads 16 frames over two seconds after they were
enlarged in time. The motion between them is gone: to such a judge that is another kind of clip.
"""

import torch
from torch import Tensor

from echocascade.data.video import enlarge


def at_rate(video: Tensor, fps: float, rate: float) -> Tensor:
    """Clips (B, C, T, H, W) at `fps` as they look after `rate` frames a second: same shape.

    Frames are picked, then filled in linearly on the path that enlarges generated clips.
    """
    step = round(fps / rate)
    if step < 1 or abs(step * rate - fps) > 1e-6 or video.shape[2] % step:
        raise ValueError(
            f"clips of {video.shape[2]} frames at {fps:g} fps cannot be seen at {rate:g} fps: "
            "whole steps are needed"
        )
    if step == 1:
        return video
    return enlarge(video[:, :, ::step], video.shape[-1], video.shape[2])


def at_random_rates(
    video: Tensor, fps: float, rates: tuple[float, ...], generator: torch.Generator
) -> Tensor:
    """Each clip of (B, C, T, H, W) at `fps` or one of `rates`, each as likely as the others."""
    if not rates:
        return video
    all_rates = (fps, *rates)
    chosen = torch.randint(len(all_rates), (len(video),), generator=generator).tolist()
    clips = [
        at_rate(clip, fps, all_rates[i]) for clip, i in zip(video.split(1), chosen, strict=True)
    ]
    return torch.cat(clips)
