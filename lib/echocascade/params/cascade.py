"""Parameters of the cascade: networks, training, samplers, guidance."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from echocascade.params.imported import ImportedNetwork
from echocascade.params.networks import PRESETS, NetworkPreset
from echocascade.params.section import (
    Fraction,
    ParamsError,
    Positive,
    Role,
    RunName,
    Section,
)


class NetworkParams(Section):
    """Sizes of a stage's U-Net, see `nets.video_unet.UNetConfig`.

    A `preset` gives the values of `params.networks`; a key that is given beside it wins.
    """

    preset: NetworkPreset | None = None
    base_channels: Positive = 64
    channel_multipliers: tuple[Positive, ...] = (1, 2, 4)
    blocks_per_level: Positive | tuple[Positive, ...] = 2
    middle_blocks: Positive = 2
    patch: Literal[1, 2, 4, 8] = 1
    full_resolution_channels: Annotated[int, Field(ge=0)] = 0
    temporal_attention: tuple[int, ...] = (1, 2)
    frame_context: tuple[int, ...] = ()
    spatial_attention: tuple[int, ...] = (2,)
    middle_spatial_attention: bool = False
    attention_heads: Positive = 4
    attention_head_channels: Annotated[int, Field(ge=0)] = 0
    checkpoint_activations: bool = False

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("preset") not in PRESETS:
            return given
        return {**PRESETS[given["preset"]], **given}

    @model_validator(mode="after")
    def _one_a_level(self) -> Self:
        blocks, n_levels = self.blocks_per_level, len(self.channel_multipliers)
        if not isinstance(blocks, int) and len(blocks) != n_levels:
            raise ValueError(
                f"blocks_per_level has {len(blocks)} entries and channel_multipliers {n_levels}: "
                "give one a level, or one number for all"
            )
        return self


class TrainingParams(Section):
    """Training of one stage.

    It ends after `steps`, or when `max_minutes` or `max_hours` of computing are spent, whichever
    comes first. `batch_size` is what one optimiser step averages over, all devices together; a
    device that can hold no more than `device_batch` of it adds up several parts. `muon` trains
    weight matrices at `matrix_learning_rate` and all else with Adam, see `nets.muon`.
    `motion_weight` is how much the error in what moves counts beside the whole error, see
    `cascade.trainer.motion_of`; the losses that are reported leave it out. The paper's is 0.
    """

    steps: Positive
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    max_hours: Annotated[float, Field(gt=0)] | None = None
    batch_size: Positive = 32
    device_batch: Positive | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    matrix_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    decay_from: Fraction = 0.7
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    ema_gamma: Annotated[float, Field(gt=0)] = 16.0
    P_mean: float = -1.2
    P_std: Annotated[float, Field(gt=0)] = 1.2
    motion_weight: Annotated[float, Field(ge=0)] = 0.0
    image_only: Fraction = 0.25
    drop_condition: Fraction = 0.1
    sigma_aug_max: Annotated[float, Field(ge=0)] = 0.2
    crop: Positive | None = None
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    on_change: Literal["set_aside", "stop"] = "set_aside"
    max_bad_steps: Positive = 3
    validate_clips: Positive = 64
    validate_times: Positive = 8

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.max_minutes is not None and self.max_hours is not None:
            raise ValueError("give max_minutes or max_hours, not both")
        return self

    @property
    def limit_s(self) -> float | None:
        """Seconds of computing that the training may take, or None."""
        if self.max_hours is not None:
            return 3600 * self.max_hours
        return None if self.max_minutes is None else 60 * self.max_minutes


class SamplerParams(Section):
    """How one stage is sampled (Karras22 Alg. 2; Lu22 for dpmpp_2m)."""

    method: Literal["heun", "dpmpp_2m", "consistency"] = "heun"
    steps: Positive = 32
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    rho: Annotated[float, Field(gt=0)] = 7.0
    S_churn: Annotated[float, Field(ge=0)] = 0.0
    S_tmin: Annotated[float, Field(ge=0)] = 0.05
    S_tmax: Annotated[float, Field(gt=0)] = 50.0
    S_noise: Annotated[float, Field(gt=0)] = 1.003
    sigma_aug: Annotated[float, Field(ge=0)] = 0.1


class StageParams(Section):
    name: RunName
    size: Positive
    n_frames: Positive
    fps: Positive
    target: Literal["video", "residual"] = "video"
    sigma_data: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    network: NetworkParams = NetworkParams()
    imported: ImportedNetwork | None = None
    training: TrainingParams
    sampler: SamplerParams = SamplerParams()

    @property
    def duration_s(self) -> float:
        return self.n_frames / self.fps

    @model_validator(mode="after")
    def _samples_what_is_trained(self) -> Self:
        if self.sampler.method == "consistency":
            raise ValueError(
                "sampler.method consistency is for distilled weights, which notebook 06 makes when "
                "sampling.distillation.steps is above 0; allowed here: heun, dpmpp_2m"
            )
        if self.sampler.steps < 2:
            raise ValueError(f"sampler.steps is {self.sampler.steps}; allowed: 2 or more")
        return self

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        side = self.network.patch * 2 ** (len(self.network.channel_multipliers) - 1)
        for what, value in (("size", self.size), ("training.crop", self.training.crop)):
            if value is not None and value % side:
                raise ValueError(
                    f"{what} {value} is not a multiple of {side} "
                    "(network.patch x 2^(levels - 1)), which the U-Net needs"
                )
        return self


class GuidanceParams(Section):
    """Classifier-free guidance of the first stage; `auto` chooses the scale on validation clips."""

    scale: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    candidates: tuple[float, ...] = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    sigma_interval: tuple[float, float] | None = None
    apply_to: Literal["first", "all"] = "first"
    clips: Positive = 64


class CascadeParams(Section):
    stages: tuple[StageParams, ...] = Field(min_length=1)
    guidance: GuidanceParams = GuidanceParams()

    @model_validator(mode="after")
    def _chain(self) -> Self:
        names = [s.name for s in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stage names must differ, found {', '.join(names)}")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if abs(before.duration_s - after.duration_s) > 1e-9:
                raise ValueError(
                    f"stage {after.name} lasts {after.duration_s:g} s but {before.name} lasts "
                    f"{before.duration_s:g} s; n_frames / fps must agree along the cascade"
                )
            if after.size % before.size or after.n_frames % before.n_frames:
                raise ValueError(
                    f"stage {after.name} ({after.size} px, {after.n_frames} frames) must be a "
                    f"whole multiple of {before.name} ({before.size} px, {before.n_frames} frames)"
                )
            if (after.size, after.n_frames) == (before.size, before.n_frames):
                raise ValueError(f"stage {after.name} neither enlarges nor refines {before.name}")
        return self

    def role(self, index: int) -> Role:
        """base, TSR (time), SSR (space) or TSSR (both), from the neighbour before."""
        if index == 0:
            return "base"
        before, stage = self.stages[index - 1], self.stages[index]
        if stage.size == before.size:
            return "TSR"
        return "SSR" if stage.n_frames == before.n_frames else "TSSR"

    def index(self, name: str) -> int:
        names = [s.name for s in self.stages]
        if name not in names:
            raise ParamsError(
                f"stage {name!r} is not in this run; its stages are {', '.join(names)}"
            )
        return names.index(name)
