"""Layers of the video U-Net in channels-last order: every activation is (B, T, H, W, C).

Channels-last because convolutions in this order are the fastest on CPUs and GPUs alike, and
because a spatial and a temporal convolution then read the same memory through two views.
PyTorch's own group norm is slow in this order, hence `AdaptiveGroupNorm`.
"""

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class Pointwise(nn.Linear):
    """A linear map of the channels: (..., C) -> (..., C').

    On the CPU it is computed in float32 as a 1 x 1 convolution, which on processors that are not
    Intel's is more than twice as fast as the matrix product of PyTorch's builds.
    """

    def forward(self, input: Tensor) -> Tensor:
        x = input
        plain = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
        if not (plain and x.device.type == "cpu"):
            return F.linear(x, self.weight, self.bias)
        n = math.prod(x.shape[:-1])
        # a batch of 16 takes the fast convolution with one thread too
        rows = x.reshape(16 if n % 16 == 0 else 1, -1, 1, x.shape[-1])
        maps = rearrange(rows, "b h w c -> b c h w")
        y = F.conv2d(maps, self.weight[:, :, None, None], self.bias)
        return rearrange(y, "b c h w -> b h w c").reshape(*x.shape[:-1], -1)


class SpatialConv(nn.Module):
    """(1, k, k) convolution: each frame on its own. (B, T, H, W, C) -> (B, T, H, W, C')."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, gain: float = 1.0):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.conv.weight.data.mul_(gain)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        frames = rearrange(x, "b t h w c -> (b t) c h w")
        return rearrange(self.conv(frames), "(b t) c h w -> b t h w c", b=x.shape[0])

    def of_part(self, x: Tensor, channels: Tensor, bias: bool) -> Tensor:
        """What the input channels with these numbers add to the result, with the bias or not.

        The results of all parts, one of them with the bias, add up to `forward`'s.
        """
        frames = rearrange(x, "b t h w c -> (b t) c h w")
        weight = self.conv.weight.index_select(1, channels)
        y = F.conv2d(
            frames, weight, self.conv.bias if bias else None, padding=self.conv.padding
        )  # fmt: skip
        return rearrange(y, "(b t) c h w -> b t h w c", b=x.shape[0])


class TemporalConv(nn.Module):
    """(k, 1, 1) convolution along time, zero at initialisation: use it as a residual."""

    def __init__(self, channels: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (kernel, 1), padding=(kernel // 2, 0))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        lines = rearrange(x, "b t h w c -> b c t (h w)")
        return rearrange(self.conv(lines), "b c t (h w) -> b t h w c", h=x.shape[2])


def _sum_over_space_and_time(x: Tensor) -> Tensor:
    """(B, T, N, C) -> (B, C) in float32: in x's dtype over space, in float32 over time.

    A bfloat16 sum accumulates in float32 and rounds once a frame; asking `sum` for a float32
    result would first copy the whole tensor.
    """
    return x.sum(2).float().sum(1)


class _ChannelsLastGroupNorm(torch.autograd.Function):
    """Group norm of x (B, T, N, C) with a scale and a shift per sample and channel (B, C).

    Written out because both passes then are a handful of streaming operations over contiguous
    memory. Statistics in float32, result in x's dtype.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:  # type: ignore[no-untyped-def]
        per_group = x.shape[3] // groups
        n = x.shape[1] * x.shape[2] * per_group

        def spread(total: Tensor) -> Tensor:
            """Mean over each group, repeated for its channels: (B, C) -> (B, C)."""
            grouped = total.unflatten(1, (groups, per_group)).sum(-1) / n
            return grouped.repeat_interleave(per_group, 1)

        with torch.autocast(x.device.type, enabled=False):
            mean = spread(_sum_over_space_and_time(x))
            variance = spread(_sum_over_space_and_time(x * x)) - mean * mean
            inverse = torch.rsqrt(variance.clamp_min(0) + 1e-5)
            slope = (inverse * scale).to(x.dtype)[:, None, None]
            offset = (shift - mean * inverse * scale).to(x.dtype)[:, None, None]
            ctx.save_for_backward(x, mean, inverse, scale)
            ctx.spread = spread
            return torch.addcmul(offset, x, slope)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        x, mean, inverse, scale = ctx.saved_tensors
        d_shift = _sum_over_space_and_time(grad)
        d_scale = inverse * (_sum_over_space_and_time(grad * x) - mean * d_shift)
        # d/dx of group norm: inverse (scale dy - mean(scale dy) - xhat mean(scale dy xhat))
        along_x = -inverse.square() * ctx.spread(d_scale * scale)
        constant = -inverse * ctx.spread(d_shift * scale) - along_x * mean
        dx = torch.addcmul(
            constant.to(x.dtype)[:, None, None], x, along_x.to(x.dtype)[:, None, None]
        )
        dx.addcmul_(grad, (inverse * scale).to(x.dtype)[:, None, None])
        return dx, d_scale, d_shift, None


