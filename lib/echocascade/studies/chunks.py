"""The protocol's samples, made and measured once, by any number of processes, whoever is killed.

    SAMPLES/<digest>/<task>-draw0-00000.npz            uint8 videos of one unit: base, last
    SAMPLES/<digest>/measured-<digest>/<same>.csv      what was read from them, a row a sample
    SAMPLES/<digest>/measured-<digest>/reference.csv   what was read from the real clips

A unit is one batch of one draw of one task. Its file is whole or absent, its content depends on
the weights, the settings and the clips alone (the digests), and a process that works on a unit
holds its lock: nothing is lost, nothing is made twice, and all shares merge to the same table.
New weights of a judge, or new code of a measure, read the videos again and make none.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from torch import nn

from echocascade.data.atomic import replacing, write_text
from echocascade.data.clips import EvaluationClips
from echocascade.evaluation import beat, cavity, contour, identity, image_quality, stick, thumbnails
from echocascade.evaluation.weights import MANIFEST, Found, find
from echocascade.rng import derive_seed
from echocascade.studies import controls, measures
from echocascade.studies.measures import Measure
from echocascade.studies.protocol import TASKS, Trained, requested_lvef, task_clips

Progress = Callable[[int, int, str], None]
FORMAT = 2  # of the videos; another number makes those of before unknown
MEASURED_BY = (
    measures,
    controls,
    stick,
    cavity,
    contour,
    beat,
    identity,
    image_quality,
    thumbnails,
)


class MissingSamplesError(ValueError):
    """A table that cannot be merged yet: units are missing."""


@dataclass(frozen=True)
class Unit:
    """Rows `start` to `stop` of the clips, once."""

    task: str
    draw: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.task}-draw{self.draw}-{self.start:05d}"

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Samples:
    """The samples of one trained cascade at one guidance scale, under `directory`.

    weights_dir: where LPIPS looks for its network; without it the column LPIPS is absent.
    """

    trained: Trained
    scale: float
    directory: Path
    weights_dir: Path | None = None

    @cached_property
    def clips(self) -> EvaluationClips:
        e = self.trained.params.evaluation
        return task_clips(self.trained, e.split, e.clips, e.draws)

    @cached_property
    def vgg16(self) -> Found:
        return find(MANIFEST["vgg16"], self.weights_dir)

    @cached_property
    def folder(self) -> Path:
        """Of the videos of exactly these weights, settings and clips."""
        paths = ["seed", "cascade", "conditioning", "evaluation.batch_size"]
        settings = self.trained.params.digest(*paths, "evaluation.lvef_percent")
        facts = hashlib.sha256(f"{FORMAT} {self.scale!r} {settings}".encode())
        for stage in self.trained.cascade.stages:
            _update(facts, stage.denoiser)
        for array in (self.clips.video, self.clips.frames, self.clips.lvef_percent):
            facts.update(np.ascontiguousarray(array).tobytes())
        return self.directory / facts.hexdigest()[:16]

    @cached_property
    def measured(self) -> Path:
        """Of the tables by exactly these judges."""
        facts = hashlib.sha256(self.trained.params.digest("evaluation.views").encode())
        facts.update(str(self.vgg16.sha256 if self.vgg16.usable else "no LPIPS").encode())
        _update(facts, self.trained.regressor)
        for module in MEASURED_BY:
            facts.update(inspect.getsource(module).encode())
        return self.folder / f"measured-{facts.hexdigest()[:16]}"

    def units(self, tasks: Sequence[str] = TASKS) -> list[Unit]:
        """All units of some tasks, in the order of the table."""
        e, n = self.trained.params.evaluation, len(self.clips.index)
        return [
            Unit(task, draw, start, min(start + e.batch_size, n))
            for task in tasks
            for draw in range(e.draws)
            for start in range(0, n, e.batch_size)
        ]

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """Those that are not made and measured yet."""
        return [
            unit
            for unit in units
            if not (self._videos(unit).exists() and self._table(unit).exists())
        ]

    def make(self, units: Sequence[Unit], progress: Progress | None = None) -> None:
        """Make and measure the units that are missing.

        A unit that another process is at work on is left to it, and looked at again at the end.
        """
        self.measured.mkdir(parents=True, exist_ok=True)
        done, waiting = 0, list(units)
        for patient in (False, True):  # the second time, wait for whoever holds a unit
            others: list[Unit] = []
            for unit in waiting:
                try:
                    with FileLock(self._lock(unit), timeout=-1 if patient else 0):
                        self._make(unit)
                except Timeout:
                    others.append(unit)
                    continue
                done += 1
                if progress is not None:
                    progress(done, len(units), unit.task)
            waiting = others

    def table(self, task: str) -> pd.DataFrame:
        """The per-sample table of one task, merged from its units.

        Columns as `evaluation.score_table` has them, those of `measures`, and chunk and row, where
        `read_samples` finds the sample.

        Raises:
            MissingSamplesError: units are missing.
        """
        units = self.units((task,))
        missing = self.missing(units)
        if missing:
            raise MissingSamplesError(
                f"{task}: {len(missing)} of {len(units)} units are missing, {missing[0].name} first"
            )
        reference = self._reference()
        tables = []
        for unit in units:
            read = _read_table(self._table(unit))
            chunk = self._videos(unit).relative_to(self.directory).as_posix()
            real = reference.iloc[unit.rows].reset_index(drop=True)
            whole = pd.concat([real, read], axis=1)
            tables.append(whole.assign(chunk=chunk, row=np.arange(len(read))))
        return pd.concat(tables, ignore_index=True)

    def _make(self, unit: Unit) -> None:
        """One unit, as far as it is missing; called with its lock held."""
        trained, clips, rows = self.trained, self.clips, unit.rows
        if self._is_done(unit):
            return
        for leftover in self.folder.rglob(f".{unit.name}.*"):  # of a writer that was killed
            leftover.unlink()
        asked = requested_lvef(trained.params, clips, unit.task, trained.params.evaluation.split)
        if not self._videos(unit).exists():
            seeds = [derive_seed(trained.params.seed, f"{unit.task} {name}", unit.draw)
                     for name in clips.file_name[rows]]  # fmt: skip
            videos = trained.generate(
                clips.frames[rows, unit.draw], asked[rows], seeds, self.scale, clips.index[rows]
            )
            with replacing(self._videos(unit)) as temporary, temporary.open("wb") as file:
                np.savez(file, base=videos[0], last=videos[-1])
        with np.load(self._videos(unit), allow_pickle=False) as stored:
            columns = self._measure.generated(stored["base"], stored["last"], rows, unit.draw)
        facts = {"task": unit.task, "draw": unit.draw, "lvef_requested": asked[rows]}
        table = pd.DataFrame(facts | columns)
        write_text(self._table(unit), table.to_csv(index=False))

    @cached_property
    def _measure(self) -> Measure:
        return Measure.of(self.trained, self.clips, self.vgg16.usable)

    def _is_done(self, unit: Unit) -> bool:
        return self._videos(unit).exists() and self._table(unit).exists()

    def _reference(self) -> pd.DataFrame:
        """What the judges read on the real clips: their ceiling."""
        path = self.measured / "reference.csv"
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                write_text(path, pd.DataFrame(self._measure.real()).to_csv(index=False))
        return _read_table(path)

    def _videos(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}.npz"

    def _table(self, unit: Unit) -> Path:
        return self.measured / f"{unit.name}.csv"

    def _lock(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}.lock"


def judge_task(
    trained: Trained, task: str, scale: float, directory: Path, progress: Progress | None = None,
    weights_dir: Path | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The per-sample table of one task, see `Samples`; units that exist are not made again."""
    samples = Samples(trained, scale, directory, weights_dir)
    samples.make(samples.units((task,)), progress)
    return samples.table(task)


def _update(facts: "hashlib._Hash", module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        facts.update(name.encode())
        facts.update(tensor.detach().cpu().contiguous().numpy().tobytes())


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"FileName": str})
