"""Samplers: from unit-variance noise to a sample, given denoise(x, sigma) and falling sigmas.

All samplers share one call:

    sample_heun(denoise, latents, sigmas, *, S_churn=0., S_tmin=0., S_tmax=inf, S_noise=1.,
                randn_like=torch.randn_like, callback=None)

denoise     D(x (B, ...), sigma) -> (B, ...); sigma is 0-dim, float64, on the CPU: reading it never
            waits for an accelerator, and it multiplies tensors on one as a scalar.
latents     unit-variance noise (B, ...), any rank; the state stays in their dtype and device.
sigmas      n_steps + 1 falling noise levels; the last is 0 for a finished sample (karras_sigmas).
S_churn, S_tmin, S_tmax, S_noise
            the stochasticity of Karras22 Alg. 2; S_churn = 0 is deterministic and draws nothing.
randn_like  noise shaped like its argument. With S_churn > 0 it is called exactly once a step, in
            order, also where the step's gamma is 0: draw i belongs to step i.
callback    callback(step, x, denoised) after every step: x the new state, denoised D(x_hat;
            sigma_hat) of that step.

The loop runs on Python floats fixed before it starts; it never reads the state back to the host.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from echocascade.diffusion.preconditioning import Denoise, noise_level

RandnLike = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One step: from sigma, raised by churn to sigma_hat >= sigma, down to sigma_next."""

    index: int
    sigma: float
    sigma_hat: float
    sigma_next: float


Callback = Callable[[Step, Tensor, Tensor], None]


class Trajectory:
    """A callback that keeps what a sampler passes through: levels left behind and states."""

    def __init__(self) -> None:
        self.sigmas: list[float] = []
        self.states: list[Tensor] = []

    def __call__(self, step: Step, x: Tensor, denoised: Tensor) -> None:
        self.sigmas.append(step.sigma_next)
        self.states.append(x)


