"""Sampling a trained cascade: one image and an LVEF in, a beating heart out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from echocascade import runtime
from echocascade.cascade.checkpoint import (
    CheckpointError,
    check_architecture,
    check_conditioning,
    latest_checkpoint,
)
from echocascade.cascade.conditioning import Conditioning, shrink_frame
from echocascade.cascade.identity import check_interpolation
from echocascade.cascade.prepared import Prepared, evaluate, levels_of, with_weights_as
from echocascade.cascade.stage import Stage, Statistics
from echocascade.cascade.window import Known
from echocascade.diffusion import (
    SAMPLERS,
    Denoise,
    Denoiser,
    Held,
    Step,
    guided_batched,
    holding,
    karras_sigmas,
    network_evaluations,
    plan_steps,
)
from echocascade.diffusion.consistency import sample_consistency
from echocascade.diffusion.inpainting import Solver
from echocascade.diffusion.samplers import Callback, Churn
from echocascade.params import GuidanceParams, Params, SamplerParams
from echocascade.rng import SampleNoise

Progress = Callable[[int, int, str], None]
Watch = Callable[[Stage, Step, Tensor], None]
"""Told after every step: the stage, the step, and the videos (B, C, T, H, W) in [-1, 1] that it
expects to see once the remaining noise is gone."""
METHODS: dict[str, Solver] = {**SAMPLERS, "consistency": sample_consistency}


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
    """A stage with its averaged weights, ready to sample.

    hoist: do what is constant over a video's evaluations once (`prepared`), or again in each.
    """

    stage: Stage
    denoiser: Denoiser
    hoist: bool = True
    _cast: Denoiser | None = field(default=None, init=False, repr=False)

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
        known: Known | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Videos (B, C, T, H, W) in [-1, 1].

        I_c: (B, C, H, W) in [-1, 1] at this stage's size or a whole multiple of it; lambda_c:
        (B, S) in [0, 1]; seeds: one number a sample, the address of all its noise under `seed`;
        lowres: the previous stage's videos; known: for a window that continues a clip.
        """
        sampler = sampler or self.stage.params.sampler
        guidance = guidance or Guidance()
        size, frames = self.stage.params.size, self.stage.params.n_frames
        device = next(self.denoiser.parameters()).device
        lowres = None if lowres is None else lowres.to(device)
        part = "" if known is None else f".window{known.window}"
        cond = self._conditioning(
            I_c, lambda_c, lowres, sampler.sigma_aug,
            SampleNoise(seed, f"augment.{self.stage.name}{part}", seeds),
        )  # fmt: skip
        noise = SampleNoise(seed, f"sample.{self.stage.name}{part}", seeds)
        latents = noise(torch.empty(len(seeds), self.stage.channels, frames, size, size))
        scale = guidance.scale if guidance.all_stages or lowres is None else 1.0
        solve = METHODS[sampler.method]
        if known is not None:
            solve, sampler = self._holding(solve, known, lowres), known.schedule(sampler)
        sigmas = karras_sigmas(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho)
        steps = plan_steps(sigmas, Churn(sampler.S_churn, sampler.S_tmin, sampler.S_tmax))
        with runtime.autocast(self.stage.params.training.precision, device):
            denoise = self._guided(cond, scale, guidance.sigma_interval, levels_of(steps))
            target = solve(
                denoise, latents.to(device), sigmas,
                S_churn=sampler.S_churn, S_tmin=sampler.S_tmin, S_tmax=sampler.S_tmax,
                S_noise=sampler.S_noise, randn_like=noise,
                callback=None if watch is None else self._telling(watch, lowres),
            )  # fmt: skip
        return self.stage.video_of(target, lowres)

    def _guided(
        self, cond: Conditioning, scale: float, interval: tuple[float, float], levels: list[float]
    ) -> Denoise:
        both = cond if scale == 1 else cond.joined(cond.without_lambda())
        if not self.hoist:
            return guided_batched(self.denoiser, cond, both, scale, interval)
        denoiser = self._with_cast_weights()
        alone = [s for s in levels if scale == 1 or not interval[0] < s <= interval[1]]
        guided = [s for s in levels if s not in alone]
        prepared = Prepared.of(denoiser, cond, alone)
        prepared_both = Prepared.of(denoiser, both, guided) if guided else prepared
        return guided_batched(evaluate, prepared, prepared_both, scale, interval)

    def _with_cast_weights(self) -> Denoiser:
        """The denoiser with the weights that autocast would make of its own at every evaluation."""
        device = next(self.denoiser.parameters()).device
        precision = self.stage.params.training.precision
        if runtime.resolve_precision(precision, device) != "bf16":
            return self.denoiser
        if self._cast is None:
            self._cast = with_weights_as(self.denoiser, torch.bfloat16)
        return self._cast

    def _holding(self, solve: Solver, known: Known, lowres: Tensor | None) -> Solver:
        device = next(self.denoiser.parameters()).device
        values = self.stage.target_of(known.video.to(device), lowres)
        mask = rearrange(known.held.to(device), "t -> 1 1 t 1 1")
        return holding(solve, Held(values, mask, guess=known.guess_from is not None))

    def _telling(self, watch: Watch, lowres: Tensor | None) -> Callback:
        def told(step: Step, _: Tensor, denoised: Tensor) -> None:
            watch(self.stage, step, self.stage.video_of(denoised.float(), lowres))

        return told

    def _conditioning(
        self, I_c: Tensor, lambda_c: Tensor, lowres: Tensor | None, sigma_aug: float,
        noise: SampleNoise,
    ) -> Conditioning:  # fmt: skip
        device = next(self.denoiser.parameters()).device
        augmentation = None
        if lowres is not None:
            augmentation = torch.full((len(lowres),), sigma_aug, device=device)
            lowres = self.stage.enlarged(lowres + sigma_aug * noise(lowres))
        return Conditioning(
            lambda_c=lambda_c.to(device),
            I_c=shrink_frame(I_c.to(device), self.stage.params.size),
            given=torch.ones(len(I_c), device=device),
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
        watch: Watch | None = None,
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
                    watch=watch,
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
    check_conditioning(checkpoint, params.select("conditioning.scalars"))
    check_interpolation(checkpoint, stage)
    stage = stage.with_statistics(Statistics(**checkpoint.meta["statistics"]))
    denoiser = stage.build()
    weights = checkpoint.weights("ema")
    check_architecture(weights, denoiser.state_dict(), str(checkpoint.directory))
    denoiser.load_state_dict(weights)
    denoiser = denoiser.to(device).eval().requires_grad_(False)
    if stage.params.imported is None:
        return LoadedStage(stage, denoiser)
    from echocascade.cascade.imagen_stage import ImagenStage  # it is a kind of LoadedStage

    return ImagenStage(stage, denoiser)
