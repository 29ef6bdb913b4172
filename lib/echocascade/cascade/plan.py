"""What sampling will take, said before it starts: evaluations, FLOPs, memory and expected time."""

import time
from dataclasses import asdict, dataclass, replace

import torch

from echocascade import runtime
from echocascade.cascade.cost import example_inputs, sampling_cost, sampling_memory
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import METHODS, Guidance
from echocascade.diffusion import Denoiser, karras_sigmas
from echocascade.params import Params, ParamsError, SamplerParams

# Videos that a sampler keeps beside the network's own tensors: the state before and after a step,
# its noise, the denoised one, two slopes, and the conditioning before it is doubled.
SAMPLER_VIDEOS = 7
# A parameter, all stages being loaded together; for bfloat16 a second, converted copy is kept.
WEIGHT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 6}
PROBE_S = 0.5  # seconds that a probe should last to be worth believing


@dataclass(frozen=True)
class StagePlan:
    """One stage for all videos.

    n_frames, size of its videos; evaluations of the network a video (a guided one counts twice);
    flops a video; memory_bytes: weights of all stages, activations of this one; flop_per_s and
    seconds (for all videos together): expected.
    """

    name: str
    role: str
    n_frames: int
    size: int
    fps: int
    parameters: int
    precision: str
    guided: bool
    evaluations: int
    flops: int
    memory_bytes: int
    flop_per_s: float
    seconds: float


@dataclass(frozen=True)
class SamplingPlan:
    """All stages, in order, and what holds for all of them; rate_from: "measured" or "given"."""

    n_videos: int
    batch_size: int
    guidance_scale: float | None
    device: str
    rate_from: str
    stages: tuple[StagePlan, ...]

    @property
    def evaluations(self) -> int:
        return sum(s.evaluations for s in self.stages)

    @property
    def flops(self) -> int:
        """Of one video."""
        return sum(s.flops for s in self.stages)

    @property
    def memory_bytes(self) -> int:
        return max(s.memory_bytes for s in self.stages)

    @property
    def seconds(self) -> float:
        """For all videos."""
        return sum(s.seconds for s in self.stages)

    def to_json(self) -> dict[str, object]:
        totals = ("evaluations", "flops", "memory_bytes", "seconds")
        return {**asdict(self), **{f"total_{key}": getattr(self, key) for key in totals}}

    @property
    def text(self) -> str:
        """The plan as a table with a line before and two after it."""
        several = f"{self.n_videos} videos" if self.n_videos > 1 else "1 video"
        scale = "chosen on VAL" if self.guidance_scale is None else f"{self.guidance_scale:g}"
        lines = [f"{several}, {self.batch_size} at a time, guidance {scale}, on {self.device}"]
        row = "  {:<8} {:<5} {:>16} {:>10} {:>12} {:>14} {:>10} {:>11}".format
        lines.append(
            row("stage", "role", "frames x px", "parameters", "evaluations", "TFLOP a video",
                "memory GB", "time")
        )  # fmt: skip
        for s in self.stages:
            shape = f"{s.n_frames} x {s.size} x {s.size}"
            lines.append(
                row(s.name, s.role, shape, f"{s.parameters / 1e6:.1f} M", s.evaluations,
                    tera(s.flops), f"{s.memory_bytes / 2**30:.2f}", clock(s.seconds))
            )  # fmt: skip
        lines.append(
            row("together", "", "", "", self.evaluations, tera(self.flops),
                f"{self.memory_bytes / 2**30:.2f}", clock(self.seconds))
        )  # fmt: skip
        rates = ", ".join(f"{s.name} {tera(s.flop_per_s)} ({s.precision})" for s in self.stages)
        lines.append(f"  TFLOP/s, {self.rate_from}: {rates}")
        lines.append("  memory is PyTorch's tensors; libraries take their working space beside it")
        return "\n".join(lines)


