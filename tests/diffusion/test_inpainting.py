"""Known values are held at every noise level, and the rest is drawn to fit them."""

import math

import pytest
import torch

from echocascade.diffusion import SAMPLERS, Held, Trajectory, holding, karras_sigmas

RHO = 0.9
SIGMAS = karras_sigmas(40, 0.002, 20.0)


def correlated(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The perfect denoiser of N(0, [[1, RHO], [RHO, 1]]), rows of x."""
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=x.dtype)
    noisy = covariance + float(sigma) ** 2 * torch.eye(2, dtype=x.dtype)
    return x @ torch.linalg.solve(noisy, covariance)


def latents(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def first_known(n: int, value: float) -> Held:
    values = torch.tensor([[value, 0.0]], dtype=torch.float64).repeat(n, 1)
    return Held(values, torch.tensor([[True, False]]))


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_a_held_value_has_the_right_noise_at_every_step(name):
    """y + sigma n with one and the same n, down to y itself."""
    n, passed = latents(5), Trajectory()
    out = holding(SAMPLERS[name], first_known(5, 1.5))(correlated, n, SIGMAS, callback=passed)
    for sigma, state in zip(passed.sigmas, passed.states, strict=True):
        torch.testing.assert_close(state[:, 0], 1.5 + sigma * n[:, 0], rtol=0, atol=1e-9)
    assert (out[:, 0] - 1.5).abs().max() < 1e-9


def noise_of(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def test_churn_and_resampling_leave_held_values_as_they_are():
    solve = holding(SAMPLERS["heun"], first_known(6, -0.7), resample=3)
    out = solve(correlated, latents(6), SIGMAS, S_churn=20.0, randn_like=noise_of(1))
    torch.testing.assert_close(out[:, 0], torch.full_like(out[:, 0], -0.7), rtol=0, atol=1e-9)


def test_resampling_brings_the_rest_to_its_conditional_distribution():
    """Given x_1 = 2 the other value is N(2 RHO, 1 - RHO^2); seen through noise alone it is not.

    20 turns a step; 1500 rows leave an error of 0.011 in the mean.
    """
    found = {}
    for turns in (1, 20):
        solve = holding(SAMPLERS["euler"], first_known(1500, 2.0), resample=turns)
        out = solve(correlated, latents(1500), SIGMAS, randn_like=noise_of(2))
        found[turns] = out[:, 1]
    off = {turns: abs(float(x.mean()) - 2 * RHO) for turns, x in found.items()}
    assert off[20] < 0.5 * off[1]
    assert off[20] < 0.1
    assert float(found[20].std()) == pytest.approx(math.sqrt(1 - RHO**2), rel=0.25)


def test_a_guess_keeps_its_coarse_form_from_a_low_level_and_not_from_a_high_one():
    """Two far modes: started from the left one, a sample stays there unless noise hides it."""

    def two_modes(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return 4 * torch.tanh(4 * x / (0.01 + float(sigma) ** 2))

    n = latents(400)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    guess = Held(torch.full_like(n, -4.0), nothing, guess=True)
    low = holding(SAMPLERS["heun"], guess)(two_modes, n, karras_sigmas(20, 0.01, 1.0))
    high = holding(SAMPLERS["heun"], guess)(two_modes, n, karras_sigmas(20, 0.01, 80.0))
    assert (low < 0).double().mean() > 0.999
    assert 0.4 < (high < 0).double().mean() < 0.65


def test_without_anything_known_nothing_changes():
    nothing = Held(torch.zeros(4, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.bool))
    held = holding(SAMPLERS["heun"], nothing)(correlated, latents(4), SIGMAS)
    torch.testing.assert_close(held, SAMPLERS["heun"](correlated, latents(4), SIGMAS))


def test_turns_are_counted_from_one():
    with pytest.raises(ValueError, match="resample is 0; allowed: 1 or more"):
        holding(SAMPLERS["heun"], first_known(1, 0.0), resample=0)
