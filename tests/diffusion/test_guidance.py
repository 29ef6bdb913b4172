"""Guidance: the formula, its interval, the number of evaluations, one call for both branches."""

import math

import pytest
import torch
from torch import Tensor

from echocascade.diffusion import guided, guided_batched, karras_sigmas, sample_heun, theory
from echocascade.rng import torch_generator


class Branch:
    """A denoiser that counts its calls: x times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.levels: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.levels.append(float(sigma))
        return self.factor * x


class ConditionalBranch:
    """denoiser(x, sigma, conditioning) with a factor per sample as its conditioning."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor, factor: Tensor) -> Tensor:
        self.batches.append(x.shape[0])
        return factor[:, None] * x


X = torch.randn(3, 4, generator=torch_generator(0, "x"), dtype=torch.float64)


def level(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_guidance_extrapolates_from_null_through_cond(scale: float) -> None:
    out = guided(Branch(0.8), Branch(0.3), scale)(X, level(1.0))
    torch.testing.assert_close(out, (0.3 + scale * (0.8 - 0.3)) * X)


def test_scale_one_is_the_conditional_denoiser_and_never_asks_the_other() -> None:
    cond, null = Branch(0.8), Branch(0.3)
    out = guided(cond, null, 1.0)(X, level(1.0))
    assert torch.equal(out, 0.8 * X)
    assert (len(cond.levels), len(null.levels)) == (1, 0)


@pytest.mark.parametrize(
    ("sigma", "is_guided"), [(0.1, False), (0.5, False), (0.51, True), (2.0, True), (2.1, False)]
)
def test_null_branch_is_evaluated_only_inside_the_interval(sigma: float, is_guided: bool) -> None:
    cond, null = Branch(0.8), Branch(0.3)
    out = guided(cond, null, 2.0, (0.5, 2.0))(X, level(sigma))
    assert (len(cond.levels), len(null.levels)) == (1, int(is_guided))
    torch.testing.assert_close(out, (1.3 if is_guided else 0.8) * X)


def test_sampler_pays_for_guidance_only_inside_the_interval() -> None:
    cond, null = Branch(0.8), Branch(0.3)
    sample_heun(guided(cond, null, 3.0, (0.1, 5.0)), X, karras_sigmas(12))
    assert len(cond.levels) == 2 * 12 - 1
    assert null.levels == [s for s in cond.levels if 0.1 < s <= 5.0]
    assert 0 < len(null.levels) < len(cond.levels)


def test_one_call_for_both_branches_equals_two_calls() -> None:
    cond_factor, null_factor = torch.tensor([0.8, 0.7, 0.6]), torch.tensor([0.3, 0.2, 0.1])
    pair = torch.cat([cond_factor, null_factor])
    one, two = ConditionalBranch(), ConditionalBranch()
    batched = guided_batched(one, cond_factor, pair, 2.5, (0.1, 5.0))
    plain = guided(
        lambda x, s: two(x, s, cond_factor), lambda x, s: two(x, s, null_factor), 2.5, (0.1, 5.0)
    )
    sigmas = karras_sigmas(12)
    torch.testing.assert_close(sample_heun(batched, X, sigmas), sample_heun(plain, X, sigmas))
    assert len(one.batches) == 2 * 12 - 1
    assert sum(one.batches) == sum(two.batches)
    assert set(one.batches) == {3, 6}


def test_batched_scale_one_doubles_nothing() -> None:
    denoiser = ConditionalBranch()
    guided_batched(denoiser, torch.ones(3), torch.ones(6), 1.0)(X, level(1.0))
    assert denoiser.batches == [3]


def test_guidance_pushes_samples_past_their_condition_and_narrows_them() -> None:
    mixture = theory.three_modes()
    everywhere = (0.0, math.inf)
    settings = {f"{scale}": (float(scale), everywhere) for scale in (1, 2, 5)}
    table = theory.guidance_samples(mixture, 2, settings, theory.even_latents(500), 32)
    moments = table.groupby("setting").x.agg(["mean", "std"])
    # scale 1 is the wanted component itself; 32 steps of Heun leave 2 percent of its width
    assert moments["mean"]["1"] == pytest.approx(0.24, abs=0.002)
    assert moments["std"]["1"] == pytest.approx(0.07, rel=0.03)
    assert moments["mean"]["1"] < moments["mean"]["2"] < moments["mean"]["5"]
    assert moments["std"]["1"] > moments["std"]["2"] > moments["std"]["5"]


@pytest.mark.parametrize(
    ("scale", "interval", "found"),
    [
        (-1.0, (0.0, 1.0), "guidance scale is -1.0"),
        (math.nan, (0.0, 1.0), "guidance scale is nan"),
        (2.0, (1.0, 1.0), "sigma_interval is"),
        (2.0, (-1.0, 1.0), "sigma_interval is"),
        (2.0, (0.0, math.nan), "sigma_interval is"),
    ],
)
def test_bad_arguments_are_named(scale: float, interval: tuple[float, float], found: str) -> None:
    with pytest.raises(ValueError, match=f"{found}.*allowed"):
        guided(Branch(1.0), Branch(1.0), scale, interval)
    with pytest.raises(ValueError, match=f"{found}.*allowed"):
        guided_batched(ConditionalBranch(), X, X, scale, interval)


def test_a_sigma_per_sample_is_refused_under_guidance() -> None:
    with pytest.raises(ValueError, match=r"\(3,\); allowed"):
        guided(Branch(1.0), Branch(1.0), 2.0)(X, torch.ones(3))
