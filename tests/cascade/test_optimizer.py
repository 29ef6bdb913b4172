"""Muon: matrices step along an orthogonal matrix, everything else as Adam would."""

import copy

import pytest
import torch
from torch import nn

from echocascade.cascade.optimizer import new_optimizer, set_learning_rate
from echocascade.nets.muon import Muon, orthogonal
from echocascade.params import TrainingParams


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv3d(16, 32, 3)
    )  # the first kernel is 16 x 27: a matrix; gains and biases are not


def backward(net: nn.Module, seed: int) -> None:
    noise = torch.randn(2, 1, 5, 6, 6, generator=torch.Generator().manual_seed(seed))
    net.zero_grad()
    net(noise).square().mean().backward()


def muon(net: nn.Module) -> Muon:
    return Muon(net.parameters(), 1e-2, (0.9, 0.99), matrix_rate=0.02)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_matrices_made_orthogonal_together_are_those_made_so_alone(shape):
    matrices = torch.randn((3, *shape), generator=torch.Generator().manual_seed(2))
    scales = torch.tensor([1.0, 9.0, 0.1])[:, None, None]  # of no influence
    alone = torch.stack([orthogonal(matrix) for matrix in matrices * scales])
    torch.testing.assert_close(orthogonal(matrices), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 432)])
def test_all_singular_values_come_near_one_and_the_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    spread = u @ torch.diag(torch.linspace(1, 30, len(s), dtype=torch.float64)) @ v
    found = orthogonal(spread).double()
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5 and values.max() < 1.3
    aligned = torch.diagonal(u.T @ found @ v.T)
    assert (u.T @ found @ v.T - torch.diag(aligned)).abs().max() < 1e-4


def test_wide_matrices_come_out_as_the_plain_iteration_in_float64_has_them():
    matrices = torch.randn((2, 16, 80), generator=torch.Generator().manual_seed(3))
    matrices *= torch.logspace(0, -4, 16)[:, None]  # some singular values next to nothing
    x = matrices.double()
    x = x / torch.linalg.matrix_norm(x, keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonal(matrices).double(), x, rtol=0, atol=1e-5)


def test_what_is_no_matrix_steps_exactly_as_adam():
    ours, theirs = network(), network()
    for p in (*ours.parameters(), *theirs.parameters()):
        p.requires_grad_(p.ndim < 2)
    own = muon(ours)
    adam = torch.optim.Adam(theirs.parameters(), 1e-2, (0.9, 0.99))
    for step in range(8):
        backward(ours, step)
        backward(theirs, step)
        own.step()
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_matrix_steps_by_its_rate_whatever_the_gradients_size():
    small, large = network(), network()
    before = small[3].weight.detach().reshape(32, -1).clone()
    backward(small, 0)
    backward(large, 0)
    for p in large.parameters():
        p.grad *= 1000
    muon(small).step()
    muon(large).step()
    torch.testing.assert_close(small[3].weight, large[3].weight, rtol=0, atol=1e-5)
    values = torch.linalg.svdvals(small[3].weight.detach().reshape(32, -1) - before)
    assert values.min() > 0.3 * 0.02 and values.max() < 1.3 * 0.02


def test_it_resumes_bit_for_bit():
    straight = network()
    optimizer = muon(straight)
    for step in range(3):
        backward(straight, step)
        optimizer.step()
    stopped, state = copy.deepcopy(straight), copy.deepcopy(optimizer.state_dict())
    resumed = muon(stopped)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        for net, rule in ((straight, optimizer), (stopped, resumed)):
            backward(net, step)
            rule.step()
    for a, b in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(a, b)


def test_both_rates_follow_the_schedule():
    training = TrainingParams(steps=10, optimizer="muon", learning_rate=2e-3)
    optimizer = new_optimizer(network(), training)
    set_learning_rate(optimizer, training, 1e-3)
    rates = {group["matrices"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({False: 1e-3, True: training.matrix_learning_rate / 2})
    assert isinstance(new_optimizer(network(), TrainingParams(steps=1)), torch.optim.Adam)
