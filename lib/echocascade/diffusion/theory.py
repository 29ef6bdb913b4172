"""The claims of Karras22 Table 1, measured on a mixture whose perfect denoiser is known.

Each function is one experiment and returns its table; notebook 02 shows them, tests check them.
All run in float64 on the CPU and take their random numbers from the caller.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from echocascade.diffusion.guidance import guided
from echocascade.diffusion.loss import EDMLoss
from echocascade.diffusion.mixture import GaussianMixture, probability_flow_1d, wasserstein_1d
from echocascade.diffusion.preconditioning import Denoise, Preconditioning
from echocascade.diffusion.samplers import SAMPLERS, network_evaluations, sample_heun
from echocascade.diffusion.schedule import karras_sigmas


def three_modes() -> GaussianMixture:
    """The 1-d mixture of notebook 02: three modes of unequal weight, sigma_data about 0.27."""
    means = torch.tensor([[-0.36], [0.02], [0.24]], dtype=torch.float64)
    return GaussianMixture(means, torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64), 0.07)


def even_latents(n: int) -> Tensor:
    """n standard normal values (n, 1) at evenly spread quantiles: a draw without luck."""
    q = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return rearrange(torch.special.ndtri(q), "n -> n 1")


def scale_table(
    mixture: GaussianMixture, sigmas: Sequence[float], n: int, generator: torch.Generator
) -> pd.DataFrame:
    """Standard deviations seen by a network at each sigma, from n draws.

    Columns: sigma; noisy (y + n unscaled), input (c_in x) and target (of F, Karras22 Eq. 8).
    """
    scales = Preconditioning(mixture.sigma_data)
    y = mixture.sample(n, generator)
    noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    rows = []
    for value in sigmas:
        sigma = torch.tensor(value, dtype=y.dtype)
        x = y + sigma * noise
        seen = {
            "noisy": x,
            "input": scales.c_in(sigma) * x,
            "target": scales.effective_target(y, x, sigma),
        }
        rows.append({"sigma": value} | {name: float(v.std()) for name, v in seen.items()})
    return pd.DataFrame(rows)


def loss_table(
    mixture: GaussianMixture,
    loss: EDMLoss,
    sigmas: Sequence[float],
    n: int,
    generator: torch.Generator,
) -> pd.DataFrame:
    """Expected loss at each sigma, from n draws.

    Columns: sigma; untrained (F answers 0), perfect (the closed-form denoiser), unweighted (the
    squared error of the untrained one, in units of x^2), density (of ln(sigma) in training).
    """
    scales = Preconditioning(loss.sigma_data)
    y = mixture.sample(n, generator)
    noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    rows = []
    for value in sigmas:
        sigma = torch.full((n,), value, dtype=y.dtype)
        z = (np.log(value) - loss.P_mean) / loss.P_std
        untrained = float(loss(lambda x, s: scales.c_skip(s[:1]) * x, y, noise, sigma).mean())
        rows.append(
            {
                "sigma": value,
                "untrained": untrained,
                "perfect": float(loss(mixture.denoise, y, noise, sigma).mean()),
                "unweighted": untrained / float(loss.weight(sigma[0])),
                "density": float(np.exp(-(z**2) / 2) / (loss.P_std * np.sqrt(2 * np.pi))),
            }
        )
    return pd.DataFrame(rows)


def solver_table(
    mixture: GaussianMixture, latents: Tensor, steps: Sequence[int], rhos: Sequence[float] = (7.0,)
) -> pd.DataFrame:
    """Distance of each sampler from the exact probability flow, for latents (B, 1).

    Compared at sigma_min, where the exact answer is known; columns: sampler, steps, rho,
    evaluations (of a run that also takes the last step to 0), error (root mean square, units of x).
    """
    rows = []
    for rho in rhos:
        for n in steps:
            sigmas = karras_sigmas(n, rho=rho)[:-1]
            high, low = float(sigmas[0]), float(sigmas[-1])
            exact = probability_flow_1d(mixture, latents * high, high, low)
            for name, sample in SAMPLERS.items():
                error = (sample(mixture.denoise, latents, sigmas) - exact).square().mean().sqrt()
                evaluations = network_evaluations(name, n)
                rows.append((name, n, rho, evaluations, float(error)))
    return pd.DataFrame(rows, columns=["sampler", "steps", "rho", "evaluations", "error"])


def convergence_orders(table: pd.DataFrame) -> dict[str, float]:
    """Order of each sampler of a `solver_table`: minus the slope of ln(error) on ln(steps)."""
    return {
        str(name): -float(np.polyfit(np.log(rows.steps), np.log(rows.error), 1)[0])
        for name, rows in table.groupby("sampler")
    }


def misled(
    denoise: Denoise, scales: Preconditioning, error: float, above_sigma: float = 0.0
) -> Denoise:
    """A denoiser whose network is off by `error` (unit of F: 1 is its whole target) in places.

    The places are sigma > above_sigma. The denoised signal is off by c_out(sigma) error.
    """

    def denoise_misled(x: Tensor, sigma: Tensor) -> Tensor:
        clean = denoise(x, sigma)
        return clean + error * scales.c_out(sigma) if float(sigma) > above_sigma else clean

    return denoise_misled


def churn_table(
    mixture: GaussianMixture,
    denoisers: dict[str, Denoise],
    S_churns: Sequence[float],
    latents: Tensor,
    steps: int,
    generator: torch.Generator,
) -> pd.DataFrame:
    """How far the samples of each denoiser are from the 1-d mixture, by S_churn.

    Heun from latents (B, 1); columns: denoiser, S_churn, distance (Wasserstein, units of x).
    """
    rows = []
    for name, denoise in denoisers.items():
        for S_churn in S_churns:
            samples = sample_heun(
                denoise,
                latents,
                karras_sigmas(steps),
                S_churn=S_churn,
                S_tmax=50,
                randn_like=lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype),
            )
            rows.append((name, S_churn, wasserstein_1d(mixture, samples)))
    return pd.DataFrame(rows, columns=["denoiser", "S_churn", "distance"])


def guidance_samples(
    mixture: GaussianMixture,
    k: int,
    settings: dict[str, tuple[float, tuple[float, float]]],
    latents: Tensor,
    steps: int,
) -> pd.DataFrame:
    """Samples guided towards component k, one row each.

    settings: name -> (scale, sigma_interval). Columns: setting, x.
    """
    cond = mixture.component(k).denoise
    tables = []
    for name, (scale, interval) in settings.items():
        denoise = guided(cond, mixture.denoise, scale, interval)
        samples = sample_heun(denoise, latents, karras_sigmas(steps))
        tables.append(pd.DataFrame({"setting": name, "x": samples.flatten().numpy()}))
    return pd.concat(tables, ignore_index=True)
