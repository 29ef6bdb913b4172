"""The U-Net F of every stage (Reynaud23 Sec. 2; Ho22 Sec. 3: space and time factorised)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from echocascade.nets.attention import FrameContext, SpatialAttention, TemporalAttention
from echocascade.nets.entrance import Entrance
from echocascade.nets.layers import (
    AdaptiveGroupNorm,
    Downsample,
    FourierFeatures,
    ResidualBlock,
    SpatialConv,
    TemporalConv,
    Upsample,
)


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a `VideoUNet`; the fields are the YAML keys of `network`.

    blocks_per_level: one number for all levels, or one a level; the way up has one more each.
    patch: pixels per side that one cell of the top level covers (1: full resolution). More than 1
    is the memory-efficient way: the network halves or quarters the picture before it widens.
    full_resolution_channels: channels of a stem and head at full resolution, 0 for none. With
    patch > 1 it lets the network draw texture finer than a patch.
    temporal_attention, spatial_attention: the levels (0 is the finest) that have them, after
    every block; middle_spatial_attention gives it to the middle blocks alone.
    frame_context: the levels whose blocks are followed by a `FrameContext`; not in the paper.
    attention_heads, attention_head_channels: so many heads at every level or, where the second is
    not 0, as many as the level's channels hold, at least one.
    checkpoint_activations: keep only what enters a block and compute its inside again in the
    backward pass: the same gradients for far less memory and about a third more time.
    """

    base_channels: int = 64
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    blocks_per_level: int | tuple[int, ...] = 2
    middle_blocks: int = 2
    patch: int = 1
    full_resolution_channels: int = 0
    temporal_attention: tuple[int, ...] = (1, 2)
    spatial_attention: tuple[int, ...] = (2,)
    middle_spatial_attention: bool = False
    frame_context: tuple[int, ...] = ()
    attention_heads: int = 4
    attention_head_channels: int = 0
    checkpoint_activations: bool = False

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks on the way down, level by level."""
        n_levels = len(self.channel_multipliers)
        if isinstance(self.blocks_per_level, int):
            return (self.blocks_per_level,) * n_levels
        if len(self.blocks_per_level) != n_levels:
            raise ValueError(
                f"blocks_per_level has {len(self.blocks_per_level)} entries and "
                f"channel_multipliers {n_levels}: give one a level, or one number for all"
            )
        return tuple(self.blocks_per_level)


class Level(nn.Module):
    """The blocks of one resolution, each followed by the attentions of that level."""

    def __init__(
        self, in_channels: Sequence[int], channels: int, embedding: int, *, config: UNetConfig,
        level: int, spatial: bool,
    ):  # fmt: skip
        super().__init__()
        heads = config.attention_heads
        if config.attention_head_channels:
            heads = max(channels // config.attention_head_channels, 1)
        self.checkpoint_activations = config.checkpoint_activations
        self.blocks = nn.ModuleList(ResidualBlock(c, channels, embedding) for c in in_channels)
        self.spatial = nn.ModuleList(
            SpatialAttention(channels, embedding, heads) for _ in in_channels if spatial
        )
        self.temporal = nn.ModuleList(
            TemporalAttention(channels, heads)
            for _ in in_channels
            if level in config.temporal_attention
        )
        self.context = nn.ModuleList(
            FrameContext(channels, embedding, heads)
            for _ in in_channels
            if level in config.frame_context
        )

    def __len__(self) -> int:
        return len(self.blocks)

    def step(
        self, i: int, x: Tensor, embedding: Tensor, time_aware: bool, skip: Tensor | None = None
    ) -> Tensor:
        """Block i of x, joined with `skip` where there is one, and its attentions."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            # nothing in a block draws random numbers
            return checkpoint(
                self._step, i, x, embedding, time_aware, skip,
                use_reentrant=False, preserve_rng_state=False,
            )  # type: ignore[no-any-return]  # fmt: skip
        return self._step(i, x, embedding, time_aware, skip)

    def _step(
        self, i: int, x: Tensor, embedding: Tensor, time_aware: bool, skip: Tensor | None
    ) -> Tensor:
        if skip is not None:
            x = torch.cat([x, skip], dim=-1)
        x = self.blocks[i](x, embedding, time_aware)
        if self.spatial:
            x = self.spatial[i](x, embedding)
        if self.temporal and time_aware:
            x = self.temporal[i](x)
        if self.context and time_aware:
            x = self.context[i](x, embedding)
        return x


