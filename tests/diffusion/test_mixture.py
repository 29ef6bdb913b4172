"""The mixture's closed forms against each other: the tests of the samplers stand on them."""

import pytest
import torch

from echocascade.diffusion import GaussianMixture, probability_flow_1d, sample_heun, theory
from echocascade.diffusion.mixture import quantile_1d, wasserstein_1d
from echocascade.rng import torch_generator


def mixture_in_3d() -> GaussianMixture:
    means = torch.randn(4, 3, generator=torch_generator(0, "means"), dtype=torch.float64)
    return GaussianMixture(means, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), 0.3)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 30.0])
def test_denoiser_and_density_agree_by_tweedie(sigma: float) -> None:
    """D(x; sigma) = x + sigma^2 grad ln p(x; sigma) (Karras22 Eq. 3)."""
    mixture, level = mixture_in_3d(), torch.tensor(sigma, dtype=torch.float64)
    x = torch.randn(6, 3, generator=torch_generator(0, "x"), dtype=torch.float64)
    x.requires_grad_(True)
    (score,) = torch.autograd.grad(mixture.log_density(x, level).sum(), x)
    # rounding of the score grows with sigma^2
    torch.testing.assert_close(
        mixture.denoise(x, level), x + sigma**2 * score, atol=1e-11 * max(1, sigma**2), rtol=1e-9
    )


def test_density_integrates_to_one() -> None:
    mixture = theory.three_modes()
    x = torch.linspace(-3, 3, 6001, dtype=torch.float64)[:, None]
    density = mixture.log_density(x, torch.tensor(0.2)).exp()
    assert float(torch.trapezoid(density, dx=0.001)) == pytest.approx(1, abs=1e-9)


def test_draws_have_the_closed_form_mean_covariance_and_sigma_data() -> None:
    mixture, n = mixture_in_3d(), 40_000
    y = mixture.sample(n, torch_generator(0, "draws"))
    spread = float(mixture.covariance.diagonal().max())
    # four standard errors; a mixture's fourth moment is below the normal's factor 3 here
    tolerance = 4 * spread / n**0.5
    torch.testing.assert_close(y.mean(0), mixture.mean, atol=tolerance / spread**0.5, rtol=0)
    torch.testing.assert_close(y.T.cov(), mixture.covariance, atol=2**0.5 * tolerance, rtol=0)
    assert float(y.std()) == pytest.approx(mixture.sigma_data, rel=0.02)


def test_one_sigma_per_sample_equals_one_by_one() -> None:
    mixture = mixture_in_3d()
    x = torch.randn(3, 3, generator=torch_generator(0, "x"), dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    together = mixture.denoise(x, sigma)
    for b in range(3):
        torch.testing.assert_close(together[b : b + 1], mixture.denoise(x[b : b + 1], sigma[b]))


def test_denoiser_returns_x_without_noise_and_the_mean_under_much() -> None:
    mixture = mixture_in_3d()
    x = mixture.sample(5, torch_generator(0, "draws"))
    torch.testing.assert_close(mixture.denoise(x, torch.tensor(0.0)), x)
    blind = mixture.denoise(x, torch.tensor(1e6))
    torch.testing.assert_close(blind, mixture.mean.expand(5, 3), atol=1e-6, rtol=0)


def test_exact_flow_is_what_a_fine_sampler_walks() -> None:
    mixture = theory.three_modes()
    x = theory.even_latents(32)
    sigmas = torch.logspace(1, -1, 2001, dtype=torch.float64)
    exact = probability_flow_1d(mixture, 10 * x, 10.0, 0.1)
    # second order with 1000 steps a decade
    torch.testing.assert_close(sample_heun(mixture.denoise, x, sigmas), exact, atol=1e-5, rtol=0)


def test_quantiles_invert_the_distribution() -> None:
    mixture, n = theory.three_modes(), 40_000
    quarter = quantile_1d(mixture, torch.tensor([[0.25]], dtype=torch.float64))
    below = (mixture.sample(n, torch_generator(0, "draws")) < quarter).double().mean()
    assert float(below) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / n) ** 0.5)


def test_distance_is_small_for_honest_draws_and_the_shift_for_shifted_ones() -> None:
    mixture, n = theory.three_modes(), 4000
    honest = mixture.sample(n, torch_generator(0, "draws"))
    assert wasserstein_1d(mixture, honest) < 3 * mixture.sigma_data / n**0.5
    assert wasserstein_1d(mixture, honest + 0.5) == pytest.approx(0.5, abs=0.02)


def test_a_component_is_the_mixture_given_its_condition() -> None:
    assert float(theory.three_modes().component(2).mean) == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("means", "weights", "std", "found"),
    [
        (torch.zeros(2, 3), torch.tensor([0.5, 0.6]), 0.1, "weights are"),
        (torch.zeros(2, 3), torch.tensor([1.5, -0.5]), 0.1, "weights are"),
        (torch.zeros(2, 3), torch.tensor([1.0]), 0.1, "means has shape"),
        (torch.zeros(2), torch.tensor([0.5, 0.5]), 0.1, "means has shape"),
        (torch.zeros(2, 3), torch.tensor([0.5, 0.5]), 0.0, "component_std is"),
    ],
)
def test_bad_mixtures_are_named(
    means: torch.Tensor, weights: torch.Tensor, std: float, found: str
) -> None:
    with pytest.raises(ValueError, match=f"{found}"):
        GaussianMixture(means, weights, std)


def test_exact_flow_of_more_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="3 dimensions; allowed: 1"):
        probability_flow_1d(mixture_in_3d(), torch.zeros(1, 3), 1.0, 0.1)
