"""The U-Net and its layers against PyTorch's own and against its promises."""

import pytest
import torch
from einops import rearrange
from torch.nn import functional as F

from echocascade.nets import UNetConfig, VideoUNet
from echocascade.nets.attention import FrameContext, TemporalAttention
from echocascade.nets.layers import AdaptiveGroupNorm, _ChannelsLastGroupNorm

SMALL = UNetConfig(
    base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1, patch=2,
    full_resolution_channels=4, temporal_attention=(1,), spatial_attention=(1,),
    frame_context=(0, 1), attention_heads=2,
)  # fmt: skip


def small_unet() -> VideoUNet:
    torch.manual_seed(0)
    net = VideoUNet(2, 1, SMALL, n_scalars=2)
    for parameter in net.parameters():  # zero-initialised layers must take part in these tests
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def inputs(batch=3, frames=4, side=8):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 2, frames, side, side, generator=g)
    return (
        x,
        torch.randn(batch, generator=g),
        torch.rand(batch, 2, generator=g),
        torch.ones(batch, 2),
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_group_norm_equals_pytorchs_in_value_and_gradient(dtype, tolerance):
    # bfloat16 keeps 8 bits: a value of about 4 rounds by up to 1.6e-2, its statistics add as much.
    g = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 3, 20, 16, generator=g) * 2 + 1).to(dtype)
    scale, shift = torch.randn(2, 16, generator=g), torch.randn(2, 16, generator=g)
    weight = torch.randn(x.shape, generator=g)
    ours = [v.clone().requires_grad_() for v in (x, scale, shift)]
    theirs = [v.float().clone().requires_grad_() for v in (x, scale, shift)]
    y = _ChannelsLastGroupNorm.apply(*ours, 4)
    normed = rearrange(
        F.group_norm(rearrange(theirs[0], "b t n c -> b c t n"), 4), "b c t n -> b t n c"
    )
    expected = normed * theirs[1][:, None, None] + theirs[2][:, None, None]
    torch.testing.assert_close(y.float(), expected, atol=tolerance, rtol=tolerance)
    (y * weight.to(dtype)).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        scale_of = b.grad.abs().max()
        torch.testing.assert_close(
            a.grad.float() / scale_of, b.grad / scale_of, atol=tolerance, rtol=0
        )


def test_adaptive_norm_without_an_embedding_says_so():
    with pytest.raises(ValueError, match="embedding"):
        AdaptiveGroupNorm(8, embedding=4)(torch.randn(1, 2, 2, 2, 8))


def test_output_has_the_video_shape_and_is_float32_under_autocast():
    net = small_unet()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(*inputs())
    assert y.shape == (3, 1, 4, 8, 8)
    assert y.dtype == torch.float32


def test_a_sample_does_not_depend_on_the_batch_beside_it():
    net = small_unet()
    x, c_noise, scalars, given = inputs()
    together = net(x, c_noise, scalars, given)
    alone = net(x[1:2], c_noise[1:2], scalars[1:2], given[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=2e-5, rtol=1e-4)


def test_a_scalar_that_is_not_given_has_no_influence():
    net = small_unet()
    x, c_noise, scalars, given = inputs()
    given[:, 0] = 0
    other = scalars.clone()
    other[:, 0] = 0.9
    assert torch.equal(net(x, c_noise, scalars, given), net(x, c_noise, other, given))
    other[:, 1] = 0.9
    assert not torch.equal(net(x, c_noise, scalars, given), net(x, c_noise, other, given))


def test_without_time_aware_layers_frames_do_not_mix():
    net = small_unet()
    for module in net.modules():  # group norm sees all frames; its statistics are not a time layer
        if isinstance(module, AdaptiveGroupNorm):
            module.forward = lambda x, embedding=None: x  # type: ignore[method-assign]
    x, *rest = inputs()
    changed = x.clone()
    changed[:, :, 2] += 1
    moved = (net(x, *rest, time_aware=False) - net(changed, *rest, time_aware=False)).abs()
    assert moved[:, :, 2].max() > 0
    assert moved[:, :, [0, 1, 3]].max() == 0
    mixed = (net(x, *rest) - net(changed, *rest)).abs()
    assert mixed[:, :, [0, 1, 3]].max() > 0


def test_time_aware_layers_start_as_the_identity():
    torch.manual_seed(0)
    net = VideoUNet(2, 1, SMALL, n_scalars=2)
    assert torch.equal(net(*inputs()), net(*inputs(), time_aware=False))


def test_temporal_attention_equals_pytorchs():
    torch.manual_seed(0)
    layer = TemporalAttention(8, heads=2)
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.relative)
    x = torch.randn(2, 5, 2, 2, 8)
    q, k, v = rearrange(layer.qkv(layer.norm(x)), "b t h w (k n d) -> k (b h w) n t d", k=3, n=2)
    steps = torch.arange(5)
    bias = layer.relative[:, steps[None] - steps[:, None] + layer.relative.shape[1] // 2]
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    expected = x + layer.out(rearrange(y, "(b h w) n t d -> b t h w (n d)", b=2, h=2))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def frame_context() -> FrameContext:
    torch.manual_seed(0)
    layer = FrameContext(8, embedding=6, heads=2)
    torch.nn.init.normal_(layer.out.weight)
    torch.nn.init.normal_(layer.relative)
    return layer


def test_frame_context_adds_the_same_to_every_pixel_of_a_frame():
    x, embedding = torch.randn(2, 5, 3, 3, 8), torch.randn(2, 6)
    added = frame_context()(x, embedding) - x
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), atol=1e-5, rtol=0)
    assert (added[:, 1:] - added[:, :-1]).abs().max() > 0.01


def test_frame_context_sees_pixels_in_any_order_and_all_frames():
    layer, embedding = frame_context(), torch.randn(2, 6)
    x = torch.randn(2, 5, 3, 3, 8)
    added = layer(x, embedding) - x
    turned = x.flip(2, 3)
    torch.testing.assert_close(layer(turned, embedding) - turned, added, atol=1e-5, rtol=0)
    changed = x.clone()
    changed[:, 4, 0, 0, 3] += 5
    assert (layer(changed, embedding) - changed - added)[:, 0].abs().max() > 1e-3


def test_frame_context_of_bfloat16_weights_is_near_that_of_float32():
    layer = frame_context()
    x, embedding = torch.randn(2, 5, 3, 3, 8).bfloat16(), torch.randn(2, 6).bfloat16()
    exact = layer(x.float(), embedding.float())
    rounded = layer.bfloat16()(x, embedding)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.1, rtol=0.05)


def test_every_parameter_gets_a_gradient():
    net = small_unet()
    net(*inputs()).square().mean().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # Table entries of distances beyond the clip have no gradient, the tables themselves do.
    assert silent == []


def test_a_size_that_does_not_fit_the_levels_is_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        small_unet()(*inputs(side=6))
