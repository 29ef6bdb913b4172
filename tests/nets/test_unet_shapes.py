"""What the sizes of a U-Net change, and what they must not."""

from dataclasses import replace

import pytest
import torch

from echocascade.nets import UNetConfig, VideoUNet

CONFIG = UNetConfig(
    base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1, middle_blocks=1, patch=2,
    full_resolution_channels=4, temporal_attention=(0, 1), spatial_attention=(1,),
    frame_context=(1,), attention_heads=2,
)  # fmt: skip


def network(config: UNetConfig) -> VideoUNet:
    torch.manual_seed(0)
    net = VideoUNet(2, 1, config, n_scalars=1)
    for parameter in net.parameters():  # layers that start at zero must take part too
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def inputs(side: int = 8) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, 2, 4, side, side, generator=g)
    return x, torch.randn(2, generator=g), torch.rand(2, 1, generator=g), torch.ones(2, 1)


def loss_and_gradients(config: UNetConfig, time_aware: bool) -> dict[str, torch.Tensor]:
    net = network(config)
    loss = net(*inputs(), time_aware=time_aware).square().mean()
    loss.backward()
    gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


@pytest.mark.parametrize("time_aware", [True, False])
def test_checkpointed_activations_give_the_same_loss_and_gradients(time_aware):
    plain = loss_and_gradients(CONFIG, time_aware)
    again = loss_and_gradients(replace(CONFIG, checkpoint_activations=True), time_aware)
    assert plain.keys() == again.keys()
    for name, value in plain.items():
        # the same operations on the same numbers; only sums of gradients may change their order
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5)


def test_checkpointed_activations_do_not_change_the_names_of_the_weights():
    checkpointed = network(replace(CONFIG, checkpoint_activations=True))
    assert checkpointed.state_dict().keys() == network(CONFIG).state_dict().keys()


def test_one_number_of_blocks_is_that_number_in_every_level():
    one_a_level = network(replace(CONFIG, blocks_per_level=(1, 1)))
    assert torch.equal(one_a_level(*inputs()), network(CONFIG)(*inputs()))


def test_levels_may_have_different_numbers_of_blocks():
    net = network(replace(CONFIG, blocks_per_level=(3, 1)))
    assert [len(level) for level in net.down] == [3, 1]
    assert [len(level) for level in net.up] == [2, 4]
    assert net(*inputs()).shape == (2, 1, 4, 8, 8)


def test_a_number_of_blocks_for_a_level_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="3 entries and channel_multipliers 2"):
        network(replace(CONFIG, blocks_per_level=(1, 1, 1)))


def test_spatial_attention_can_be_kept_to_the_middle():
    net = network(replace(CONFIG, spatial_attention=(), middle_spatial_attention=True))
    assert len(net.middle.spatial) == 1
    assert [len(level.spatial) for level in [*net.down, *net.up]] == [0, 0, 0, 0]


def test_a_network_that_trains_on_crops_takes_the_whole_picture():
    net = network(CONFIG)
    assert net(*inputs(side=8)).shape[-1] == 8
    assert net(*inputs(side=16)).shape[-1] == 16
