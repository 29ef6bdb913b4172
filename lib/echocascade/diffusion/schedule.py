"""The noise levels that a sampler visits (Karras22 Eq. 5)."""

import math

import torch
from torch import Tensor


def karras_sigmas(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Tensor:
    """steps + 1 falling noise levels from sigma_max over sigma_min to a last 0.

    Returns (steps + 1,), float64, on the CPU. steps >= 1 (a single step goes from sigma_max to 0);
    0 < sigma_min < sigma_max; rho > 0: 1 spaces evenly, larger values put more steps at low noise.
    """
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise ValueError(f"steps is {steps}; allowed: a whole number >= 1")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {sigma_max}; "
            "allowed: 0 < sigma_min < sigma_max, both finite"
        )
    if not 0 < rho < math.inf:
        raise ValueError(f"rho is {rho}; allowed: finite and > 0")
    ramp = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])
