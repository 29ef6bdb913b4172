"""Sampling with some values known: the rest is drawn to fit them. Nothing here knows what they are.

Known values are held by the denoiser: where a value y is known, the expected clean signal is y,
whatever the noisy one is. A sampler that starts there from y + sigma_0 n then passes y + sigma n at
every level sigma, with the same n (each of its steps is linear in x and D and exact for a constant
D), so the network always sees known values with the right amount of noise (the replacement of
Song21 Sec. 5, at all levels instead of at a chosen few), and they come out as they went in.

The unknown rest sees the known part only through its noise. Going back up a step and down again
(Lugmayr22 Alg. 1) lets both agree; and where something near the answer is known, the rest may start
from it at a lower level than sigma_max (Meng22 Sec. 3) and keep its coarse form.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from echocascade.diffusion.preconditioning import Denoise
from echocascade.diffusion.samplers import Callback, RandnLike

Solver = Callable[..., Tensor]
"""A sampler, called as in `samplers`."""


@dataclass(frozen=True)
class Held:
    """What is known of a sample.

    values: (B, ...) like the sample, clean; mask: bool, broadcasts to it, true where a value is
    held to the end; guess: whether the other values are a first guess that the sample starts from.
    """

    values: Tensor
    mask: Tensor
    guess: bool = False

    def latents(self, latents: Tensor, sigma: float) -> Tensor:
        """Latents that a sampler turns into values + sigma latents where something is known."""
        known = latents + self.values / sigma
        return known if self.guess else torch.where(self.mask, known, latents)

    def denoiser(self, denoise: Denoise) -> Denoise:
        """`denoise` that answers the held values where there are some."""

        def held(x: Tensor, sigma: Tensor) -> Tensor:
            return torch.where(self.mask, self.values.to(x.dtype), denoise(x, sigma))

        return held


def holding(solve: Solver, held: Held, resample: int = 1) -> Solver:
    """The sampler `solve` with `held` known; it is called as all samplers are.

    resample: how often each step is made, 1 or more; between two times the state goes back up by
    fresh noise (`randn_like`). A solver that remembers earlier steps forgets them when there are
    more than one.
    """
    if resample < 1:
        raise ValueError(f"resample is {resample}; allowed: 1 or more")

    def sample(
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
        levels = [float(sigma) for sigma in sigmas]
        start, known = held.latents(latents, levels[0]), held.denoiser(denoise)
        churn = {"S_tmin": S_tmin, "S_tmax": S_tmax, "S_noise": S_noise}
        if resample == 1:
            return solve(
                known, start, sigmas, S_churn=S_churn, randn_like=randn_like, callback=callback,
                **churn,
            )  # fmt: skip
        x, per_step = start * levels[0], S_churn / (len(levels) - 1)
        for high, low in pairwise(levels):
            again = resample if low > 0 else 1
            for turn in range(again):
                x = solve(
                    known, x / high, [high, low], S_churn=per_step, randn_like=randn_like,
                    callback=callback if turn == again - 1 else None, **churn,
                )  # fmt: skip
                if turn < again - 1:
                    x = x + math.sqrt(high**2 - low**2) * randn_like(x)
        return x

    return sample
