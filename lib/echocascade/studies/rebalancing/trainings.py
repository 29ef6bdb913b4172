"""Many short trainings of the regressor: each kept by digest once finished, several at a time."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echocascade import runtime
from echocascade.data.atomic import write_text
from echocascade.data.clips import ClipStore
from echocascade.data.video import to_model
from echocascade.evaluation.lvef import RegressorConfig, predict_lvef
from echocascade.evaluation.lvef_training import fit_regressor
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.sets import TrainingSet

Progress = Callable[[int, int, str], None]
FORMAT = 1  # of the files; another number makes those of before unknown
CHECKPOINT_FROM = 500  # steps; a shorter training is sooner repeated than saved
POOL_FROM = 1500  # steps in all; below it processes are not worth their start (seconds each)
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Sources:
    """The clips of all trainings: real and generated ones at the regressor's size and rate, and
    rows (N,) of the real store that every regressor is asked about. No generated ones: None."""

    real: ClipStore
    generated: ClipStore | None
    held_out: NDArray[np.int64]


@dataclass(frozen=True)
class Training:
    """One regressor to train; `seed` sets its first weights and the order of its clips."""

    config: RegressorConfig
    data: TrainingSet
    seed: int
    weights: Path | None = None
    keep_weights: bool = False

    def digest(self, sources: Sources) -> str:
        """Of everything that the answers depend on: the same digest, the same answers."""
        settings = f"{FORMAT} {self.seed} {asdict(self.config)} {self.weights}"
        facts = hashlib.sha256(settings.encode())
        for store in (sources.real, sources.generated):
            sums = None if store is None else (store.manifest["sha256"], store.pad)
            facts.update(json.dumps(sums, sort_keys=True).encode())
        data = self.data
        arrays = (
            data.real, data.generated, data.lvef_percent, data.weight, data.probability,
            sources.held_out,
        )  # fmt: skip
        for array in arrays:
            facts.update(b"-" if array is None else np.ascontiguousarray(array).tobytes() + b"+")
        return facts.hexdigest()[:20]


def train_all(
    trainings: Sequence[Training], sources: Sources, folder: Path,
    progress: Progress | None = None, workers: int = 1,
) -> list[NDArray[np.float64]]:  # fmt: skip
    """LVEF in percent (N,) of the held-out clips by each regressor, in order.

    What `folder` has is read, the rest trained: on a GPU one after the other, on CPUs beside each
    other in `workers` processes of one thread, or as many as this one may have threads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{training.digest(sources)}.json" for training in trainings]
    todo = {p: t for p, t in zip(paths, trainings, strict=True) if not p.is_file()}
    done = len(trainings) - len(todo)
    for path in _trained(todo, sources, max(workers, torch.get_num_threads())):
        done += 1
        if progress is not None:
            progress(done, len(trainings), f"training {path.stem[:6]}")
    return [read_answers(path) for path in paths]


def read_answers(path: Path) -> NDArray[np.float64]:
    """The answers of a finished training."""
    return np.array(json.loads(path.read_text(encoding="utf-8"))["lvef_percent"], np.float64)


def train_one(training: Training, sources: Sources, path: Path) -> Path:
    """Train one regressor and leave its answers in `path`; its weights beside it if wanted."""
    started = time.monotonic()
    checkpoint = path.with_suffix(".pt") if training.config.steps >= CHECKPOINT_FROM else None
    fitted = fit_regressor(
        training.config, Batches(training, sources), seed=training.seed,
        weights=training.weights, checkpoint=checkpoint,
    )  # fmt: skip
    answers = predict_lvef(
        fitted.model, _clips(sources), EVALUATION_BATCH, precision=training.config.precision
    )
    if training.keep_weights:
        fitted.model.save(path.with_suffix(".safetensors"))
    content = {
        "lvef_percent": answers.tolist(),
        "loss": fitted.history[-1]["loss"],
        "seconds": round(time.monotonic() - started, 3),
    }
    write_text(path, json.dumps(content) + "\n")
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return path


class Batches:
    """Step -> clips (B, C, T, H, W) in [-1, 1], LVEF (B,) and, if weighted, weights (B,).

    A pure function of the seed and the step: sets of one seed see their clips in the same places.
    """

    def __init__(self, training: Training, sources: Sources) -> None:
        self.training, self.sources = training, sources
        self._order = (-1, np.empty(0, np.int64))

    def __call__(self, step: int) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        data, size = self.training.data, self.training.config.batch_size
        rng = numpy_generator(self.training.seed, "rebalancing batch", step)
        if data.probability is None:
            places = np.array([self._clip(step * size + i) for i in range(size)])
        else:
            places = rng.choice(len(data), size, p=data.probability)
        video = to_model(np.stack([self._window(int(p), rng) for p in places]))
        lvef = torch.from_numpy(data.lvef_percent[places])
        if data.weight is None:
            return video, lvef
        return video, lvef, torch.from_numpy(data.weight[places])

    def _clip(self, n: int) -> int:
        """Sample n: each epoch is a permutation of the set."""
        epoch, place = divmod(n, len(self.training.data))
        if self._order[0] != epoch:
            rng = numpy_generator(self.training.seed, "rebalancing epoch", epoch)
            self._order = (epoch, rng.permutation(len(self.training.data)))
        return int(self._order[1][place])

    def _window(self, place: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        data, n_frames = self.training.data, self.training.config.n_frames
        n_real = len(data.real)
        store = self.sources.real if place < n_real else self.sources.generated
        assert store is not None  # rows of generated clips come from a store of them
        row = int(data.real[place] if place < n_real else data.generated[place - n_real])
        start = int(rng.integers(max(store.n_frames(row) - n_frames, 0) + 1))
        return store.window(row, n_frames, start)


def _clips(sources: Sources) -> Iterator[Tensor]:
    """The held-out clips whole, (C, T, H, W) each."""
    for row in sources.held_out:
        yield to_model(np.array(sources.real.frames(int(row))))


def _trained(todo: dict[Path, Training], sources: Sources, workers: int) -> Iterator[Path]:
    """Train what is missing; paths as they are finished."""
    workers = min(workers, len(todo))
    steps = sum(training.config.steps for training in todo.values())
    if workers < 2 or steps < POOL_FROM or torch.cuda.is_available():
        for path, training in todo.items():
            yield train_one(training, sources, path)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a program with threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        waiting = [pool.submit(train_one, t, sources, path) for path, t in todo.items()]
        for future in as_completed(waiting):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """One thread, and an end with the process that started it, however that one ends."""
    runtime.prepare(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    with contextlib.suppress(OSError):
        wait([sentinel])
    os._exit(1)
