"""Attention along time and over space with conditioning tokens, for (B, T, H, W, C) tensors."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from echocascade.nets.layers import AdaptiveGroupNorm


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(d) + bias) v over (..., heads, length, d).

    On the CPU bfloat16 matrix products of a few tokens are several times slower than float32
    ones, so short sequences are computed in float32 there.
    """
    short = q.device.type == "cpu" and q.shape[-2] <= 128
    dtype = torch.float32 if short else v.dtype
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    with torch.autocast(q.device.type, enabled=False):
        if short:
            weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            weights = weights if bias is None else weights + bias
            return weights.softmax(-1) @ v
        mask = None if bias is None else bias.to(dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class TemporalAttention(nn.Module):
    """Every pixel attends over its own T frames, with a learned bias per time distance.

    `max_frames` bounds the table of relative positions; distances beyond it share the last entry.
    """

    def __init__(self, channels: int, heads: int = 4, max_frames: int = 64):
        super().__init__()
        self.heads, self.max_frames = heads, max_frames
        self.norm = AdaptiveGroupNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.relative = nn.Parameter(torch.zeros(heads, 2 * max_frames + 1))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        t, h = x.shape[1], x.shape[2]
        qkv = rearrange(
            self.qkv(self.norm(x)), "b t h w (k n d) -> k b (h w) n t d", k=3, n=self.heads
        )
        steps = torch.arange(t, device=x.device)
        distance = (steps[None] - steps[:, None]).clamp(-self.max_frames, self.max_frames)
        bias = self.relative[:, distance + self.max_frames]
        y = _attend(qkv[0], qkv[1], qkv[2], bias.float())
        y = rearrange(y, "b (h w) n t d -> b t h w (n d)", h=h)
        return x + self.out(y.to(x.dtype))


class SpatialAttention(nn.Module):
    """Every frame attends over its own pixels and over conditioning tokens.

    The tokens are made from the embedding (B, E) of the noise level and the clinical parameters;
    they join keys and values, so one softmax weighs anatomy against conditioning.
    """

    def __init__(self, channels: int, embedding: int, heads: int = 4, tokens: int = 4):
        super().__init__()
        self.heads, self.tokens = heads, tokens
        self.norm = AdaptiveGroupNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.conditioning = nn.Linear(embedding, 2 * tokens * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        b, t, h = x.shape[:3]
        qkv = rearrange(
            self.qkv(self.norm(x)), "b t h w (k n d) -> k b t n (h w) d", k=3, n=self.heads
        )
        tokens = rearrange(
            self.conditioning(embedding),
            "b (k m n d) -> k b 1 n m d",
            k=2,
            m=self.tokens,
            n=self.heads,
        ).expand(2, b, t, -1, -1, -1)
        k = torch.cat([qkv[1], tokens[0].to(qkv.dtype)], dim=-2)
        v = torch.cat([qkv[2], tokens[1].to(qkv.dtype)], dim=-2)
        y = rearrange(_attend(qkv[0], k, v), "b t n (h w) d -> b t h w (n d)", h=h)
        return x + self.out(y.to(x.dtype))
