"""All predictions for one parameters file, and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from echocascade.params import Params, ParamsError
from echocascade.studies.scaling.chunks import Chunks, clips_work, evaluation_work, video_flops
from echocascade.studies.scaling.machine import SOURCES, Machine
from echocascade.studies.scaling.training import StageWork, cascade_seconds, training_work

GPUS = (1, 8, 64, 512)
CLIPS = 1_000_000
BLOCKS = (16, 100, 1000)
AVI_FRAME_BYTES = 3805  # of 112 x 112: the mean of 50 real clips; `data.encode` is set to match it
PAPER_SIZE = 112  # pixels that AVI_FRAME_BYTES belongs to
ECHONET_FRAMES = 1_109_236  # of EchoNet-Dynamic's 10,030 clips at 32 fps, from its FileList.csv
PLAN_ROW_BYTES = 60  # of a target in plan.csv, about


@dataclass(frozen=True)
class Prediction:
    """What each number of GPUs gives for one parameters file; n_clips: of the large synthesis."""

    params: Params
    gpus: tuple[int, ...]
    n_clips: int
    machine: Machine

    @cached_property
    def stages(self) -> tuple[StageWork, ...]:
        return training_work(self.params, self.machine)

    @cached_property
    def video_flops(self) -> int:
        return video_flops(self.params)

    @cached_property
    def evaluation(self) -> Chunks:
        return evaluation_work(self.params, self.machine, self.video_flops)

    @cached_property
    def clips(self) -> Chunks:
        """Sharded, in blocks as large as the parameters say."""
        return self.clips_in(self.params.rebalancing.generation.block)

    def clips_in(self, block: int, shards: bool = True) -> Chunks:
        flops = self.video_flops
        return clips_work(self.params, self.machine, flops, self.n_clips, block, shards)

    @property
    def frame_bytes(self) -> tuple[float, int]:
        """Of a frame of the last stage: as AVI and in a store."""
        pixels = self.params.cascade.stages[-1].size ** 2
        stored = self.params.data.channels * pixels
        return AVI_FRAME_BYTES * pixels / PAPER_SIZE**2, stored

    def to_json(self) -> dict[str, Any]:
        return {
            "params": self.params.name,
            "machine": asdict(self.machine),
            "sources": SOURCES,
            "video_flops": self.video_flops,
            "together": [self.together(n) for n in self.gpus],
            "stages": [self._stage(s) for s in self.stages],
            "blocks": [self.block(b) for b in self.blocks],
        }

    def together(self, n: int) -> dict[str, Any]:
        seconds, given = cascade_seconds(self.stages, n)
        alone, _ = cascade_seconds(self.stages, 1)
        return {
            "gpus": n,
            "training_s": seconds,
            "devices": given,
            "training_efficiency": alone / (n * seconds),
            "evaluation_s": self.evaluation.seconds(n),
            "evaluation_efficiency": self.evaluation.efficiency(n),
            "clips_s": self.clips.seconds(n),
            "clips_efficiency": self.clips.efficiency(n),
        }

    def _stage(self, stage: StageWork) -> dict[str, Any]:
        by_gpus = [
            asdict(stage.best(n))
            | {
                "given": n, "run_s": stage.seconds(n), "efficiency": stage.efficiency(n),
                "limit": stage.limit(n),
            }
            for n in self.gpus
        ]  # fmt: skip
        return {
            "name": stage.name,
            "parameters": stage.parameters,
            "sample_flops": stage.sample_flops,
            "gradient_bytes": stage.gradient_bytes,
            "checkpoint_bytes": stage.checkpoint_bytes,
            "batch_size": stage.training.batch_size,
            "steps": stage.steps,
            "gpus": by_gpus,
        }

    @property
    def blocks(self) -> list[int]:
        return sorted({*BLOCKS, self.clips.chunk})

    def block(self, block: int) -> dict[str, Any]:
        sharded, single = self.clips_in(block), self.clips_in(block, shards=False)
        most = max(self.gpus)
        looks = sharded.looks * sharded.n_chunks
        return {
            "block": block,
            "blocks": sharded.n_chunks,
            "files_sharded": sharded.files * sharded.n_chunks,
            "files_single": 2 * single.n_chunks + self.n_clips,
            "lost_s": sharded.chunk_s,
            "plan_bytes": sharded.n_chunks * self.n_clips * PLAN_ROW_BYTES,
            "looks_s": self.machine.looks_s(looks, min(most, sharded.n_chunks)),
            "efficiency": sharded.efficiency(most),
        }


def predict(
    params: Params, gpus: Sequence[int] = GPUS, clips: int = CLIPS, tflops: float | None = None
) -> Prediction:
    """tflops: what one GPU keeps up, in place of the machine's own rate.

    Raises:
        ParamsError: a number is not positive, or a network is imported.
    """
    for name, numbers in (("gpus", gpus), ("clips", [clips]), ("tflops", [tflops])):
        for number in numbers:
            if number is not None and not number > 0:
                raise ParamsError(f"{name} is {number}; allowed: more than 0")
    if not gpus:
        raise ParamsError("gpus is empty; give numbers such as 1,8,64")
    machine = Machine() if tflops is None else Machine(flop_per_s=1e12 * tflops)
    return Prediction(params, tuple(gpus), clips, machine)
