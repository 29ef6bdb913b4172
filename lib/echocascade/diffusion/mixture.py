"""A Gaussian mixture, the data distribution whose perfect denoiser is known in closed form."""

import math
from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k weights_k N(means_k, component_std^2 I), isotropic, with D values a sample.

    means: (K, D); weights: (K,), > 0, summing to 1; component_std: > 0.
    """

    means: Tensor
    weights: Tensor
    component_std: float

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.weights.shape != self.means.shape[:1]:
            raise ValueError(
                f"means has shape {tuple(self.means.shape)} and weights {tuple(self.weights.shape)}"
                "; allowed: (K, D) and (K,)"
            )
        total = float(self.weights.sum())
        if not (bool((self.weights > 0).all()) and abs(total - 1) < 1e-6):
            raise ValueError(f"weights are {self.weights.tolist()}; allowed: > 0, summing to 1")
        if not self.component_std > 0:
            raise ValueError(f"component_std is {self.component_std}; allowed: > 0")

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D): within the components plus between them."""
        centred = self.means - self.mean
        between = einsum(self.weights, centred, centred, "k, k i, k j -> i j")
        within = self.component_std**2 * torch.eye(self.means.shape[1], dtype=between.dtype)
        return within + between

    @property
    def sigma_data(self) -> float:
        """Standard deviation over all values, as a training set would report it."""
        second = self.component_std**2 + einsum(self.weights, self.means**2, "k, k d -> d").mean()
        return float((second - self.mean.mean() ** 2).sqrt())

    def component(self, k: int) -> "GaussianMixture":
        """The distribution given that component k was drawn: what a condition would select."""
        return GaussianMixture(
            self.means[k : k + 1], torch.ones_like(self.weights[:1]), self.component_std
        )

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws, (n, D)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[k] + self.component_std * noise

    def responsibilities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Posterior share (B, K) of each component in x (B, D) at noise level sigma () or (B,)."""
        var = self._variance(x, sigma)
        return (self._log_joint(x, var)).softmax(dim=1)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """ln p(x; sigma), (B,), normalised; x (B, D) is data plus noise of level sigma."""
        var = self._variance(x, sigma)
        normaliser = x.shape[1] / 2 * (2 * torch.pi * var).log()
        return self._log_joint(x, var).logsumexp(dim=1) - normaliser

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The perfect D(x; sigma) = E[y | y + sigma n = x], (B, D); sigma () or (B,), >= 0."""
        share = self.responsibilities(x, sigma)
        kept = rearrange(self.component_std**2 / self._variance(x, sigma), "b -> b 1")
        mean = share @ self.means
        return mean + kept * (x - mean)

    def _variance(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.to(x.device, x.dtype)
        if level.ndim == 0:
            level = repeat(level, "-> b", b=x.shape[0])
        return self.component_std**2 + level**2

    def _log_joint(self, x: Tensor, var: Tensor) -> Tensor:
        squared = (rearrange(x, "b d -> b 1 d") - self.means).square().sum(dim=2)
        return self.weights.log() - squared / (2 * rearrange(var, "b -> b 1"))


def probability_flow_1d(
    mixture: GaussianMixture, x: Tensor, sigma_from: float, sigma_to: float
) -> Tensor:
    """Where the probability flow ODE takes x (B, 1) from sigma_from to sigma_to, exactly.

    In one dimension trajectories cannot cross, so the flow keeps every point at its quantile.
    """
    return quantile_1d(mixture, _distribution_function(mixture, x, sigma_from), sigma_to)


def quantile_1d(mixture: GaussianMixture, q: Tensor, sigma: float = 0.0) -> Tensor:
    """The points (B, 1) below which a share q (B, 1), in (0, 1), of a 1-d mixture lies.

    At noise level sigma >= 0; found by bisection down to the last bits of float64.
    """
    reach = 12 * (mixture.component_std + sigma)
    low = torch.full_like(q, float(mixture.means.min()) - reach)
    high = torch.full_like(q, float(mixture.means.max()) + reach)
    for _ in range(80):  # 53 bits of mantissa, and as many again for points close to 0
        middle = (low + high) / 2
        below = _distribution_function(mixture, middle, sigma) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def wasserstein_1d(mixture: GaussianMixture, samples: Tensor) -> float:
    """Mean distance that samples (N, 1) must be moved to become the 1-d mixture, in units of x.

    0 is perfect; N honest draws have about sigma_data / sqrt(N).
    """
    n = samples.shape[0]
    q = (torch.arange(n, dtype=samples.dtype, device=samples.device) + 0.5) / n
    ideal = quantile_1d(mixture, rearrange(q, "n -> n 1"))
    return float((samples.sort(dim=0).values - ideal).abs().mean())


def _distribution_function(mixture: GaussianMixture, x: Tensor, sigma: float) -> Tensor:
    if mixture.means.shape[1] != 1:
        raise ValueError(f"the mixture has {mixture.means.shape[1]} dimensions; allowed: 1")
    std = math.hypot(mixture.component_std, sigma)
    below = torch.special.ndtr((x - rearrange(mixture.means, "k 1 -> 1 k")) / std)
    return rearrange(below @ mixture.weights, "b -> b 1")
