"""Training on n GPUs: computing, all-reduce and reading of a step, and who gets which GPUs.

FLOPs, parameters and parts of a batch are counted by the code that does the work (`cascade.cost`,
`cascade.loader`).
"""

from dataclasses import dataclass
from functools import cached_property

from echocascade.cascade.cost import sampling_cost
from echocascade.cascade.loader import Share
from echocascade.cascade.stage import Stage
from echocascade.cascade.training_plan import STATE_BYTES
from echocascade.params import Params, TrainingParams
from echocascade.studies.scaling.machine import Machine

FLOAT_BYTES = 4  # gradients are float32 in every precision that a stage trains in
BACKWARD = 2  # forward passes that a backward pass takes: one product by inputs, one by weights
BUCKET_BYTES = 25 * 2**20  # torch's DistributedDataParallel sends gradients in such parts
FIRST_BUCKET_BYTES = 2**20  # and the first of them in this one
SMALL_MESSAGES = 3  # a step besides gradients: unused layers, losses with stop flags, the clock


@dataclass(frozen=True)
class Step:
    """One optimiser step on `gpus` devices; read_s is hidden behind the others where `ahead`."""

    gpus: int
    compute_s: float
    all_reduce_s: float
    read_s: float
    ahead: bool

    @property
    def seconds(self) -> float:
        busy = self.compute_s + self.all_reduce_s
        return max(busy, self.read_s) if self.ahead else busy + self.read_s


@dataclass(frozen=True)
class StageWork:
    """The training of one stage. sample_flops: forward and backward pass of one sample;
    sample_bytes: read of the store for one; steps: that the run makes on its own devices."""

    name: str
    parameters: int
    sample_flops: int
    sample_bytes: int
    training: TrainingParams
    devices: int
    machine: Machine

    @property
    def gradient_bytes(self) -> int:
        return FLOAT_BYTES * self.parameters

    @property
    def checkpoint_bytes(self) -> int:
        """Weights, average and Adam's two moments."""
        return STATE_BYTES * self.parameters

    @property
    def sizes(self) -> list[int]:
        """Numbers of devices that can share a batch evenly; the last is the batch itself."""
        batch = self.training.batch_size
        return [n for n in range(1, batch + 1) if batch % n == 0]

    def step(self, gpus: int) -> Step:
        """A step on so many devices, nothing of the all-reduce hidden behind the backward pass.

        Raises:
            ParamsError: the batch cannot be shared evenly.
        """
        m, share = self.machine, Share.of(self.training, 0, gpus)
        compute = share.parts * (share.micro * self.sample_flops / m.flop_per_s + m.launch_s)
        nodes = -(-gpus // m.gpus_per_node)
        disk = min(m.disk_bytes_per_s, nodes * m.client_bytes_per_s)
        return Step(
            gpus, compute, all_reduce_s(m, self.gradient_bytes, gpus),
            self.training.batch_size * self.sample_bytes / disk, self.training.workers > 0,
        )  # fmt: skip

    def best(self, gpus: int) -> Step:
        """The fastest step that at most so many devices make; the fewest where several tie."""
        return min((self.step(n) for n in self.sizes if n <= gpus), key=lambda s: s.seconds)

    @cached_property
    def steps(self) -> int:
        """What the run's own `steps` and hours come to on its own devices."""
        steps, limit_s = self.training.steps, self.training.limit_s
        if limit_s is None:
            return steps
        return min(steps, max(int(limit_s / self.best(self.devices).seconds), 1))

    def seconds(self, gpus: int) -> float:
        """Of all steps on at most so many devices."""
        return self.steps * self.best(gpus).seconds

    def efficiency(self, gpus: int) -> float:
        """Useful share of the devices' time, against one device: at most 1."""
        return self.seconds(1) / (gpus * self.seconds(gpus))

    def limit(self, gpus: int) -> str:
        """What more devices than these would meet first."""
        step = self.best(gpus)
        if step.read_s > step.compute_s + step.all_reduce_s:
            return "reading"
        if step.gpus == self.training.batch_size:
            return "batch"
        fewer = step.gpus < max(n for n in self.sizes if n <= gpus)
        return "all-reduce" if fewer or step.all_reduce_s > step.compute_s else "compute"


def all_reduce_bytes(n_bytes: int, gpus: int) -> float:
    """What each device of a ring sends, and receives, to sum `n_bytes` over all."""
    return 2 * (gpus - 1) / gpus * n_bytes


def all_reduce_s(machine: Machine, gradient_bytes: int, gpus: int) -> float:
    """Seconds of a step's messages around one ring, its bytes as slow as the slowest link."""
    if gpus == 1:
        return 0.0
    nodes = -(-gpus // machine.gpus_per_node)
    between = nodes if nodes > 1 else 0  # links of the ring that leave a node
    rate = machine.net_bytes_per_s if between else machine.node_bytes_per_s
    lap_s = between * machine.net_latency_s + (gpus - between) * machine.node_latency_s
    buckets = 1 + -(-max(gradient_bytes - FIRST_BUCKET_BYTES, 0) // BUCKET_BYTES)
    laps = (buckets + SMALL_MESSAGES) * 2 * (gpus - 1) / gpus
    return all_reduce_bytes(gradient_bytes, gpus) / rate + laps * lap_s


def split(stages: tuple[StageWork, ...], gpus: int) -> dict[str, int]:
    """Devices of each stage when all train beside each other: what is left goes to the slowest.

    Empty where there are fewer devices than stages.
    """
    if gpus < len(stages):
        return {}
    given = {s.name: 1 for s in stages}
    while True:
        slowest = max(stages, key=lambda s: s.seconds(given[s.name]))
        now = slowest.seconds(given[slowest.name])
        free = gpus - sum(given.values()) + given[slowest.name]
        sizes = (n for n in slowest.sizes if n <= free)
        more = [n for n in sizes if slowest.steps * slowest.step(n).seconds < now]
        if not more:
            return given
        given[slowest.name] = more[0]


def cascade_seconds(stages: tuple[StageWork, ...], gpus: int) -> tuple[float, dict[str, int]]:
    """Seconds of all stages, and the devices of each: beside each other or, where that is faster,
    one after the other (no split is returned then)."""
    in_turn = sum(s.seconds(gpus) for s in stages)
    given = split(stages, gpus)
    beside = max(s.seconds(given[s.name]) for s in stages) if given else in_turn
    return (beside, given) if given and beside <= in_turn else (in_turn, {})


def training_work(params: Params, machine: Machine) -> tuple[StageWork, ...]:
    """Every stage's training, counted. ParamsError where a network is imported."""
    return tuple(
        _stage_work(Stage.of(params, i), params, machine) for i in range(len(params.cascade.stages))
    )


def _stage_work(stage: Stage, params: Params, machine: Machine) -> StageWork:
    p = stage.params
    cost = sampling_cost(stage, size=p.training.crop)
    passes = 1 + BACKWARD + int(p.network.checkpoint_activations)
    frames = (p.n_frames + 1) * stage.channels * params.store_size**2  # a window and I_c, whole
    return StageWork(
        p.name, cost.parameters, passes * cost.flops, frames, p.training, params.devices, machine
    )
