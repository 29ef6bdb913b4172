"""karras_sigmas against the formula, its ends and its errors."""

import math

import pytest
import torch

from echocascade.diffusion import karras_sigmas


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("steps", [2, 18, 64])
def test_levels_follow_the_formula(steps: int, rho: float) -> None:
    sigmas = karras_sigmas(steps, 0.01, 50.0, rho)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float64
    for i in range(steps):
        high, low = 50.0 ** (1 / rho), 0.01 ** (1 / rho)
        expected = (high + i / (steps - 1) * (low - high)) ** rho
        # at rho = 1 the last level is what is left of 50 - 49.99: absolute rounding of 50
        assert float(sigmas[i]) == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_schedule_starts_at_sigma_max_passes_sigma_min_and_ends_at_zero() -> None:
    sigmas = karras_sigmas(32)
    assert float(sigmas[0]) == pytest.approx(80.0, rel=1e-12)
    assert float(sigmas[-2]) == pytest.approx(0.002, rel=1e-12)
    assert float(sigmas[-1]) == 0.0
    assert bool((sigmas.diff() < 0).all())


def test_rho_one_is_even_spacing() -> None:
    gaps = karras_sigmas(9, 1.0, 9.0, 1.0)[:-1].diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, -1.0))


def test_larger_rho_puts_more_steps_at_low_noise() -> None:
    below = [int((karras_sigmas(18, rho=rho) < 1).sum()) for rho in (1, 3, 7, 15)]
    assert below == sorted(set(below))


def test_a_single_step_goes_from_sigma_max_to_zero() -> None:
    assert karras_sigmas(1, 0.002, 80.0, 1.0).tolist() == [80.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((0, 0.002, 80.0, 7.0), "steps is 0"),
        ((2.5, 0.002, 80.0, 7.0), "steps is 2.5"),
        ((True, 0.002, 80.0, 7.0), "steps is True"),
        ((8, 0.0, 80.0, 7.0), "sigma_min is 0.0"),
        ((8, 2.0, 1.0, 7.0), "sigma_max 1.0"),
        ((8, 0.1, math.inf, 7.0), "sigma_max inf"),
        ((8, math.nan, 1.0, 7.0), "sigma_min is nan"),
        ((8, 0.002, 80.0, 0.0), "rho is 0.0"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[int, float, float, float], found: str) -> None:
    with pytest.raises(ValueError, match=f"{found}.*allowed"):
        karras_sigmas(*arguments)
