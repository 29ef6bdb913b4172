"""EDMLoss: value against closed forms, direction, and who draws the noise."""

import math

import pytest
import torch
from einops import rearrange

from echocascade.diffusion import EDMLoss, GaussianMixture, theory
from echocascade.rng import torch_generator

SIGMA_DATA = 0.25


def draws(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    y = SIGMA_DATA * torch.randn(n, d, generator=torch_generator(0, "y"), dtype=torch.float64)
    noise = torch.randn(n, d, generator=torch_generator(0, "n"), dtype=torch.float64)
    return y, noise


@pytest.mark.parametrize("sigma", [0.02, 0.25, 3.0])
def test_perfect_denoiser_of_gaussian_data_costs_one_at_every_sigma(sigma: float) -> None:
    """Posterior variance sigma^2 s^2 / (sigma^2 + s^2), times lambda with s = sigma_data, is 1."""
    normal = GaussianMixture(
        torch.zeros(1, 10, dtype=torch.float64), torch.ones(1, dtype=torch.float64), SIGMA_DATA
    )
    y, noise = draws(20_000, 10)
    levels = torch.full((20_000,), sigma, dtype=torch.float64)
    value = float(EDMLoss(-1.2, 1.2, SIGMA_DATA)(normal.denoise, y, noise, levels).mean())
    # the mean of 200,000 squared normals: standard error sqrt(2 / 200,000) = 0.0032
    assert value == pytest.approx(1, abs=4 * 0.0032)


def test_perfect_denoiser_of_a_mixture_beats_others_and_the_prior() -> None:
    mixture = theory.three_modes()
    levels = [0.05, 0.12, 0.3]
    loss = EDMLoss(-1.2, 1.2, mixture.sigma_data)
    table = theory.loss_table(mixture, loss, levels, 20_000, torch_generator(0, "loss test"))
    assert bool((table.perfect < 0.95 * table.untrained).all())
    assert table.untrained.to_numpy() == pytest.approx(1, abs=0.03)


def test_loss_is_the_formula_sample_by_sample() -> None:
    y, noise = draws(3, 4)
    sigma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    values = EDMLoss(-1.2, 1.2, SIGMA_DATA)(lambda x, s: 0.5 * x, y, noise, sigma)
    for b in range(3):
        s = float(sigma[b])
        weight = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2
        error = 0.5 * (y[b] + s * noise[b]) - y[b]
        assert float(values[b]) == pytest.approx(weight * float((error**2).mean()), rel=1e-12)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 1, 4, 3, 3)])
def test_loss_takes_any_rank_and_returns_one_value_per_sample(shape: tuple[int, ...]) -> None:
    y = torch.ones(shape)
    loss = EDMLoss(-1.2, 1.2, SIGMA_DATA)
    assert loss(lambda x, s: x, y, torch.zeros(shape), torch.ones(2)).tolist() == [0.0, 0.0]


def test_denoiser_is_asked_for_the_noisy_signal_at_its_own_sigma() -> None:
    y, noise = draws(3, 4)
    sigma = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    seen = []
    EDMLoss(-1.2, 1.2, SIGMA_DATA)(lambda x, s: seen.append((x, s)) or x, y, noise, sigma)
    torch.testing.assert_close(seen[0][0], y + rearrange(sigma, "b -> b 1") * noise)
    torch.testing.assert_close(seen[0][1], sigma)


def test_training_levels_are_log_normal_with_the_given_mean_and_spread() -> None:
    n = 20_000
    log_sigma = EDMLoss(-1.2, 1.2, SIGMA_DATA).draw_sigma(n, torch_generator(0, "sigma")).log()
    # four standard errors of a mean and of a standard deviation
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=4 * 1.2 / math.sqrt(n))
    assert float(log_sigma.std()) == pytest.approx(1.2, abs=4 * 1.2 / math.sqrt(2 * n))


def test_levels_come_from_the_callers_generator_alone() -> None:
    loss = EDMLoss(-1.2, 1.2, SIGMA_DATA)
    before = torch.random.get_rng_state()
    first = loss.draw_sigma(5, torch_generator(3, "sigma", 7))
    again = loss.draw_sigma(5, torch_generator(3, "sigma", 7))
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((math.nan, 1.2, 0.25), "P_mean"), ((-1.2, 0.0, 0.25), "P_std"), ((-1.2, 1.2, -1), "sigma_")],
)
def test_bad_parameters_are_named(arguments: tuple[float, float, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*allowed"):
        EDMLoss(*arguments)


def test_noise_or_sigma_of_another_shape_is_named() -> None:
    loss, y = EDMLoss(-1.2, 1.2, SIGMA_DATA), torch.ones(2, 3)
    with pytest.raises(ValueError, match="noise has shape"):
        loss(lambda x, s: x, y, torch.ones(2, 1), torch.ones(2))
    with pytest.raises(ValueError, match="sigma has shape"):
        loss(lambda x, s: x, y, torch.ones(2, 3), torch.tensor(1.0))
