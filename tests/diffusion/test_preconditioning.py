"""Preconditioning and Denoiser: unit variance, identities, any rank."""

import math

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from echocascade.diffusion import Denoiser, EDMLoss, Preconditioning, bind, theory
from echocascade.rng import torch_generator

SIGMAS = [0.002, 0.05, 0.3, 1.0, 12.0, 80.0]


class Recorder(nn.Module):
    """A network that keeps what it was called with and answers a constant."""

    def __init__(self, answer: float = 0.0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.answer, self.dtype = answer, dtype
        self.calls: list[tuple[Tensor, Tensor, object]] = []

    def forward(self, x: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
        self.calls.append((x, c_noise, conditioning))
        return torch.full_like(x, self.answer, dtype=self.dtype)


@pytest.mark.parametrize("sigma_data", [0.1, 0.25, 1.0])
def test_input_and_target_have_unit_variance_in_closed_form(sigma_data: float) -> None:
    p = Preconditioning(sigma_data)
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)
    var_input = p.c_in(sigma) ** 2 * (sigma_data**2 + sigma**2)
    # target = ((1 - c_skip) y - c_skip n) / c_out with independent y and n
    var_signal = (1 - p.c_skip(sigma)) ** 2 * sigma_data**2
    var_target = (var_signal + p.c_skip(sigma) ** 2 * sigma**2) / p.c_out(sigma) ** 2
    one = torch.ones_like(sigma)
    torch.testing.assert_close(var_input, one, atol=1e-12, rtol=0)
    torch.testing.assert_close(var_target, one, atol=1e-9, rtol=0)


def test_input_and_target_have_unit_variance_on_drawn_data() -> None:
    generator = torch_generator(0, "scale test")
    table = theory.scale_table(theory.three_modes(), SIGMAS, 20_000, generator)
    # standard error of a standard deviation from 20,000 draws: at most 1 / sqrt(2 * 20,000) = 0.005
    assert (table[["input", "target"]] - 1).abs().to_numpy().max() < 4 * 0.005
    assert table.noisy.max() / table.noisy.min() > 100


def test_c_skip_makes_c_out_smallest() -> None:
    """Karras22 App. B.6: of all c_skip, the chosen one amplifies the network's errors least."""
    p = Preconditioning(0.25)
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)

    def needed_c_out(c_skip: Tensor) -> Tensor:
        return ((1 - c_skip) ** 2 * 0.25**2 + c_skip**2 * sigma**2).sqrt()

    chosen = needed_c_out(p.c_skip(sigma))
    torch.testing.assert_close(chosen, p.c_out(sigma), atol=1e-12, rtol=1e-9)
    for shift in (-0.01, 0.01):
        assert bool((needed_c_out(p.c_skip(sigma) + shift) > chosen).all())


def test_values_of_the_coefficients_at_sigma_data() -> None:
    p, sigma = Preconditioning(0.25), torch.tensor(0.25, dtype=torch.float64)
    assert float(p.c_skip(sigma)) == pytest.approx(0.5)
    assert float(p.c_out(sigma)) == pytest.approx(0.25 / math.sqrt(2))
    assert float(p.c_in(sigma)) == pytest.approx(4 / math.sqrt(2))
    assert float(p.c_noise(sigma)) == pytest.approx(math.log(0.25) / 4)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 4, 4), (3, 1, 2, 4, 4)])
def test_denoiser_follows_its_formula_for_any_rank(shape: tuple[int, ...]) -> None:
    network = Recorder(answer=0.7)
    x = torch.randn(shape, generator=torch_generator(0, "x"))
    sigma = torch.tensor([0.01, 0.5, 20.0])
    p = Preconditioning(0.25)
    out = Denoiser(network, p)(x, sigma, "the conditioning")
    scaled, c_noise, conditioning = network.calls[0]
    for b in range(3):
        s = sigma[b]
        torch.testing.assert_close(scaled[b], p.c_in(s) * x[b])
        torch.testing.assert_close(out[b], p.c_skip(s) * x[b] + p.c_out(s) * 0.7)
    torch.testing.assert_close(c_noise, sigma.log() / 4)
    assert conditioning == "the conditioning"


def test_one_sigma_for_all_equals_the_same_sigma_for_each() -> None:
    x = torch.randn(4, 2, 3, generator=torch_generator(0, "x"))
    network = Recorder(answer=0.3)
    denoiser = Denoiser(network, Preconditioning(0.25))
    once = denoiser(x, torch.tensor(0.8, dtype=torch.float64))
    each = denoiser(x, torch.full((4,), 0.8))
    torch.testing.assert_close(once, each)  # float32 against float64 coefficients: default 1.3e-6
    assert network.calls[0][1].shape == (4,)
    torch.testing.assert_close(network.calls[0][1], network.calls[1][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_answer_keeps_the_dtype_of_x_whatever_the_network_returns(dtype: torch.dtype) -> None:
    network = Recorder(answer=1.0, dtype=torch.bfloat16)
    x = torch.ones(2, 3, dtype=dtype)
    out = Denoiser(network, Preconditioning(0.25))(x, torch.tensor(1.0, dtype=torch.float64))
    assert out.dtype == dtype
    assert {call[0].dtype for call in network.calls} == {dtype}
    assert {call[1].dtype for call in network.calls} == {dtype}


def test_network_that_learnt_its_target_gives_the_clean_signal() -> None:
    p = Preconditioning(0.25)
    y = 0.25 * torch.randn(5, 3, generator=torch_generator(0, "y"), dtype=torch.float64)
    sigma = torch.logspace(-2, 1, 5, dtype=torch.float64)
    x = y + rearrange(sigma, "b -> b 1") * torch.randn(
        y.shape, generator=torch_generator(0, "n"), dtype=y.dtype
    )
    target = p.effective_target(y, x, sigma)

    class Learnt(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
            return target

    torch.testing.assert_close(Denoiser(Learnt(), p)(x, sigma), y)


def test_weighted_loss_of_the_denoiser_is_the_plain_loss_of_the_network() -> None:
    """Karras22 Eq. 8: lambda c_out^2 = 1."""
    sigma = torch.tensor(SIGMAS, dtype=torch.float64)
    product = EDMLoss(-1.2, 1.2, 0.25).weight(sigma) * Preconditioning(0.25).c_out(sigma) ** 2
    torch.testing.assert_close(product, torch.ones_like(product))


def test_bound_denoiser_sees_its_conditioning_at_every_call() -> None:
    network = Recorder()
    denoise = bind(Denoiser(network, Preconditioning(0.25)), {"lambda_c": 0.3})
    for level in (2.0, 1.0):
        denoise(torch.ones(2, 3), torch.tensor(level))
    assert [call[2] for call in network.calls] == [{"lambda_c": 0.3}] * 2


def test_gradients_reach_the_network() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
            return self.layer(x)

    denoiser = Denoiser(Linear(), Preconditioning(0.25))
    denoiser(torch.ones(2, 3), torch.tensor([0.5, 1.0])).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in denoiser.parameters())


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan, math.inf])
def test_bad_sigma_data_is_named(sigma_data: float) -> None:
    with pytest.raises(ValueError, match=r"sigma_data is .*allowed"):
        Preconditioning(sigma_data)


def test_sigma_of_another_batch_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        Denoiser(Recorder(), Preconditioning(0.25))(torch.ones(3, 4), torch.ones(2))
