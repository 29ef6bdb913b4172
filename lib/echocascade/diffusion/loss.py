"""The training loss of EDM (Karras22 Table 1, rows "Training")."""

import math
from dataclasses import dataclass

import torch
from einops import reduce
from torch import Tensor

from echocascade.diffusion.preconditioning import Denoise, broadcast_to_rank


@dataclass(frozen=True)
class EDMLoss:
    """lambda(sigma) |D(y + sigma n; sigma) - y|^2 with ln(sigma) ~ N(P_mean, P_std^2).

    P_mean, P_std: mean and standard deviation (> 0) of ln(sigma); sigma_data: standard deviation of
    the clean signal, > 0. Nothing is drawn here from a global state: the caller brings the noise.
    """

    P_mean: float
    P_std: float
    sigma_data: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.P_mean):
            raise ValueError(f"P_mean is {self.P_mean}; allowed: finite")
        for name in ("P_std", "sigma_data"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; allowed: finite and > 0")

    def sigma_from_normal(self, z: Tensor) -> Tensor:
        """Noise levels (any shape) for standard normal draws z of the same shape."""
        return (self.P_mean + self.P_std * z).exp()

    def draw_sigma(self, n: int, generator: torch.Generator) -> Tensor:
        """n noise levels (n,), float32, on the generator's device."""
        return self.sigma_from_normal(
            torch.randn(n, generator=generator, device=generator.device, dtype=torch.float32)
        )

    def weight(self, sigma: Tensor) -> Tensor:
        """lambda(sigma) = 1 / c_out(sigma)^2: the loss of F itself then weighs 1 at every sigma."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def __call__(self, denoise: Denoise, y: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Weighted squared error per sample, (B,), *averaged* over the elements of a sample.

        y: clean signals (B, ...); noise: unit-variance noise shaped like y; sigma: (B,), > 0. The
        average in place of Karras22's sum makes the value independent of the signal's size: an
        untrained F that answers 0 costs about 1.
        """
        return self.of_error(self.error(denoise, y, noise, sigma), sigma)

    def error(self, denoise: Denoise, y: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """D(y + sigma n; sigma) - y, shaped like y."""
        if noise.shape != y.shape:
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}; allowed: that of y, {tuple(y.shape)}"
            )
        if sigma.shape != y.shape[:1]:
            raise ValueError(f"sigma has shape {tuple(sigma.shape)}; allowed: ({y.shape[0]},)")
        return denoise(y + broadcast_to_rank(sigma, y) * noise, sigma) - y

    def of_error(self, error: Tensor, sigma: Tensor) -> Tensor:
        """The loss (B,) of an `error` (B, ...)."""
        return self.weight(sigma) * reduce(error.square(), "b ... -> b", "mean")
