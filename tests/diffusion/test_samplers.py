"""Samplers against the EDM authors' reference, exact flows, orders and promises on noise."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from echocascade.diffusion import (
    SAMPLERS,
    Churn,
    Denoiser,
    GaussianMixture,
    Preconditioning,
    Step,
    Trajectory,
    bind,
    karras_sigmas,
    network_evaluations,
    plan_steps,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
    theory,
)
from echocascade.rng import SampleNoise, torch_generator

PAPER = {"S_tmin": 0.05, "S_tmax": 50.0, "S_noise": 1.003}


def mixture_in_4d() -> GaussianMixture:
    means = torch.randn(3, 4, generator=torch_generator(0, "means"), dtype=torch.float64)
    return GaussianMixture(means, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), 0.3)


def latents(n: int, d: int = 4) -> Tensor:
    return torch.randn(n, d, generator=torch_generator(0, "latents"), dtype=torch.float64)


class CountingNoise:
    """Noise from one generator that remembers how often it was asked."""

    def __init__(self, seed: int = 0) -> None:
        self.calls, self.generator = 0, torch_generator(seed, "churn")

    def __call__(self, like: Tensor) -> Tensor:
        self.calls += 1
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype)


def counted(denoise: Callable[[Tensor, Tensor], Tensor], levels: list[float]) -> Callable:
    """`denoise`, noting in `levels` what it is asked for."""

    def count(x: Tensor, sigma: Tensor) -> Tensor:
        levels.append(float(sigma))
        return denoise(x, sigma)

    return count


@pytest.mark.parametrize(
    ("case", "steps", "S_churn"),
    [
        ("deterministic_18", 18, 0.0),
        ("stochastic_18", 18, 40.0),
        ("paper_base_32", 32, 80.0),
        ("paper_1scm_64", 64, 160.0),
    ],
)
def test_heun_matches_the_edm_authors_sampler(
    shared_dir: Path, case: str, steps: int, S_churn: float
) -> None:
    reference = np.load(shared_dir / "reference" / "edm_sampler_reference.npz")
    tensors = {name: torch.from_numpy(reference[name]) for name in reference}
    mixture = GaussianMixture(tensors["means"], tensors["weights"], float(tensors["component_std"]))
    noises = iter(tensors[f"{case}_noise"])
    out = sample_heun(
        mixture.denoise,
        tensors["latents"],
        karras_sigmas(steps, 0.002, 80, 7),
        S_churn=S_churn,
        randn_like=lambda x: next(noises),
        **PAPER if S_churn else {},
    )
    # float64 through 64 steps; measured 2e-15
    torch.testing.assert_close(out, tensors[f"{case}_out"], atol=1e-9, rtol=0)
    assert len(list(noises)) == (0 if S_churn else steps)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_samplers_converge_to_the_exact_flow_with_their_order(name: str, order: int) -> None:
    table = theory.solver_table(theory.three_modes(), theory.even_latents(256), [64, 128, 256])
    # the slope of a finite range; measured 0.96, 2.00 and 2.05
    assert theory.convergence_orders(table)[name] == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("dpmpp_2m", 2)])
def test_samplers_keep_their_order_in_more_dimensions(name: str, order: int) -> None:
    mixture, x = mixture_in_4d(), latents(32)
    sample = SAMPLERS[name]
    fine = sample_heun(mixture.denoise, x, karras_sigmas(2048)[:-1])
    errors = [
        float((sample(mixture.denoise, x, karras_sigmas(n)[:-1]) - fine).square().mean().sqrt())
        for n in (64, 256)
    ]
    assert math.log(errors[0] / errors[1]) / math.log(4) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("S_churn", [0.0, 20.0])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_perfect_denoiser_samples_the_mixture(name: str, S_churn: float) -> None:
    mixture, n = mixture_in_4d(), 4000
    samples = SAMPLERS[name](
        mixture.denoise,
        latents(n),
        karras_sigmas(100),
        S_churn=S_churn,
        randn_like=CountingNoise(),
    )
    variance = mixture.covariance.diagonal()
    # four standard errors of sampling, and what a first-order step of 100 leaves
    extra = 0.02 if name == "heun" or not S_churn else 0.06
    assert bool(
        ((samples.mean(0) - mixture.mean).abs() / variance.sqrt() < 4 / n**0.5 + extra).all()
    )
    error = (samples.T.cov() - mixture.covariance).abs() / variance.max()
    assert float(error.max()) < 4 * (2 / n) ** 0.5 + extra
    shares = mixture.responsibilities(samples, torch.tensor(0.0)).mean(0)
    torch.testing.assert_close(shares, mixture.weights, atol=4 * 0.5 / n**0.5 + extra, rtol=0)


def test_dpmpp_2m_is_exact_for_a_point_mass() -> None:
    """Its linear part is integrated exactly: with a constant D it takes any step without error."""
    point = torch.full((2, 3), 0.4, dtype=torch.float64)
    x = latents(2, 3)
    for sigmas in ([10.0, 1.0], [10.0, 3.0, 1.0]):
        out = sample_dpmpp_2m(lambda x, s: point, x, sigmas)
        torch.testing.assert_close(out, point + (10 * x - point) / 10)


def test_dpmpp_2m_forgets_its_memory_where_churn_leaves_the_trajectory() -> None:
    """Churned at every step it is of first order throughout, which is Euler."""
    mixture, x, sigmas = mixture_in_4d(), latents(3), karras_sigmas(12)
    first_order, multistep = (
        sample(mixture.denoise, x, sigmas, S_churn=3.0, randn_like=CountingNoise())
        for sample in (sample_euler, sample_dpmpp_2m)
    )
    torch.testing.assert_close(multistep, first_order)
    assert not torch.allclose(
        sample_dpmpp_2m(mixture.denoise, x, sigmas), sample_euler(mixture.denoise, x, sigmas)
    )


def test_euler_is_ddim() -> None:
    mixture, x = mixture_in_4d(), latents(3)
    state = 5.0 * x
    for high, low in ((5.0, 2.0), (2.0, 0.5)):
        denoised = mixture.denoise(state, torch.tensor(high))
        state = low / high * state + (1 - low / high) * denoised
    torch.testing.assert_close(sample_euler(mixture.denoise, x, [5.0, 2.0, 0.5]), state)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_without_churn_no_noise_is_drawn_and_the_result_repeats(name: str) -> None:
    mixture, x, noise = mixture_in_4d(), latents(3), CountingNoise()
    run = partial(SAMPLERS[name], mixture.denoise, x, karras_sigmas(10))
    plain = run()
    assert torch.equal(plain, run(S_churn=0.0, **PAPER, randn_like=noise))
    assert noise.calls == 0


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_churn_that_reaches_no_level_changes_nothing_but_draws_each_step(name: str) -> None:
    mixture, x, noise = mixture_in_4d(), latents(3), CountingNoise()
    run = partial(SAMPLERS[name], mixture.denoise, x, karras_sigmas(10))
    assert torch.equal(run(), run(S_churn=40.0, S_tmin=100.0, S_tmax=200.0, randn_like=noise))
    assert noise.calls == 10


def test_draw_i_belongs_to_step_i() -> None:
    """Noise that differs at one step leaves the trajectory before that step untouched."""
    mixture, x = mixture_in_4d(), latents(3)
    base = torch.randn(10, 3, 4, generator=torch_generator(0, "noise"), dtype=torch.float64)
    changed = base.clone()
    changed[6] += 1
    runs = []
    for noises in (iter(base), iter(changed)):
        trajectory = Trajectory()
        draw = partial(lambda source, like: next(source), noises)
        sample_heun(
            mixture.denoise,
            x,
            karras_sigmas(10),
            S_churn=4.0,
            randn_like=draw,
            callback=trajectory,
        )
        runs.append(trajectory.states)
    same = [torch.equal(a, b) for a, b in zip(*runs, strict=True)]
    assert same == [True] * 6 + [False] * 4


def test_a_sample_does_not_depend_on_the_batch_it_is_drawn_in() -> None:
    mixture, x = mixture_in_4d(), latents(5)
    run = partial(sample_heun, mixture.denoise, sigmas=karras_sigmas(12), S_churn=10.0)
    together = run(latents=x, randn_like=SampleNoise(0, "churn", range(5)))
    alone = run(latents=x[3:4], randn_like=SampleNoise(0, "churn", [3]))
    torch.testing.assert_close(together[3:4], alone)


def test_churn_corrects_what_a_misled_denoiser_did_earlier_but_not_a_lasting_error() -> None:
    mixture = theory.three_modes()
    scales = Preconditioning(mixture.sigma_data)
    denoisers = {
        "early": theory.misled(mixture.denoise, scales, 0.5, above_sigma=1.0),
        "lasting": theory.misled(mixture.denoise, scales, 0.1),
    }
    table = theory.churn_table(
        mixture, denoisers, [0, 40], latents(4000, 1), 64, torch_generator(0, "churn")
    )
    distance = table.set_index(["denoiser", "S_churn"]).distance
    assert distance["early", 40] < distance["early", 0] / 2
    assert distance["lasting", 40] > distance["lasting", 0] / 2


def test_churned_levels_follow_algorithm_2() -> None:
    sigmas = [60.0, 10.0, 1.0, 0.01, 0.0]
    steps = plan_steps(sigmas, Churn(S_churn=1.0, S_tmin=0.05, S_tmax=50.0))
    assert [s.sigma_hat for s in steps] == pytest.approx([60.0, 12.5, 1.25, 0.01])
    assert [(s.index, s.sigma, s.sigma_next) for s in steps] == [
        (i, sigmas[i], sigmas[i + 1]) for i in range(4)
    ]
    capped = plan_steps(sigmas, Churn(S_churn=160.0))
    assert capped[0].sigma_hat == pytest.approx(60 * math.sqrt(2))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_network_evaluations_are_what_they_are_said_to_be(name: str) -> None:
    levels: list[float] = []
    SAMPLERS[name](counted(mixture_in_4d().denoise, levels), latents(2), karras_sigmas(9))
    assert len(levels) == network_evaluations(name, 9) == {"heun": 17}.get(name, 9)
    assert min(levels) > 0


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 1, 4, 3, 3)])
def test_any_rank_goes_through_and_dtype_stays(name: str, shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, dtype=torch.float32)
    out = SAMPLERS[name](
        lambda x, sigma: 0.5 * x.double(),
        x,
        karras_sigmas(4),
        S_churn=2.0,
        randn_like=torch.ones_like,
    )
    assert out.shape == shape
    assert out.dtype == torch.float32


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_loop_never_reads_the_state(name: str) -> None:
    """On the meta device tensors have no values: any .item() of the state would raise."""

    class Network(torch.nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, conditioning: object) -> Tensor:
            assert c_noise.device.type == "meta"
            return x

    denoise = bind(Denoiser(Network(), Preconditioning(0.25)), None)
    x = torch.empty(2, 1, 4, 8, 8, device="meta")
    out = SAMPLERS[name](denoise, x, karras_sigmas(5), S_churn=3.0)
    assert (out.device.type, out.shape) == ("meta", x.shape)


def test_sigma_reaches_the_denoiser_as_one_float64_on_the_host() -> None:
    seen: list[Tensor] = []
    sample_heun(lambda x, s: seen.append(s) or x, latents(2).float(), karras_sigmas(3))
    assert {(s.shape, s.dtype, s.device.type) for s in seen} == {((), torch.float64, "cpu")}


def test_callback_sees_every_step_and_the_final_state() -> None:
    mixture, seen = mixture_in_4d(), []

    def keep(step: Step, x: Tensor, denoised: Tensor) -> None:
        seen.append((step, x, denoised))

    out = sample_heun(mixture.denoise, latents(2), karras_sigmas(6), callback=keep)
    assert [step.index for step, _, _ in seen] == list(range(6))
    assert torch.equal(seen[-1][1], out)
    torch.testing.assert_close(seen[-1][2], out)  # the last step lands on its denoised signal


def test_samplers_keep_no_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    out = sample_heun(lambda x, s: weight * x, torch.ones(2, 3), karras_sigmas(3))
    assert not out.requires_grad


@pytest.mark.parametrize(
    ("sigmas", "settings", "found"),
    [
        ([1.0], {}, "sigmas has 1 values"),
        ([1.0, 2.0, 0.0], {}, "strictly falling"),
        ([2.0, 1.0, -1.0], {}, "the last >= 0"),
        ([2.0, 0.0, 0.0], {}, "strictly falling"),
        ([math.inf, 1.0], {}, "finite"),
        ([2.0, math.nan, 0.0], {}, "strictly falling"),
        ([2.0, 1.0], {"S_churn": -1.0}, "S_churn is -1.0"),
        ([2.0, 1.0], {"S_churn": math.inf}, "S_churn is inf"),
        ([2.0, 1.0], {"S_noise": math.nan}, "S_noise is nan"),
        ([2.0, 1.0], {"S_tmin": 2.0, "S_tmax": 1.0}, "S_tmax is 1.0"),
    ],
)
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_bad_arguments_are_named(
    name: str, sigmas: list[float], settings: dict[str, float], found: str
) -> None:
    with pytest.raises(ValueError, match=f"{found}"):
        SAMPLERS[name](lambda x, s: x, latents(2), sigmas, **settings)


def test_latents_that_are_no_noise_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch.int64.*floating point"):
        sample_heun(lambda x, s: x, torch.ones(2, 3, dtype=torch.int64), [1.0, 0.0])


def test_unknown_sampler_is_named() -> None:
    with pytest.raises(ValueError, match="'ddpm'; allowed: euler, heun, dpmpp_2m"):
        network_evaluations("ddpm", 4)
