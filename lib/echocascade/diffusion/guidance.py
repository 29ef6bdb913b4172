"""Classifier-free guidance, all the way or within an interval of noise levels.

D_guided = D_null + scale (D_cond - D_null)      (Ho21 Eq. 6, written for denoisers)

Guidance that is limited to an interval (Kynkaanniemi24) evaluates the conditional branch alone
outside it. The interval is open below and closed above, and is compared with the level that the
denoiser is asked for, churn included. Reading sigma on the host is free for the 0-dim CPU sigma
that the samplers of this package pass.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from echocascade.diffusion.preconditioning import Denoise

ALL_SIGMAS = (0.0, math.inf)

C = TypeVar("C")


def guided(
    denoise_cond: Denoise,
    denoise_null: Denoise,
    scale: float,
    sigma_interval: tuple[float, float] = ALL_SIGMAS,
) -> Denoise:
    """denoise(x, sigma) guided by `scale` where sigma_interval[0] < sigma <= sigma_interval[1].

    denoise_cond, denoise_null: with and without the condition. scale: finite, >= 0; 1 is the plain
    conditional denoiser (the null branch is then never evaluated), 0 the unconditional one.
    sigma_interval: 0 <= low < high. The returned denoiser takes one sigma for the whole batch.
    """
    _check(scale, sigma_interval)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not _is_guided(sigma, scale, sigma_interval):
            return denoise_cond(x, sigma)
        return torch.lerp(denoise_null(x, sigma), denoise_cond(x, sigma), scale)

    return denoise


def guided_batched(
    denoiser: Callable[[Tensor, Tensor, C], Tensor],
    cond: C,
    cond_and_null: C,
    scale: float,
    sigma_interval: tuple[float, float] = ALL_SIGMAS,
) -> Denoise:
    """Like `guided`, with both branches in one call of a conditional denoiser.

    denoiser(x, sigma, conditioning); cond: the conditioning of the B samples; cond_and_null: the
    conditioning of 2B samples, the B conditional ones first and the same B without condition after
    them. Both are made once, before sampling. Inside the interval x (B, ...) is doubled to
    (2B, ...); outside, `cond` alone is evaluated. sigma: 0-dim.
    """
    _check(scale, sigma_interval)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not _is_guided(sigma, scale, sigma_interval):
            return denoiser(x, sigma, cond)
        with_cond, with_null = denoiser(torch.cat([x, x]), sigma, cond_and_null).chunk(2)
        return torch.lerp(with_null, with_cond, scale)

    return denoise


def _is_guided(sigma: Tensor, scale: float, sigma_interval: tuple[float, float]) -> bool:
    if sigma.ndim != 0:
        raise ValueError(
            f"sigma has shape {tuple(sigma.shape)}; allowed under guidance: (), one level a call"
        )
    low, high = sigma_interval
    return scale != 1 and low < float(sigma) <= high


def _check(scale: float, sigma_interval: tuple[float, float]) -> None:
    if not 0 <= scale < math.inf:
        raise ValueError(f"guidance scale is {scale}; allowed: finite and >= 0")
    low, high = sigma_interval
    if not 0 <= low < high:
        raise ValueError(f"sigma_interval is {sigma_interval}; allowed: 0 <= low < high")