class AdaptiveGroupNorm(nn.Module):
    """Group norm over (T, H, W) whose scale and shift come from an embedding (B, E).

    With `embedding` 0 the scale and shift are learned constants. x: (B, T, H, W, C).
    """

    def __init__(self, channels: int, embedding: int = 0, groups: int = 8):
        super().__init__()
        self.groups = math.gcd(groups, channels)
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        scale, shift = self.scale.expand(x.shape[0], -1), self.shift.expand(x.shape[0], -1)
        if self.modulation is not None:
            if embedding is None:
                raise ValueError("this norm is adaptive: it needs an embedding (B, E), got none")
            d_scale, d_shift = self.modulation(embedding).float().chunk(2, dim=-1)
            scale, shift = scale * (1 + d_scale), shift + d_shift
        flat = rearrange(x, "b t h w c -> b t (h w) c")
        y = _ChannelsLastGroupNorm.apply(flat, scale.float(), shift.float(), self.groups)
        return y.view_as(x)  # type: ignore[union-attr]


class FourierFeatures(nn.Module):
    """sin and cos of a scalar at fixed, log-spaced frequencies: (B,) -> (B, 2 n)."""

    frequencies: Tensor

    def __init__(self, n: int = 16, lowest: float = 0.5, highest: float = 16.0):
        super().__init__()
        frequencies = torch.logspace(math.log10(lowest), math.log10(highest), n) * 2 * math.pi
        self.register_buffer("frequencies", frequencies)

    def forward(self, scalar: Tensor) -> Tensor:
        angle = scalar.float()[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ResidualBlock(nn.Module):
    """norm, SiLU, space conv; adaptive norm, SiLU, time conv, space conv; plus the input.

    The time convolution adds to its input, so leaving it out (`time_aware=False`) leaves an
    image network.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding: int, kernel_t: int = 3):
        super().__init__()
        self.norm_in = AdaptiveGroupNorm(in_channels)
        self.conv_in = SpatialConv(in_channels, out_channels)
        self.norm_out = AdaptiveGroupNorm(out_channels, embedding)
        self.conv_time = TemporalConv(out_channels, kernel_t)
        self.conv_out = SpatialConv(out_channels, out_channels, gain=0.1)
        self.shortcut = (
            Pointwise(in_channels, out_channels, bias=False)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor, time_aware: bool = True) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = F.silu(self.norm_out(h, embedding))
        if time_aware:
            h = h + self.conv_time(h)
        return self.shortcut(x) + self.conv_out(h)


class Downsample(nn.Module):
    """Halve the space: 2 x 2 pixels to channels, then a linear map."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.project = Pointwise(4 * in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(rearrange(x, "b t (h p) (w q) c -> b t h w (p q c)", p=2, q=2))


class Upsample(nn.Module):
    """Double the space: a linear map, then channels to 2 x 2 pixels."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.project = Pointwise(in_channels, 4 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.project(x), "b t h w (p q c) -> b t (h p) (w q) c", p=2, q=2)
