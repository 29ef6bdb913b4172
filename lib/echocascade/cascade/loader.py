"""Training batches in order, made in this process or ahead of it by workers: the same either way.

A batch is a pure function of its place in the run, so nothing has to be saved to go on, and which
process made it cannot show.
"""

import itertools
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from echocascade.cascade.examples import StageBatch, StageExamples
from echocascade.params import ParamsError, TrainingParams


class LoaderError(RuntimeError):
    """A process that makes batches has died."""


@dataclass(frozen=True)
class Share:
    """The samples of a step that process `rank` of `world` computes: `parts` of `micro` each."""

    rank: int
    world: int
    parts: int
    micro: int

    @staticmethod
    def of(training: TrainingParams, rank: int = 0, world: int = 1) -> "Share":
        """As few parts of equal size as `device_batch` allows.

        Raises:
            ParamsError: the batch cannot be shared evenly by so many processes.
        """
        size = training.batch_size
        if size % world:
            raise ParamsError(
                f"training.batch_size {size} cannot be shared by {world} processes; give a "
                f"multiple of {world}"
            )
        own = size // world
        most = training.device_batch or own
        parts = next(n for n in range(-(-own // most), own + 1) if own % n == 0)
        return Share(rank, world, parts, own // parts)

    def first(self, step: int, part: int) -> int:
        """Number in the run of the first sample of `part` of `step`."""
        return ((step * self.parts + part) * self.world + self.rank) * self.micro


@dataclass(frozen=True)
class _Places(Dataset[StageBatch]):
    """Batch n, counted over all parts of all steps, as a data set for worker processes."""

    examples: StageExamples
    share: Share

    def __getitem__(self, n: int) -> StageBatch:
        step, part = divmod(n, self.share.parts)
        return self.examples.training_batch(step, self.share.first(step, part), self.share.micro)


def training_batches(
    examples: StageExamples, share: Share, first_step: int, workers: int
) -> Iterator[StageBatch]:
    """Every part of every step from `first_step` on, without end.

    Raises:
        LoaderError: a worker was killed, e.g. by the system when memory ran out.
    """
    places = itertools.count(first_step * share.parts)
    data = _Places(examples, share)
    if workers == 0:
        yield from (data[n] for n in places)
        return
    loader = DataLoader(
        data, batch_size=None, sampler=places, num_workers=workers,  # type: ignore[arg-type]
        generator=torch.Generator(),
    )  # fmt: skip
    batches = iter(loader)
    _hear_of_deaths_in_order()
    try:
        yield from batches
    except (RuntimeError, ConnectionError, EOFError) as error:
        dead = isinstance(error, RuntimeError) and "DataLoader worker" in str(error)
        if isinstance(error, RuntimeError) and not dead:
            raise
        raise LoaderError(
            f"a process that reads clips for stage {examples.stage.name} was killed "
            f"({str(error).partition(chr(10))[0]}); training.workers: 0 reads them without one"
        ) from error


def _hear_of_deaths_in_order() -> None:
    """Take back the signal handler by which PyTorch would raise a worker's death anywhere at all.

    While a checkpoint is written, for one. Where a batch is awaited, it looks every five seconds.
    """
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGCHLD)
        if getattr(handler, "__module__", "").startswith("torch."):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
