"""Consistency distillation: a network that jumps to the end of the teacher's trajectory (Song23).

The student f(x; sigma) starts as the teacher's denoiser, whose preconditioning already gives
f(x; 0) = x. It learns that two points of one trajectory have one end: the teacher, guidance
included, makes the step from the noisier to the cleaner, and the student's answer there is the
target here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from echocascade.diffusion.loss import EDMLoss
from echocascade.diffusion.preconditioning import Denoise, broadcast_to_rank, noise_level
from echocascade.diffusion.samplers import Callback, Churn, RandnLike, Step, run_steps


def heun_step(denoise: Denoise, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """From x (B, ...) at sigma (B,) to the same trajectory at sigma_next (B,) (Karras22 Alg. 1).

    Samples whose sigma_next is 0 end at the denoiser's answer; the second evaluation is taken for
    all of them, so that a batch may hold both.
    """
    s, n = (broadcast_to_rank(level, x) for level in (sigma, sigma_next))
    denoised = denoise(x, sigma)
    slope = (x - denoised) / s
    euler = x + (n - s) * slope
    last = sigma_next == 0
    level = torch.where(last, sigma, sigma_next)
    again = denoise(torch.where(broadcast_to_rank(last, x), x, euler), level)
    slope_next = (euler - again) / broadcast_to_rank(level, x)
    heun = x + (n - s) * (slope + slope_next) / 2
    return torch.where(broadcast_to_rank(last, x), denoised, heun)


@dataclass(frozen=True)
class ConsistencyDistillation:
    """Song23 Alg. 2 on a fixed grid, with the weight of EDM's loss.

    sigmas: falling noise levels, the last 0 (`karras_sigmas`); sigma_data: as the teacher's.
    """

    sigmas: Sequence[float]
    sigma_data: float

    def __post_init__(self) -> None:
        if len(self.sigmas) < 2 or self.sigmas[-1] != 0:
            raise ValueError(f"sigmas are {list(self.sigmas)}; allowed: 2 or more, the last 0")

    @property
    def n_steps(self) -> int:
        return len(self.sigmas) - 1

    def loss(
        self, student: Denoise, teacher: Denoise, y: Tensor, noise: Tensor, step: Tensor
    ) -> Tensor:
        """Weighted squared error (B,) between the student's answers at both ends of a step.

        y, noise: (B, ...) clean signals and unit-variance noise; step: (B,) integers in
        [0, n_steps), 0 the noisiest. The target carries no gradient.
        """
        if bool(((step < 0) | (step >= self.n_steps)).any()):
            raise ValueError(f"step is {step.tolist()}; allowed: 0 to {self.n_steps - 1}")
        grid = torch.as_tensor(self.sigmas, dtype=y.dtype, device=y.device)
        sigma, sigma_next = grid[step], grid[step + 1]
        x = y + broadcast_to_rank(sigma, y) * noise
        with torch.no_grad():
            x_next = heun_step(teacher, x, sigma, sigma_next)
            last = sigma_next == 0
            answer = student(x_next, torch.where(last, sigma, sigma_next))
            target = torch.where(broadcast_to_rank(last, y), x_next, answer)
        error = (student(x, sigma) - target).square().flatten(1).mean(1)
        return EDMLoss(0.0, 1.0, self.sigma_data).weight(sigma) * error


def sample_consistency(
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
    """For a distilled network: answer, add fresh noise of the next level, answer (Song23 Alg. 1).

    One evaluation a step; randn_like is called once a step but the last. There is no churn to
    choose: S_churn must be 0. Arguments: see `samplers`.
    """
    if S_churn:
        raise ValueError(f"S_churn is {S_churn}; allowed for consistency sampling: 0")

    def advance(denoise: Denoise, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        denoised = denoise(x, noise_level(step.sigma)).to(x.dtype)
        if step.sigma_next == 0:
            return denoised, denoised
        return denoised + step.sigma_next * randn_like(x), denoised

    churn = Churn(S_churn, S_tmin, S_tmax, S_noise)
    return run_steps(advance, denoise, latents, sigmas, churn, randn_like, callback)
