"""What training takes of a device's memory, said before it starts."""

from dataclasses import asdict, dataclass, replace

from echocascade.cascade.cost import sampling_cost, training_memory
from echocascade.cascade.loader import Share
from echocascade.cascade.stage import Stage
from echocascade.params import Params, StageParams

STATE_BYTES = 16  # a parameter: weight, average and Adam's two moments in float32


@dataclass(frozen=True)
class StageMemory:
    """One device that trains one stage: `samples` at a time, `parts` times a step.

    memory_bytes, and with checkpointed activations; the weights and all that is kept with them are
    included, the working space of libraries is not. checkpointed: whether the run asks for it.
    """

    name: str
    role: str
    pixels: int
    n_frames: int
    samples: int
    parts: int
    memory_bytes: int
    checkpointed_bytes: int
    checkpointed: bool


@dataclass(frozen=True)
class TrainingPlan:
    """All stages; `devices` share a batch."""

    devices: int
    stages: tuple[StageMemory, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def text(self) -> str:
        """A table with a line before it."""
        row = "  {:<8} {:<5} {:>16} {:>14} {:>10} {:>14}".format
        lines = [f"training on {self.devices} device(s), each:"]
        lines.append(row("stage", "role", "frames x px", "samples", "memory GB", "checkpointed"))
        for s in self.stages:
            shape = f"{s.n_frames} x {s.pixels} x {s.pixels}"
            samples = f"{s.samples}" if s.parts == 1 else f"{s.parts} x {s.samples}"
            chosen = " (chosen)" if s.checkpointed else ""
            lines.append(
                row(s.name, s.role, shape, samples, f"{s.memory_bytes / 2**30:.1f}",
                    f"{s.checkpointed_bytes / 2**30:.1f}{chosen}")
            )  # fmt: skip
        return "\n".join(lines)


def plan_training(params: Params) -> TrainingPlan:
    """Memory of every stage on one of `params.devices`.

    Raises:
        ParamsError: a batch cannot be shared evenly.
    """
    stages = (Stage.of(params, i) for i in range(len(params.cascade.stages)))
    return TrainingPlan(params.devices, tuple(_stage_memory(s, params.devices) for s in stages))


def _stage_memory(stage: Stage, devices: int) -> StageMemory:
    p = stage.params
    share = Share.of(p.training, 0, devices)
    state = STATE_BYTES * sampling_cost(stage, n_frames=1).parameters
    plain, checkpointed = (
        state + training_memory(replace(stage, params=_checkpointing(p, on)), share.micro)
        for on in (False, True)
    )
    return StageMemory(
        p.name, stage.role, p.training.crop or p.size, p.n_frames, share.micro, share.parts,
        plain, checkpointed, p.network.checkpoint_activations,
    )  # fmt: skip


def _checkpointing(params: StageParams, on: bool) -> StageParams:
    network = params.network.model_copy(update={"checkpoint_activations": on})
    return params.model_copy(update={"network": network})
