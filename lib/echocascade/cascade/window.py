"""A later window of a longer clip: what is known of it before it is sampled."""

from dataclasses import dataclass

from torch import Tensor

from echocascade.diffusion import karras_sigmas
from echocascade.params import SamplerParams


@dataclass(frozen=True)
class Known:
    """A later window of a longer clip: frames that are held, and a first guess of the others.

    video: (B, C, T, H, W) in [-1, 1]; held: (T,) bool; guess_from: the noise level at which the
    other frames start from their guess, None where there is no guess; window: its number from 1,
    a part of the address of its noise.
    """

    video: Tensor
    held: Tensor
    window: int
    guess_from: float | None = None

    def schedule(self, sampler: SamplerParams) -> SamplerParams:
        """As dense a schedule as `sampler`'s, from where the guess takes over."""
        if self.guess_from is None or self.guess_from >= sampler.sigma_max:
            return sampler
        sigmas = karras_sigmas(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho)
        steps = max(int((sigmas < self.guess_from).sum()), 2)
        changed = {"sigma_max": self.guess_from, "steps": steps,
                   "S_churn": sampler.S_churn * steps / sampler.steps}  # fmt: skip
        return sampler.model_copy(update=changed)