@dataclass(frozen=True)
class Churn:
    """The stochasticity parameters of Karras22 Alg. 2; S_churn is spread over all steps."""

    S_churn: float = 0.0
    S_tmin: float = 0.0
    S_tmax: float = math.inf
    S_noise: float = 1.0

    def __post_init__(self) -> None:
        for name in ("S_churn", "S_noise", "S_tmin"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; allowed: finite and >= 0")
        if not self.S_tmin <= self.S_tmax:
            raise ValueError(f"S_tmax is {self.S_tmax}; allowed: >= S_tmin, {self.S_tmin}")


def plan_steps(sigmas: Tensor | Sequence[float], churn: Churn) -> list[Step]:
    """The steps of a run, all levels as Python floats; the sigma_hat are the levels evaluated.

    gamma = min(S_churn / n_steps, sqrt(2) - 1) where S_tmin <= sigma <= S_tmax, else 0, and
    sigma_hat = (1 + gamma) sigma (Karras22 Alg. 2).
    """
    levels = [float(s) for s in (sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas)]
    if len(levels) < 2:
        raise ValueError(f"sigmas has {len(levels)} values; allowed: 2 or more")
    falling = all(a > b for a, b in pairwise(levels))
    if not (falling and levels[-1] >= 0 and math.isfinite(levels[0])):
        raise ValueError(f"sigmas are {levels}; allowed: finite, strictly falling, the last >= 0")
    n_steps = len(levels) - 1
    gamma = min(churn.S_churn / n_steps, math.sqrt(2) - 1)
    return [
        Step(i, sigma, sigma * (1 + gamma * (churn.S_tmin <= sigma <= churn.S_tmax)), levels[i + 1])
        for i, sigma in enumerate(levels[:-1])
    ]


def sample_euler(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    S_churn: float = 0.0,
    S_tmin: float = 0.0,
    S_tmax: float = math.inf,
    S_noise: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
    callback: Callback | None = None,
) -> Tensor:
    """First order, one evaluation a step (Karras22 Alg. 2 without its correction).

    The yardstick for the others; without churn it is DDIM. Arguments: see the module.
    """
    churn = Churn(S_churn, S_tmin, S_tmax, S_noise)
    return run_steps(_euler_step, denoise, latents, sigmas, churn, randn_like, callback)


def sample_heun(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    S_churn: float = 0.0,
    S_tmin: float = 0.0,
    S_tmax: float = math.inf,
    S_noise: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
    callback: Callback | None = None,
) -> Tensor:
    """Second order, two evaluations a step and one in a last step to 0 (Karras22 Alg. 2).

    Arguments: see the module.
    """
    churn = Churn(S_churn, S_tmin, S_tmax, S_noise)
    return run_steps(_heun_step, denoise, latents, sigmas, churn, randn_like, callback)


def sample_dpmpp_2m(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    S_churn: float = 0.0,
    S_tmin: float = 0.0,
    S_tmax: float = math.inf,
    S_noise: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M): second order by remembering one evaluation, one a step (Lu22 Alg. 2).

    A step that churns leaves the trajectory that the memory belongs to, so it falls back to first
    order. Arguments: see the module.
    """
    churn = Churn(S_churn, S_tmin, S_tmax, S_noise)
    return run_steps(_TwoMultistep(), denoise, latents, sigmas, churn, randn_like, callback)


SAMPLERS = {"euler": sample_euler, "heun": sample_heun, "dpmpp_2m": sample_dpmpp_2m}


def network_evaluations(sampler: str, steps: int) -> int:
    """Calls of denoise that a sampler makes on a schedule of `steps` steps that ends at 0."""
    if sampler not in (*SAMPLERS, "consistency"):
        raise ValueError(f"sampler is {sampler!r}; allowed: {', '.join(SAMPLERS)}")
    return 2 * steps - 1 if sampler == "heun" else steps


_Advance = Callable[[Denoise, Tensor, Step], tuple[Tensor, Tensor]]


@torch.no_grad()
def run_steps(
    advance: _Advance,
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor | Sequence[float],
    churn: Churn,
    randn_like: RandnLike,
    callback: Callback | None,
) -> Tensor:
    """The loop that all samplers share; `advance` returns the next state and the denoised one."""
    if not latents.is_floating_point() or latents.ndim < 1:
        raise ValueError(
            f"latents are {latents.dtype} of shape {tuple(latents.shape)}; "
            "allowed: floating point, (B, ...)"
        )
    steps = plan_steps(sigmas, churn)
    x = latents * steps[0].sigma
    for step in steps:
        if churn.S_churn > 0:
            noise = randn_like(x)
            added = math.sqrt(step.sigma_hat**2 - step.sigma**2)
            x = x + (churn.S_noise * added) * noise
        x, denoised = advance(denoise, x, step)
        if callback is not None:
            callback(step, x, denoised)
    return x


def _evaluate(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, noise_level(sigma)).to(x.dtype)


def _euler_step(denoise: Denoise, x_hat: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    denoised = _evaluate(denoise, x_hat, step.sigma_hat)
    slope = (x_hat - denoised) / step.sigma_hat
    return x_hat + (step.sigma_next - step.sigma_hat) * slope, denoised


def _heun_step(denoise: Denoise, x_hat: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    denoised = _evaluate(denoise, x_hat, step.sigma_hat)
    slope = (x_hat - denoised) / step.sigma_hat
    h = step.sigma_next - step.sigma_hat
    x_next = x_hat + h * slope
    if step.sigma_next == 0:
        return x_next, denoised
    slope_next = (x_next - _evaluate(denoise, x_next, step.sigma_next)) / step.sigma_next
    return x_hat + h * (slope + slope_next) / 2, denoised


class _TwoMultistep:
    """One step of DPM-Solver++(2M) in lambda = -ln(sigma), with the last evaluation remembered."""

    def __init__(self) -> None:
        self._previous: tuple[float, Tensor] | None = None

    def __call__(self, denoise: Denoise, x_hat: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        denoised = _evaluate(denoise, x_hat, step.sigma_hat)
        if step.sigma_next == 0:
            return denoised, denoised
        h = math.log(step.sigma_hat / step.sigma_next)
        direction = denoised
        if self._previous is not None and step.sigma_hat == step.sigma:
            sigma_previous, previous = self._previous
            r = math.log(sigma_previous / step.sigma_hat) / h
            direction = denoised + (denoised - previous) / (2 * r)
        self._previous = (step.sigma_hat, denoised)
        ratio = step.sigma_next / step.sigma_hat
        return ratio * x_hat - math.expm1(-h) * direction, denoised
