"""Networks of the LVEF regressor: (2+1)D convolutions over a clip, pooled to one feature vector.

torchvision's R(2+1)D-18 as the paper's judge has it (Reynaud23 Sec. 3, Ouyang20), and small ones of
the same family that a CPU trains in minutes.
"""

from itertools import pairwise
from typing import Literal

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18

STRIDED_STEM_FROM = 48  # pixels
MOTION_GAIN = 3.0  # still and moving part of a clip then vary alike
BATCHNORM_MOMENTUM = 0.05  # half of PyTorch's: batches are small and the step size is large

Normalisation = Literal["kinetics", "echonet", "unit"]
# Mean and standard deviation of intensities in [0, 1] that R(2+1)D-18 weights were trained with.
NORMALISATIONS: dict[Normalisation, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),  # torchvision
    # EchoNet-Dynamic's TRAIN clips, on which its own training normalises; its checkpoint does not
    # keep them. 32.7 and 50.0 of 255, to the digit that is certain (a random subset sets them).
    "echonet": ((0.128,) * 3, (0.196,) * 3),
    "unit": ((0.0,) * 3, (1.0,) * 3),  # the paper's authors: intensities as they are
}


class FactorisedConv(nn.Module):
    """(1,3,3) then (3,1,1) convolution and batch norm. (B,T,H,W,C) -> (B,T',H',W',C').

    Both are 2D convolutions on views of channels-last memory: 1.5 to 3 times as fast on a CPU as
    the same layer by Conv3d.
    """

    def __init__(self, in_channels: int, out_channels: int, *, space: int = 1, time: int = 1):
        super().__init__()
        self.spatial = nn.Conv2d(in_channels, out_channels, 3, space, 1, bias=False)
        self.temporal = nn.Conv2d(out_channels, out_channels, (3, 1), (time, 1), (1, 0), bias=False)
        self.norm = nn.BatchNorm2d(out_channels, momentum=BATCHNORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        frames = self.spatial(rearrange(x, "b t h w c -> (b t) c h w"))
        height = frames.shape[2]
        lines = rearrange(frames, "(b t) c h w -> b c t (h w)", b=batch)
        lines = self.norm(self.temporal(lines))
        return rearrange(lines, "b c t (h w) -> b t h w c", h=height)


class ResidualBlock(nn.Module):
    """Two factorised convolutions beside a (strided, projected) identity."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        stride = {"space": self.stride, "time": self.stride}
        self.first = FactorisedConv(in_channels, out_channels, **stride)
        self.second = FactorisedConv(out_channels, out_channels)
        same = in_channels == out_channels
        self.identity = nn.Identity() if same else nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(nn.functional.relu(self.first(x)))
        s = self.stride
        return nn.functional.relu(self.identity(x[:, ::s, ::s, ::s]) + residual)


class SmallBackbone(nn.Module):
    """Stem and residual (2+1)D blocks, pooled over space, then by mean, max and min over time.

    (B, C, T, H, W) in [-1, 1] -> (B, 3 * last width). The stem also sees each frame's difference
    from the clip's mean frame: what moves is then there from the first step (on 900 phantoms at
    28 x 28 x 16, 300 steps: R2 0.91 with it and 0.54 without).
    """

    def __init__(self, widths: tuple[int, ...], channels: int, strided_stem: bool):
        super().__init__()
        self.stem = FactorisedConv(2 * channels, widths[0], space=2 if strided_stem else 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.n_features = 3 * widths[-1]

    def forward(self, video: Tensor) -> Tensor:
        motion = MOTION_GAIN * (video - video.mean(dim=2, keepdim=True))
        both = rearrange([video, motion], "two b c t h w -> b t h w (two c)").contiguous()
        x = nn.functional.relu(self.stem(both))
        frames = reduce(self.blocks(x), "b t h w c -> b t c", "mean")
        return torch.cat([frames.mean(1), frames.amax(1), frames.amin(1)], dim=1)


class KineticsBackbone(nn.Module):
    """torchvision's R(2+1)D-18 without its last layer. (B, C, T, H, W) in [-1, 1] -> (B, 512).

    A grey clip is repeated to three channels; `normalisation` is the one of the weights' own
    training, so that published weights load unchanged.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalisation: Normalisation = "kinetics") -> None:
        super().__init__()
        self.net = r2plus1d_18(weights=None)
        self.n_features = self.net.fc.in_features
        self.net.fc = nn.Identity()
        self.register_buffer("mean", torch.zeros(3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.ones(3, 1, 1, 1), persistent=False)
        self.normalise_as(normalisation)

    def normalise_as(self, normalisation: Normalisation) -> None:
        """Take inputs from now on as the weights of this name expect them."""
        mean, std = (torch.tensor(values) for values in NORMALISATIONS[normalisation])
        self.mean.copy_(rearrange(mean, "c -> c 1 1 1"))
        self.std.copy_(rearrange(std, "c -> c 1 1 1"))

    def forward(self, video: Tensor) -> Tensor:
        if video.shape[1] == 1:
            video = repeat(video, "b 1 t h w -> b c t h w", c=3)
        return self.net(((video + 1) / 2 - self.mean) / self.std)
