"""One way for every clip, real or generated, from frames to the file that a reader is shown.

A difference that is no picture would unblind the study, so all clips pass the same steps: to the
same size, through the Motion JPEG in which real clips were recorded (a generated one has never
seen a JPEG), enlarged, H.264 by one encoder with one setting, and padded to one size in bytes.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.clips import ClipStore, StoreError
from echocascade.data.decode import read_frames
from echocascade.data.encode import encode_mp4, write_avi
from echocascade.data.frames import Frames, check_frames
from echocascade.data.prepare import open_store
from echocascade.data.sampling import draw as draw_window
from echocascade.data.sampling import window_span
from echocascade.data.video import shrink, to_model, to_uint8
from echocascade.params import Params, load_params
from echocascade.rng import numpy_generator
from echocascade.studies.expert.design import TASKS, Patients, Shown
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.protocol import read_samples

CRF = 16  # near transparent: what the encoder takes away must not hide what the model left
ROUND_TO = 4096  # bytes
BOX_HEADER = 8


@dataclass(frozen=True)
class RunClips:
    """The clips of a finished run: those it generated, and the real ones of the same split."""

    params: Params
    table: pd.DataFrame
    samples: Path
    store: ClipStore

    @staticmethod
    def load(run: Path, data_dir: Path, changes: Sequence[str] = ()) -> "RunClips":
        """From a run folder and the project's data folder, with `study.KEY=VALUE` changes.

        StudyError where notebook 07 is due, or a change would make it another run.
        """
        other = [change for change in changes if not change.startswith("study.")]
        if other:
            raise StudyError(f"{other[0]}: only study.KEY=VALUE; the clips are the run's")
        return RunClips.of(load_params(run / "params.yaml", changes), run, data_dir)

    @staticmethod
    def of(params: Params, run: Path, data_dir: Path) -> "RunClips":
        """The same with the run's parameters in hand."""
        file = run / "tables" / "scores.csv"
        if not file.is_file():
            raise StudyError(
                f"run {run.name} has no tables/scores.csv: a study shows the clips that notebook "
                "07 generates (make run)"
            )
        table = pd.read_csv(file, dtype={"FileName": str})
        try:
            store = open_store(params, data_dir)
        except StoreError as error:
            raise StudyError(str(error)) from None
        return RunClips(params, table, run / "samples" / "evaluation", store)

    @property
    def fps(self) -> int:
        return self.params.cascade.stages[-1].fps

    @property
    def draws(self) -> int:
        """Generated clips a patient and task."""
        return int(self.table["draw"].nunique())

    def patients(self) -> Patients:
        """Those of the evaluated split: with clips of both tasks, and the others."""
        tasks = self.table.groupby("FileName")["task"].nunique()
        generated = sorted(tasks.index[tasks == len(TASKS)])
        split = self.store.table["FileName"][self.store.indices(self.params.evaluation.split)]
        return Patients(tuple(generated), tuple(sorted(set(split) - set(generated))))

    def frames(self, clip: Shown) -> Frames:
        """uint8 (T, H, W, C) at the last stage's size and rate."""
        if clip.kind == "real":
            return self._real(clip.patient)
        return read_samples(self.row(clip), self.samples)[0]

    def row(self, clip: Shown) -> pd.DataFrame:
        """The one row of the table that a generated clip comes from; its first for a real one."""
        rows = self.table[self.table["FileName"] == clip.patient]
        if clip.kind != "real":
            rows = rows[(rows["task"] == TASKS[clip.kind]) & (rows["draw"] == clip.draw)]
        return rows.head(1)

    def lvef_percent(self, patient: str) -> float:
        """The LVEF of the patient's real clip."""
        names = self.store.table["FileName"]
        return float(self.store.table.loc[names == patient, "EF"].iloc[0])

    def _real(self, patient: str) -> Frames:
        """A window of the patient's clip, drawn for the study, as generated clips are made."""
        last = self.params.cascade.stages[-1]
        (index,) = np.flatnonzero(self.store.table["FileName"] == patient)
        stride = round(self.store.fps / last.fps)
        rng = numpy_generator(self.params.seed, f"study window of {patient}")
        span = window_span(last.n_frames, stride)
        start, _ = draw_window(self.store.n_frames(int(index)), span, 1, rng)
        video = self.store.window(int(index), last.n_frames, start, stride)
        if self.store.size == last.size:
            return video
        return to_uint8(shrink(to_model(video[None]), last.size, last.n_frames))[0]


def through_jpeg(frames: Frames, fps: float) -> Frames:
    """The frames (T, H, W, C) after one pass through a Motion JPEG file as real clips come in."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        write_avi(path, frames, fps)
        return read_frames(path, frames.shape[-1])


def encode_clip(frames: Frames, fps: float, pixels: int) -> bytes:
    """The MP4 of one clip, uint8 (T, H, W, C), enlarged by a whole factor to at most `pixels`."""
    check_frames(frames)
    scale = max(1, pixels // max(frames.shape[1:3]))
    return encode_mp4(through_jpeg(frames, fps), fps, crf=CRF, scale=scale)


def equal_sizes(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The MP4 files, all of one length: each ends in a `free` box, which players skip."""
    longest = max(len(content) for content in files.values()) + BOX_HEADER
    size = -(-longest // ROUND_TO) * ROUND_TO
    return {name: content + _free_box(size - len(content)) for name, content in files.items()}


def _free_box(size: int) -> bytes:
    return size.to_bytes(4, "big") + b"free" + bytes(size - BOX_HEADER)
