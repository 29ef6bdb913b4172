"""Preconditioning of the denoiser (Karras22 Table 1, column "Ours").

The network F never sees the noisy signal itself: its input, its output and its training target are
scaled so that each has unit variance at every noise level sigma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

Denoise = Callable[[Tensor, Tensor], Tensor]
"""All that a sampler or the loss knows: D(x (B, ...); sigma () or (B,)) -> (B, ...)."""


def broadcast_to_rank(values: Tensor, x: Tensor) -> Tensor:
    """Values of shape (B,) as (B, 1, ...) to multiply x (B, ...); a 0-dim value stays as it is."""
    if values.ndim == 0:
        return values
    if values.shape != x.shape[:1]:
        raise ValueError(
            f"one value per sample is needed: found shape {tuple(values.shape)} for x of shape "
            f"{tuple(x.shape)}, allowed are () and ({x.shape[0]},)"
        )
    return rearrange(values, f"b -> b {'1 ' * (x.ndim - 1)}")


@dataclass(frozen=True)
class Preconditioning:
    """The four coefficients of Karras22 Eq. 7 as functions of sigma (any shape, > 0).

    sigma_data: standard deviation of the clean signal, > 0, in the units of x.
    """

    sigma_data: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma_data) and self.sigma_data > 0):
            raise ValueError(f"sigma_data is {self.sigma_data}; allowed: finite and > 0")

    def c_skip(self, sigma: Tensor) -> Tensor:
        """Share of the noisy input that goes straight to the output, in (0, 1)."""
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        """Scale of the network's output; the smallest that keeps its target at unit variance."""
        return sigma * self.sigma_data / (sigma**2 + self.sigma_data**2).sqrt()

    def c_in(self, sigma: Tensor) -> Tensor:
        """Scale of the network's input: one over the standard deviation of y + n."""
        return 1 / (sigma**2 + self.sigma_data**2).sqrt()

    def c_noise(self, sigma: Tensor) -> Tensor:
        """The noise level as the network reads it."""
        return sigma.log() / 4

    def effective_target(self, y: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """What F should answer for the noisy x (B, ...) of the clean y (B, ...), Karras22 Eq. 8."""
        c_skip, c_out = (broadcast_to_rank(c(sigma), x) for c in (self.c_skip, self.c_out))
        return (y - c_skip * x) / c_out


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), Karras22 Eq. 7.

    `network` is called as network(scaled x (B, ...), c_noise (B,), conditioning) and returns a
    tensor shaped like x, in any floating dtype; D is returned in the dtype of x. `conditioning` is
    one object, handed through unread.
    """

    def __init__(self, network: nn.Module, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.network = network
        self.preconditioning = preconditioning

    def forward(self, x: Tensor, sigma: Tensor, conditioning: Any = None) -> Tensor:
        """The expected clean signal behind x.

        x: (B, ...), any rank from 1; sigma: (B,) on the device of x (training), or 0-dim on the CPU
        (a sampler's), > 0. A 0-dim CPU sigma costs no copy and no wait: its coefficients go along
        with the kernels as scalars.
        """
        p = self.preconditioning
        c_skip, c_out, c_in = (broadcast_to_rank(c(sigma), x) for c in (p.c_skip, p.c_out, p.c_in))
        c_noise = p.c_noise(sigma)
        if c_noise.ndim == 0:
            c_noise = spread(c_noise, x)
        answer = self.network((c_in * x).to(x.dtype), c_noise.to(x.dtype), conditioning)
        return (c_skip * x + c_out * answer.to(x.dtype)).to(x.dtype)


def spread(value: Tensor, x: Tensor) -> Tensor:
    """A 0-dim value as (B,) on the device of x; one that lives on the CPU gets there by a fill."""
    if value.device.type == "cpu":
        return x.new_full((x.shape[0],), float(value))
    return value.expand(x.shape[0])


def bind(denoiser: Callable[[Tensor, Tensor, Any], Tensor], conditioning: Any) -> Denoise:
    """denoise(x, sigma) of a conditional denoiser (also a DDP-wrapped one) for one conditioning."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x, sigma, conditioning)

    return denoise


def noise_level(sigma: float) -> Tensor:
    """sigma as the samplers hand it to denoise: 0-dim, float64, on the CPU.

    There it can be read without waiting for an accelerator, and it still multiplies tensors on one.
    """
    return torch.tensor(sigma, dtype=torch.float64, device="cpu")