class VideoUNet(nn.Module):
    """F(c_in x; c_noise, conditioning) of Karras22 Eq. 7 for videos.

    Args:
        in_channels: channels of the noisy video plus all concatenated conditioning.
        out_channels: channels of the video.
        config: sizes, see `UNetConfig`.
        n_scalars: entries of the scalar conditioning vector (lambda_c, sigma_aug ...), each in
            about [0, 1]; every entry has a flag that says whether it is given.
    """

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, n_scalars: int = 1):
        super().__init__()
        if len(config.channel_multipliers) < 1:
            raise ValueError("channel_multipliers is empty: give one multiplier a level")
        self.config, self.n_scalars = config, n_scalars
        self.in_channels, self.out_channels = in_channels, out_channels
        widths = [config.base_channels * m for m in config.channel_multipliers]
        embedding = 4 * config.base_channels
        self.noise_features = FourierFeatures(16, 0.05, 2.0)
        self.scalar_features = FourierFeatures(16, 0.25, 8.0)
        self.embed = nn.Sequential(
            nn.Linear(32 + 33 * n_scalars, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.fine = config.full_resolution_channels
        if self.fine:
            self.fine_in = SpatialConv(in_channels, self.fine)
            self.fine_norm = AdaptiveGroupNorm(self.fine, embedding)
            self.fine_time = TemporalConv(self.fine)
            self.fine_mix = SpatialConv(self.fine, self.fine, gain=0.1)
        self.stem = SpatialConv(in_channels * config.patch**2, widths[0])
        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        skips = [widths[0]]
        width = widths[0]
        for level, out in enumerate(widths):
            ins = [width] + [out] * (config.blocks[level] - 1)
            self.down.append(self._level(ins, out, level))
            skips += [out] * config.blocks[level]
            width = out
            if level + 1 < len(widths):
                self.shrink.append(Downsample(width, width))
                skips.append(width)
        self.middle = self._level(
            [width] * config.middle_blocks, width, len(widths) - 1, config.middle_spatial_attention
        )
        self.up = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            n = config.blocks[level] + 1
            ins = [(width if i == 0 else out) + skips.pop() for i in range(n)]
            self.up.append(self._level(ins, out, level))
            width = out
            if level > 0:
                self.grow.append(Upsample(width, width))
        self.norm_out = AdaptiveGroupNorm(width)
        head_out = self.fine if self.fine else out_channels
        self.head = SpatialConv(width, head_out * config.patch**2, gain=1.0 if self.fine else 0.1)
        if self.fine:
            self.fine_out = SpatialConv(self.fine, out_channels, gain=0.1)

    def _level(self, ins: list[int], out: int, level: int, spatial: bool = False) -> Level:
        return Level(
            ins, out, 4 * self.config.base_channels, config=self.config, level=level,
            spatial=spatial or level in self.config.spatial_attention,
        )  # fmt: skip

    def embedding(self, c_noise: Tensor, scalars: Tensor, given: Tensor) -> Tensor:
        """Embedding (B, E) of c_noise (B,), scalars (B, n_scalars) and their flags `given`.

        A scalar that is not given (flag 0) enters as zeros: the null condition of Ho22 (CFG).
        """
        parts = [self.noise_features(c_noise)]
        for i in range(self.n_scalars):
            flag = given[:, i, None].float()
            parts += [self.scalar_features(scalars[:, i]) * flag, flag]
        return F.silu(self.embed(torch.cat(parts, dim=-1)))

    def forward(
        self, x: Tensor, c_noise: Tensor, scalars: Tensor, given: Tensor, time_aware: bool = True
    ) -> Tensor:
        """x: (B, C_in, T, H, W), any real values; returns (B, C_out, T, H, W)."""
        embedding = self.embedding(c_noise, scalars, given)
        return self.body(self.entrance(x), embedding, time_aware)

    def entrance(self, x: Tensor, part: slice | None = None, bias: bool = True) -> Entrance:
        """The first convolutions of x (B, C, T, H, W), which holds the input channels `part`."""
        side = self.config.patch * 2 ** (len(self.config.channel_multipliers) - 1)
        if x.shape[-1] % side or x.shape[-2] % side:
            raise ValueError(
                f"height and width must be multiples of {side} for this network, got "
                f"{x.shape[-2]} x {x.shape[-1]}"
            )
        x = rearrange(x, "b c t h w -> b t h w c").contiguous()
        p = self.config.patch
        patches = rearrange(x, "b t (h p) (w q) c -> b t h w (p q c)", p=p, q=p)
        if part is None:
            return Entrance(self.stem(patches), self.fine_in(x) if self.fine else None)
        numbers = torch.arange(self.in_channels * p * p, device=x.device)
        of_stem = rearrange(numbers, "(k c) -> k c", k=p * p)[:, part].flatten()
        stem = self.stem.of_part(patches, of_stem, bias)
        fine = self.fine_in.of_part(x, numbers[part], bias) if self.fine else None
        return Entrance(stem, fine)

    def body(self, entrance: Entrance, embedding: Tensor, time_aware: bool = True) -> Tensor:
        """All but the first convolutions; embedding: (B, E). Returns (B, C_out, T, H, W)."""
        e, h, fine = embedding, entrance.stem, entrance.fine
        p = self.config.patch
        skips = [h]
        for level, stage in enumerate(self.down):
            for i in range(len(stage)):  # type: ignore[arg-type]
                h = stage.step(i, h, e, time_aware)  # type: ignore[operator]
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
                skips.append(h)
        for i in range(self.config.middle_blocks):
            h = self.middle.step(i, h, e, time_aware)
        for level, stage in enumerate(self.up):
            for i in range(len(stage)):  # type: ignore[arg-type]
                h = stage.step(i, h, e, time_aware, skips.pop())  # type: ignore[operator]
            if level < len(self.grow):
                h = self.grow[level](h)
        h = self.head(F.silu(self.norm_out(h)))
        h = rearrange(h, "b t h w (p q c) -> b t (h p) (w q) c", p=p, q=p)
        if fine is not None:
            h = h + fine
            texture = F.silu(self.fine_norm(h, e))
            if time_aware:
                texture = texture + self.fine_time(texture)
            h = h + self.fine_mix(texture)
            h = self.fine_out(F.silu(h))
        return rearrange(h, "b t h w c -> b c t h w").float()