def plan_sampling(
    params: Params,
    n_videos: int,
    batch_size: int,
    guidance_scale: float | None = None,
    *,
    flop_per_s: float | None = None,
) -> SamplingPlan:
    """Plan `n_videos` videos, `batch_size` at a time, on this machine's default device.

    guidance_scale: the run's own when None; where that is still to be chosen, guidance is counted.
    flop_per_s: > 0, the rate to expect; when None every stage's network is timed for a second or
    two, untrained, at a part of its size.

    Raises:
        ParamsError: a number is not positive, the scale is negative, or a network is imported.
    """
    for name, number in (("n_videos", n_videos), ("batch_size", batch_size)):
        if number < 1:
            raise ParamsError(f"{name} is {number}; allowed: 1 or more")
    if flop_per_s is not None and not flop_per_s > 0:
        raise ParamsError(f"flop_per_s is {flop_per_s}; allowed: more than 0")
    if guidance_scale is not None and guidance_scale < 0:
        raise ParamsError(f"guidance_scale is {guidance_scale}; allowed: 0 or more")
    own = params.cascade.guidance.scale
    scale = guidance_scale if guidance_scale is not None else (None if own == "auto" else own)
    device = runtime.default_device()
    guidance = Guidance.of(params.cascade.guidance, 2.0 if scale is None else scale)
    at_once = min(batch_size, n_videos)
    planned = []
    for index in range(len(params.cascade.stages)):
        stage = Stage.of(params, index)
        rate = flop_per_s or measure_rate(stage, device, at_once)
        planned.append(_plan_stage(stage, guidance, n_videos, at_once, rate))
    weights = sum(WEIGHT_BYTES[s.precision] * s.parameters for s in planned)
    loaded = tuple(replace(plan, memory_bytes=plan.memory_bytes + weights) for plan in planned)
    return SamplingPlan(
        n_videos, at_once, scale, str(device), "given" if flop_per_s else "measured", loaded
    )


def _plan_stage(
    stage: Stage, guidance: Guidance, n_videos: int, at_once: int, rate: float
) -> StagePlan:
    """The plan of one stage, its memory without any weights."""
    p = stage.params
    applies = guidance.scale != 1 and (guidance.all_stages or stage.before is None)
    low, high = guidance.sigma_interval
    levels = evaluated_levels(p.sampler)
    doubled = sum(applies and low < level <= high for level in levels)
    cost = sampling_cost(stage)
    precision = runtime.resolve_precision(p.training.precision, runtime.default_device())
    flops = cost.flops * (len(levels) + doubled)
    video = 4 * stage.channels * p.n_frames * p.size**2
    return StagePlan(
        name=p.name, role=stage.role, n_frames=p.n_frames, size=p.size, fps=p.fps,
        parameters=cost.parameters,
        precision=precision,
        guided=doubled > 0, evaluations=len(levels) + doubled, flops=flops,
        memory_bytes=sampling_memory(stage, at_once, doubled > 0)
        + SAMPLER_VIDEOS * at_once * video,
        flop_per_s=rate, seconds=n_videos * flops / rate,
    )  # fmt: skip


def evaluated_levels(sampler: SamplerParams) -> list[float]:
    """The noise levels that one video's sampling asks the denoiser for, in order, churn included:
    the sampler itself is run, on one number."""
    levels: list[float] = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        levels.append(float(sigma))
        return torch.zeros_like(x)

    METHODS[sampler.method](
        denoise, torch.zeros(1),
        karras_sigmas(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho),
        S_churn=sampler.S_churn, S_tmin=sampler.S_tmin, S_tmax=sampler.S_tmax,
        S_noise=sampler.S_noise, randn_like=torch.zeros_like,
    )  # fmt: skip
    return levels


def measure_rate(stage: Stage, device: torch.device, batch_size: int = 1) -> float:
    """FLOP/s of the stage's untrained network on `device`, at the size that it trains on.

    Frames, then samples, are doubled until one evaluation lasts `PROBE_S` or the stage's own frames
    and `batch_size` are reached.
    """
    size, all_frames = stage.params.training.crop or stage.params.size, stage.params.n_frames
    denoiser = stage.build().to(device).eval()
    batch, n_frames = 1, min(2, all_frames)
    _timed(denoiser, stage, (batch, size, n_frames))  # the first call also sets libraries up
    while (seconds := _timed(denoiser, stage, (batch, size, n_frames))) < PROBE_S:
        if n_frames < all_frames:
            n_frames = min(2 * n_frames, all_frames)
        elif batch < batch_size:
            batch = min(2 * batch, batch_size)
        else:
            break
    return sampling_cost(stage, batch, size=size, n_frames=n_frames).flops / seconds


@torch.no_grad()
def _timed(denoiser: Denoiser, stage: Stage, shape: tuple[int, int, int]) -> float:
    """Seconds of one evaluation of (batch, size, frames)."""
    device = next(denoiser.parameters()).device
    inputs = example_inputs(stage, *shape, device)
    start = time.perf_counter()
    with runtime.autocast(stage.params.training.precision, device):
        denoiser(*inputs).sum().item()  # reading a number waits for the device
    return time.perf_counter() - start


def tera(number: float) -> str:
    """A number in units of 1e12, three digits: "0.0281", "29.7", "1278"."""
    return f"{number / 1e12:.0f}" if number >= 1e14 else f"{number / 1e12:.3g}"


def clock(seconds: float) -> str:
    """A duration in words: "4.2 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
