"""Sampling a stage that has imagen-pytorch's network as its authors' own sampler does."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.synthesis import LoadedStage
from echocascade.diffusion import Denoise, guided_batched
from echocascade.params.imported import ImportedNetwork
from echocascade.rng import SampleNoise


class ImagenStage(LoadedStage):
    """A stage that conditions, guides and thresholds as imagen-pytorch's elucidated sampler."""

    @property
    def imported(self) -> ImportedNetwork:
        found = self.stage.params.imported
        assert found is not None
        return found

    def _guided(
        self, cond: Conditioning, scale: float, interval: tuple[float, float], levels: list[float]
    ) -> Denoise:
        both = cond if scale == 1 else cond.joined(cond.without_lambda())
        denoise = guided_batched(self.denoiser, cond, both, scale, interval)

        def limited(x: Tensor, sigma: Tensor) -> Tensor:
            return in_range(denoise(x, sigma), self.imported)

        return limited

    def _conditioning(
        self, I_c: Tensor, lambda_c: Tensor, lowres: Tensor | None, sigma_aug: float,
        noise: SampleNoise,
    ) -> Conditioning:  # fmt: skip
        device = next(self.denoiser.parameters()).device
        cond = Conditioning(lambda_c.to(device), I_c.to(device), torch.ones(len(I_c)).to(device))
        if lowres is None:
            return cond
        params = self.stage.params
        enlarged = F.interpolate(
            lowres, (params.n_frames, params.size, params.size), mode=self.imported.resize_mode
        )
        times = torch.full((len(lowres),), sigma_aug, device=device)
        return replace(cond, lowres=noised(enlarged, sigma_aug, noise(enlarged)), sigma_aug=times)


def noised(video: Tensor, time: float, noise: Tensor) -> Tensor:
    """alpha video + sigma noise at `time` in [0, 1] of the package's linear schedule.

    Its log signal-to-noise ratio is -ln(exp(u) - 1), u = 1e-4 + 10 t^2, so alpha^2 = exp(-u).
    """
    alpha_squared = math.exp(-(1e-4 + 10 * time**2))
    return math.sqrt(alpha_squared) * video + math.sqrt(1 - alpha_squared) * noise


def in_range(video: Tensor, imported: ImportedNetwork) -> Tensor:
    """Denoised videos (B, ...) brought into [-1, 1], by their own percentile or by clipping."""
    if not imported.dynamic_thresholding:
        return video.clamp(-1, 1)
    s = torch.quantile(video.float().abs().flatten(1), imported.percentile, dim=1).clamp_min(1)
    s = s.to(video.dtype).view(-1, *[1] * (video.ndim - 1))
    return video.clamp(-s, s) / s
