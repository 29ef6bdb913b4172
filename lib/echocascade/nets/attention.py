"""Attention along time and over space with conditioning tokens, for (B, T, H, W, C) tensors."""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from echocascade.nets.layers import AdaptiveGroupNorm, Pointwise

# Rows of a batch that one fused CUDA kernel takes: the grid of a launch is 65535 wide.
_MAX_ROWS = 32768


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(d) + bias) v over (N, heads, length, d); bias: (heads, length, length).

    Short sequences on the CPU are two small matrix products a row. In bfloat16 those of heads
    narrower than 64 are several times slower than in float32, and are computed in float32.
    """
    with torch.autocast(q.device.type, enabled=False):
        if q.device.type == "cpu" and q.shape[-2] <= 128:
            return _attend_short(q, k, v, bias)
        mask = None if bias is None else bias.to(v.dtype)
        if not q.is_cuda or len(q) <= _MAX_ROWS:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        rows = zip(q.split(_MAX_ROWS), k.split(_MAX_ROWS), v.split(_MAX_ROWS), strict=True)
        parts = [F.scaled_dot_product_attention(*row, attn_mask=mask) for row in rows]
        return torch.cat(parts)


def _attend_short(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    scale = q.shape[-1] ** -0.5
    dtype = v.dtype if q.shape[-1] >= 64 else torch.float32
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    weights = ((q * scale) @ k.transpose(-2, -1)).float()
    weights = weights if bias is None else weights + bias
    return weights.softmax(-1).to(dtype) @ v


def _by_distance(table: Tensor, t: int) -> Tensor:
    """Bias (heads, t, t) between frames from a table (heads, 2 m + 1) by their distance in time.

    Distances beyond m share the last entry.
    """
    furthest = table.shape[1] // 2
    steps = torch.arange(t, device=table.device)
    distance = (steps[None] - steps[:, None]).clamp(-furthest, furthest)
    return table[:, distance + furthest].float()


class TemporalAttention(nn.Module):
    """Every pixel attends over its own T frames, with a learned bias per time distance.

    `max_frames` bounds the table of relative positions; distances beyond it share the last entry.
    """

    def __init__(self, channels: int, heads: int = 4, max_frames: int = 64):
        super().__init__()
        self.heads = heads
        self.norm = AdaptiveGroupNorm(channels)
        self.qkv = Pointwise(channels, 3 * channels, bias=False)
        self.out = Pointwise(channels, channels)
        self.relative = nn.Parameter(torch.zeros(heads, 2 * max_frames + 1))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, t, h = x.shape[:3]
        pixels = rearrange(self.norm(x), "b t h w c -> (b h w) t c").contiguous()
        qkv = rearrange(self.qkv(pixels), "p t (k n d) -> k p n t d", k=3, n=self.heads)
        y = _attend(qkv[0], qkv[1], qkv[2], _by_distance(self.relative, t))
        y = self.out(rearrange(y, "p n t d -> p t (n d)").to(x.dtype))
        return x + rearrange(y, "(b h w) t c -> b t h w c", b=b, h=h)


class SpatialAttention(nn.Module):
    """Every frame attends over its own pixels and over conditioning tokens.

    The tokens are made from the embedding (B, E) of the noise level and the clinical parameters;
    they join keys and values, so one softmax weighs anatomy against conditioning.
    """

    def __init__(self, channels: int, embedding: int, heads: int = 4, tokens: int = 4):
        super().__init__()
        self.heads, self.tokens = heads, tokens
        self.norm = AdaptiveGroupNorm(channels)
        self.qkv = Pointwise(channels, 3 * channels, bias=False)
        self.conditioning = nn.Linear(embedding, 2 * tokens * channels)
        self.out = Pointwise(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        t, h = x.shape[1], x.shape[2]
        qkv = rearrange(
            self.qkv(self.norm(x)), "b t h w (k n d) -> k (b t) n (h w) d", k=3, n=self.heads
        )
        tokens = repeat(
            self.conditioning(embedding).to(qkv.dtype), "b (k m n d) -> k (b t) n m d",
            k=2, m=self.tokens, n=self.heads, t=t,
        )  # fmt: skip
        k = torch.cat([qkv[1], tokens[0]], dim=-2)
        v = torch.cat([qkv[2], tokens[1]], dim=-2)
        y = rearrange(_attend(qkv[0], k, v), "(b t) n (h w) d -> b t h w (n d)", t=t, h=h)
        return x + self.out(y.to(x.dtype))


class FrameContext(nn.Module):
    """Every frame as a whole attends over all frames, and adds one vector to all its pixels.

    A frame is its mean over the pixels, joined with the embedding (B, E) of the noise level and the
    clinical parameters. What all of a heart has in common at an instant (how far it is contracted)
    is told apart from noise only by all pixels together.
    """

    def __init__(self, channels: int, embedding: int, heads: int = 4, max_frames: int = 64):
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm_out = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.conditioning = nn.Linear(embedding, channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.mix = nn.Linear(channels, channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        self.relative = nn.Parameter(torch.zeros(heads, 2 * max_frames + 1))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        t = x.shape[1]
        frames = x.flatten(2, 3).mean(2).to(self.qkv.weight.dtype)
        frames = self.norm_in(frames) + self.conditioning(embedding)[:, None]
        qkv = rearrange(self.qkv(frames), "b t (k n d) -> k b n t d", k=3, n=self.heads)
        y = _attend(qkv[0], qkv[1], qkv[2], _by_distance(self.relative, t)).to(qkv.dtype)
        frames = frames + self.mix(rearrange(y, "b n t d -> b t (n d)"))
        shift = self.out(F.silu(self.widen(self.norm_out(frames))))
        return x + shift.to(x.dtype)[:, :, None, None]
