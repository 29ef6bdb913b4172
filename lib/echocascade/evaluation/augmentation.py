"""How training clips are changed, so that the judge reads motion and not the clips themselves."""

import torch
from torch import Tensor, nn

LARGEST_SHIFT = 1 / 14  # of the frame's side: 4 of 56 pixels
MOST_NOISE = 0.15  # standard deviation, on the scale of [-1, 1]


def shift_randomly(video: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip of (B, C, T, H, W) moved by up to 1/14 of its side; the new border is black.

    No mirroring: left and right of a four-chamber view are different chambers.
    """
    height, width = video.shape[-2:]
    most = int(LARGEST_SHIFT * width)
    padded = nn.functional.pad(video, (most, most, most, most), value=-1.0)
    offsets = torch.randint(0, 2 * most + 1, (len(video), 2), generator=generator).tolist()
    moved = [
        clip[..., y : y + height, x : x + width]
        for clip, (y, x) in zip(padded, offsets, strict=True)
    ]
    return torch.stack(moved)


def roughen(video: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip of (B, C, T, H, W) less sharp in time and space by random shares, and noisier.

    The judge is to read motion: without this it learns the speckle of the training clips so well
    that a generated clip, a little softer or noisier, is read several points too high or too low.
    Every second frame is drawn toward the mean of its neighbours, as in a clip of half the frame
    rate: a stage that fills such frames in would otherwise be read several points too low.
    """
    shape = (len(video), 1, 1, 1, 1)
    share, level, halved = torch.rand((3, *shape), generator=generator)
    video = torch.lerp(video, _at_half_the_rate(video), halved)
    soft = nn.functional.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1), count_include_pad=False)
    noise = torch.randn(video.shape, generator=generator)
    return (torch.lerp(video, soft, share) + MOST_NOISE * level**2 * noise).clamp(-1, 1)


def _at_half_the_rate(video: Tensor) -> Tensor:
    """(B, C, T, H, W) with every second frame replaced by the mean of those beside it."""
    halved = video.clone()
    odd, even = halved[:, :, 1::2], video[:, :, ::2]
    after = torch.cat([even[:, :, 1:], even[:, :, -1:]], dim=2)[:, :, : odd.shape[2]]
    odd.copy_((even[:, :, : odd.shape[2]] + after) / 2)
    return halved
