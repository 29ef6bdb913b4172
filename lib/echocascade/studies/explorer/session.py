"""What the explorer remembers while it runs: pictures, clips, and the work under way.

Everything is kept in memory, a bounded number of each, and gone when the server stops. An uploaded
file touches the disk only while it is read, under a name of ours.
"""

import queue
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from echocascade.data.frames import Frames, resize
from echocascade.data.video import to_uint8
from echocascade.evaluation.stick import StickReading
from echocascade.studies.stills import Ask, Made, StillGenerator

PICTURES, CLIPS, JOBS = 8, 64, 32
PREVIEW_FRAMES = 16
PATIENTS = 24
V = TypeVar("V")


class Gone(LookupError):  # noqa: N818 - said to the page, which then asks again
    """What was asked for is not kept any more."""


class Stopped(Exception):  # noqa: N818 - not an error: newer work took its place
    """The work was given up."""


class Kept(Generic[V]):
    """The last few values by an unguessable key; safe between threads."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[str, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: V, key: str = "") -> str:
        with self._lock:
            key = key or secrets.token_urlsafe(9)
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return key

    def get(self, key: str) -> V:
        with self._lock:
            if key not in self._values:
                raise Gone("that is not kept any more; load the image again")
            self._values.move_to_end(key)
            return self._values[key]

    def find(self, key: str) -> V | None:
        with self._lock:
            return self._values.get(key)


@dataclass(frozen=True)
class Picture:
    """A conditioning frame uint8 (H, W, C); content: the uploaded file, to take another frame."""

    frame: Frames
    said: dict[str, object]
    content: bytes = b""


@dataclass(frozen=True)
class Clip:
    """One generated clip uint8 (T, H, W, C) and what was read in it."""

    ask: Ask
    video: Frames
    fps: float
    lvef_measured: float
    stick: StickReading


@dataclass(frozen=True)
class Preview:
    """What the stage at work expects: uint8 (N, T, H, W, C) for the clips that are being made."""

    stage: str
    share: float
    videos: Frames


@dataclass
class Job:
    """Work under way: previews in a queue that ends with None, and the keys of its clips."""

    picture: str
    asks: list[Ask]
    seconds: float | None
    missing: list[int]
    clips: list[str]
    events: "queue.Queue[Preview | None]" = field(default_factory=queue.Queue)
    stop: threading.Event = field(default_factory=threading.Event)
    failed: str = ""

    def follow(self, timeout: float = 120.0) -> Iterator[Preview]:
        """Previews as they come, the newest where several wait; ends with the work."""
        while True:
            newest = self.events.get(timeout=timeout)
            while newest is not None and not self.events.empty():
                newest = self.events.get()
            if newest is None:
                return
            yield newest


class Explorer:
    """One run, and what one page of it needs. Clips are made one job at a time."""

    def __init__(self, generator: StillGenerator, name: str, phantom: bool) -> None:
        self.generator, self.name, self.phantom = generator, name, phantom
        self.pictures: Kept[Picture] = Kept(PICTURES)
        self.clips: Kept[Clip] = Kept(CLIPS)
        self.jobs: Kept[Job] = Kept(JOBS)
        self._working = threading.Lock()

    def upload(self, content: bytes, frame: int = 0) -> str:
        """Read an uploaded file; returns its key. StillError says what is wrong with it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"image{_suffix(content)}"
            path.write_bytes(content)
            placed = self.generator.place(path, frame)
        said = {"frames": placed.still.n_frames, "at": placed.still.frame, **placed.facts()}
        again = content if placed.still.n_frames > 1 else b""
        return self.pictures.add(Picture(placed.frame, said, again))

    def patient(self, row: int) -> str:
        """The first frame of a validation clip, by its place among `patients`."""
        store = self.generator.store
        rows = self._rows()
        if store is None or not 0 <= row < len(rows):
            raise Gone("there is no such patient in this run's data")
        frame = np.asarray(store.frames(rows[row])[0])
        shown = resize(frame[None], self.generator.last.size)[0]
        lvef = float(store.table["EF"].iloc[rows[row]])
        return self.pictures.add(Picture(shown, {"kind": "patient", "lvef_percent": lvef}))

    def patients(self) -> list[dict[str, object]]:
        """Who can be picked: a number and the LVEF of the label, no names."""
        store = self.generator.store
        if store is None:
            return []
        return [
            {"row": i, "lvef_percent": float(store.table["EF"].iloc[row])}
            for i, row in enumerate(self._rows())
        ]

    def _rows(self) -> list[int]:
        store = self.generator.store
        return [] if store is None else [int(i) for i in store.indices("VAL")[:PATIENTS]]

    def start(self, picture: str, asks: Sequence[Ask], seconds: float | None) -> str:
        """Begin to make clips of a picture; returns the job's key. AskError, Gone."""
        self.generator.check(asks, seconds)
        self.pictures.get(picture)
        keys = [f"{picture}.{a.lvef_percent:g}.{a.seed}.{seconds or 0:g}" for a in asks]
        missing = [i for i, key in enumerate(keys) if self.clips.find(key) is None]
        job = Job(picture, list(asks), seconds, missing, keys)
        key = self.jobs.add(job)
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        return key

    def _work(self, job: Job) -> None:
        try:
            with self._working:
                if job.stop.is_set():
                    raise Stopped
                if job.missing:
                    self._make(job)
        except Stopped:
            job.failed = "stopped"
        except Exception:  # told to the page in one line, and to the log in full
            job.failed = "the server failed to make the clip; its log says more"
            raise
        finally:
            job.events.put(None)

    def _make(self, job: Job) -> None:
        asks = [job.asks[i] for i in job.missing]
        frame = self.pictures.get(job.picture).frame

        def watch(stage: str, share: float, expected: Tensor) -> None:
            if job.stop.is_set():
                raise Stopped
            job.events.put(Preview(stage, share, _preview(expected)))

        made = self.generator.make(frame, asks, seconds=job.seconds, watch=watch)
        for place, clip in zip(job.missing, _clips(made), strict=True):
            self.clips.add(clip, job.clips[place])


def _clips(made: Made) -> list[Clip]:
    return [
        Clip(ask, video, made.fps, float(measured), stick)
        for ask, video, measured, stick in zip(
            made.asks, made.videos, made.lvef_measured, made.stick, strict=True
        )
    ]


def _preview(expected: Tensor) -> Frames:
    places = np.linspace(0, expected.shape[2] - 1, min(expected.shape[2], PREVIEW_FRAMES))
    return to_uint8(expected[:, :, places.round().astype(int)])


def _suffix(content: bytes) -> str:
    """The suffix that readers of clips want to see, by the file's own first bytes."""
    if content[4:8] == b"ftyp":
        return ".mp4"
    if content[:4] == b"RIFF":
        return ".avi"
    return ".dcm" if content[128:132] == b"DICM" else ""
