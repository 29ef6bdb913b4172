"""Sampling on n GPUs in chunks that need nothing from each other: the protocol, a million clips."""

from dataclasses import dataclass

from echocascade.cascade.plan import plan_sampling
from echocascade.params import Params, ParamsError
from echocascade.studies.protocol import TASKS
from echocascade.studies.scaling.machine import Machine

CHANGES = 2  # of the file system's tables for a file: created under another name, then renamed
EVALUATION_FILES = 3  # of a unit: videos, measured table, lock (`studies.chunks`)
EVALUATION_LOOKS = 6  # videos and table, asked for by `missing` three times once a share is done
BLOCK_TABLES = 2  # of a block: its draws, its tracings (`studies.rebalancing.folder`)
BLOCK_LOOKS = 2  # for a block's table, before and after a share


@dataclass(frozen=True)
class Chunks:
    """Videos that processes sample in chunks which need nothing from each other.

    chunk: videos that one process makes and saves together; files: that a chunk leaves;
    looks: how often a process asks for the files that mark the chunks as done.
    """

    videos: int
    chunk: int
    video_flops: int
    files: int
    looks: int
    machine: Machine

    @property
    def n_chunks(self) -> int:
        return -(-self.videos // self.chunk)

    @property
    def chunk_s(self) -> float:
        """Of one chunk on one GPU: also what a process that is killed loses at most."""
        return self.chunk * self.video_flops / self.machine.flop_per_s

    def rounds(self, gpus: int) -> int:
        return -(-self.n_chunks // gpus)

    def seconds(self, gpus: int) -> float:
        """Start, every round, and looking for what the others have done."""
        m, busy = self.machine, min(gpus, self.n_chunks)
        made = min(self.rounds(gpus) * self.chunk, self.videos) * self.video_flops / m.flop_per_s
        changes = CHANGES * self.files * self.n_chunks / m.changes_per_s
        return max(m.start_s + made, changes) + m.looks_s(self.looks * self.n_chunks, busy)

    def efficiency(self, gpus: int) -> float:
        """Useful share of the GPUs' time: at most 1."""
        useful = self.videos * self.video_flops / self.machine.flop_per_s
        return useful / (gpus * self.seconds(gpus))


def video_flops(params: Params) -> int:
    """Of one video through all stages, guided as the run is."""
    return plan_sampling(params, 1, 1, flop_per_s=1.0).flops


def evaluation_work(params: Params, machine: Machine, flops: int) -> Chunks:
    """The whole protocol: every clip, every draw, both tasks. See `studies.chunks`."""
    e = params.evaluation
    per_draw = -(-e.clips // e.batch_size)
    videos = len(TASKS) * e.draws * per_draw * e.batch_size  # the last unit of a draw counts whole
    return Chunks(videos, e.batch_size, flops, EVALUATION_FILES, EVALUATION_LOOKS, machine)


def clips_work(
    params: Params, machine: Machine, flops: int, n_clips: int, block: int, shards: bool
) -> Chunks:
    """`n_clips` generated, `block` by one process at a time, every first draw good enough to keep.

    See `studies.rebalancing.folder`: two tables a block, and a tar file or a file a clip.
    """
    for name, number in (("clips", n_clips), ("block", block)):
        if number < 1:
            raise ParamsError(f"{name} is {number}; allowed: 1 or more")
    files = BLOCK_TABLES + (1 if shards else block)
    return Chunks(n_clips, block, flops, files, BLOCK_LOOKS, machine)
