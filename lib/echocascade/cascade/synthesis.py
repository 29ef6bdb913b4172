"""Sampling a trained cascade: one image and an LVEF in, a beating heart out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError, check_architecture, latest_checkpoint
from echocascade.cascade.conditioning import Conditioning, shrink_frame
from echocascade.cascade.stage import Stage, Statistics
from echocascade.diffusion import (
    SAMPLERS,
    Denoiser,
    guided_batched,
    karras_sigmas,
    network_evaluations,
)
from echocascade.params import GuidanceParams, Params, SamplerParams
from echocascade.rng import SampleNoise

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance while sampling: its scale and the noise levels that get it."""

    scale: float = 1.0
    sigma_interval: tuple[float, float] = (0.0, float("inf"))
    all_stages: bool = False

    @staticmethod
    def of(guidance: GuidanceParams, scale: float) -> "Guidance":
        interval = guidance.sigma_interval or (0.0, float("inf"))
        return Guidance(scale, interval, guidance.apply_to == "all")


@dataclass
class LoadedStage:
    """A stage with its averaged weights, ready to sample."""

    stage: Stage
    denoiser: Denoiser

    @torch.no_grad()
    def sample(
        self,
        I_c: Tensor,
        lambda_c: Tensor,
        seeds: Sequence[int],
        *,
        seed: int,
        lowres: Tensor | None = None,
        sampler: SamplerParams | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Videos (B, C, T, H, W) in [-1, 1].

        I_c: (B, C, H, W) in [-1, 1] at this stage's size or a whole multiple of it; lambda_c:
        (B, S) in [0, 1]; seeds: one number a sample, the address of all its noise under `seed`;
        lowres: the previous stage's videos.
        """
        sampler = sampler or self.stage.params.sampler
        guidance = guidance or Guidance()
        size, frames = self.stage.params.size, self.stage.params.n_frames
        device = next(self.denoiser.parameters()).device
        cond = self._conditioning(I_c, lambda_c, seeds, seed, lowres, sampler.sigma_aug)
        noise = SampleNoise(seed, f"sample.{self.stage.name}", seeds)
        latents = noise(torch.empty(len(seeds), self.stage.channels, frames, size, size))
        scale = guidance.scale if guidance.all_stages or lowres is None else 1.0
        denoise = guided_batched(
            self.denoiser, cond, cond.joined(cond.without_lambda()), scale, guidance.sigma_interval
        )
        sigmas = karras_sigmas(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho)
        with runtime.autocast(self.stage.params.training.precision, device):
            target = SAMPLERS[sampler.method](
                denoise, latents.to(device), sigmas,
                S_churn=sampler.S_churn, S_tmin=sampler.S_tmin, S_tmax=sampler.S_tmax,
                S_noise=sampler.S_noise, randn_like=noise,
            )  # fmt: skip
        return self.stage.video_of(target, cond.lowres)

    def _conditioning(
        self, I_c: Tensor, lambda_c: Tensor, seeds: Sequence[int], seed: int,
        lowres: Tensor | None, sigma_aug: float,
    ) -> Conditioning:  # fmt: skip
        device = next(self.denoiser.parameters()).device
        augmentation = None
        if lowres is not None:
            lowres = lowres.to(device)
            noise = SampleNoise(seed, f"augment.{self.stage.name}", seeds)(lowres)
            augmentation = torch.full((len(seeds),), sigma_aug, device=device)
            lowres = self.stage.enlarged(lowres + sigma_aug * noise)
        return Conditioning(
            lambda_c=lambda_c.to(device),
            I_c=shrink_frame(I_c.to(device), self.stage.params.size),
            given=torch.ones(len(seeds), device=device),
            lowres=lowres,
            sigma_aug=augmentation,
        )

    def evaluations(self, sampler: SamplerParams | None = None) -> int:
        """Network evaluations of one video, without guidance."""
        sampler = sampler or self.stage.params.sampler
        return network_evaluations(sampler.method, sampler.steps)


class Cascade:
    """All trained stages of a run, first to last."""

    def __init__(self, params: Params, stages: list[LoadedStage]) -> None:
        self.params, self.stages = params, stages

    @staticmethod
    def load(params: Params, checkpoints: Path, device: torch.device | None = None) -> "Cascade":
        """The averaged weights of every finished stage under `checkpoints`/<stage>.

        Raises:
            CheckpointError: a stage is missing, unfinished, damaged or of another architecture.
        """
        device = device or runtime.default_device()
        stages = []
        for index in range(len(params.cascade.stages)):
            stages.append(load_stage(params, index, checkpoints, device))
        return Cascade(params, stages)

    def sample(
        self,
        I_c: Tensor,
        lambda_c: Tensor,
        seeds: Sequence[int],
        *,
        guidance: Guidance | None = None,
        samplers: Sequence[SamplerParams] | None = None,
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> list[Tensor]:
        """One video per row: a list with every stage's videos (N, C, T, H, W) in [-1, 1].

        I_c: (N, C, H, W) in [-1, 1] at the last stage's size; lambda_c: (N, S) in [0, 1];
        seeds: N numbers. The result of a row does not depend on the rows beside it.
        """
        if not len(I_c) == len(lambda_c) == len(seeds):
            raise ValueError(
                f"I_c has {len(I_c)} rows, lambda_c {len(lambda_c)}, seeds {len(seeds)}: "
                "they must agree"
            )
        videos: list[list[Tensor]] = [[] for _ in self.stages]
        done, total = 0, len(seeds) * len(self.stages)
        for start in range(0, len(seeds), batch_size):
            rows = slice(start, start + batch_size)
            lowres = None
            for i, stage in enumerate(self.stages):
                lowres = stage.sample(
                    I_c[rows], lambda_c[rows], seeds[rows], seed=self.params.seed, lowres=lowres,
                    sampler=samplers[i] if samplers else None, guidance=guidance,
                )  # fmt: skip
                videos[i].append(lowres.float().cpu())
                done += len(lowres)
                if progress is not None:
                    progress(done, total, stage.stage.name)
        return [torch.cat(parts) for parts in videos]


def load_stage(
    params: Params, index: int, checkpoints: Path, device: torch.device | None = None
) -> LoadedStage:
    """One finished stage with its averaged weights."""
    stage = Stage.of(params, index)
    device = device or runtime.default_device()
    checkpoint, _ = latest_checkpoint(checkpoints / stage.name)
    if checkpoint is None or not checkpoint.finished:
        state = "not trained" if checkpoint is None else f"only at step {checkpoint.step}"
        raise CheckpointError(f"{checkpoints / stage.name}: stage {stage.name} is {state}")
    stage = stage.with_statistics(Statistics(**checkpoint.meta["statistics"]))
    denoiser = stage.build()
    weights = checkpoint.weights("ema")
    check_architecture(weights, denoiser.state_dict(), str(checkpoint.directory))
    denoiser.load_state_dict(weights)
    return LoadedStage(stage, denoiser.to(device).eval().requires_grad_(False))
