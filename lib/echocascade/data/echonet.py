"""A data set in EchoNet-Dynamic layout (Ouyang20): read it, or say everything that is wrong.

    ROOT/FileList.csv          one row a clip: EF (percent), volumes (ml), size, FPS, split
    ROOT/VolumeTracings.csv    the readers' tracings of the ventricle (may be absent)
    ROOT/Videos/<FileName>.avi Motion JPEG, 112 x 112

Quirks of the real one: a FileName may carry its suffix; six rows give the size before cropping
(768 x 1024), so sizes are taken from the files; FPS in the table and in the AVI header differ, and
the table is right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echocascade.data.cells import SPLITS
from echocascade.data.loading import ClipSource, in_order, load_clip
from echocascade.data.problems import DatasetError, Problem
from echocascade.data.tables import (
    COLUMNS,
    FILE_LIST,
    TRACINGS,
    VIDEOS,
    FileListScan,
    scan_file_list,
)
from echocascade.data.tracings import TRACING_COLUMNS, scan_tracings

__all__ = [
    "COLUMNS",
    "SPLITS",
    "TRACING_COLUMNS",
    "DatasetError",
    "DatasetReport",
    "Problem",
    "check_dataset",
    "read_file_list",
    "read_tracings",
]

FPS_TOLERANCE = 0.01
Progress = Callable[[int, int, str], None]


def read_file_list(
    root: Path | str, *, find_videos: bool = True, name: str = FILE_LIST
) -> pd.DataFrame:
    """FileList.csv, one row a clip in file order: COLUMNS and `path`.

    FileName has no suffix, EF is in percent, ESV and EDV in ml, FPS in frames per second; `path`
    is ROOT/Videos/<FileName>.avi. DatasetError lists every bad row and, with `find_videos`, every
    clip that is missing or leads out of the folder. `name` reads another table of that form.
    """
    root = Path(root)
    scan = scan_file_list(root, find_videos=find_videos, name=name)
    if scan.problems:
        raise DatasetError(root, scan.problems)
    return scan.table


def read_tracings(root: Path | str) -> pd.DataFrame:
    """VolumeTracings.csv: FileName (no suffix), X1, Y1, X2, Y2 (pixels), Frame (from 0).

    In file order: of each frame the first row is the long axis, the others are the disks.
    DatasetError lists every bad row.
    """
    root = Path(root)
    table, problems = scan_tracings(root)
    if problems:
        raise DatasetError(root, problems)
    return table


@dataclass(frozen=True)
class DatasetReport:
    """What a data set holds and everything that is wrong with it.

    `n_clips` and `splits` count usable clips; `fps` and `duration_s` are their (least, greatest),
    from the table, and None where no clip is usable. `notes` are differences that harm nothing:
    a frame rate in a file's header that is not the table's, which is the one that counts.
    """

    ok: bool
    n_clips: int
    splits: dict[str, int]
    fps: tuple[float, float] | None
    duration_s: tuple[float, float] | None
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `echocascade data check --json` prints."""
        return {
            "ok": self.ok,
            "n_clips": self.n_clips,
            "splits": self.splits,
            "fps": list(self.fps or (None, None)),
            "duration_s": list(self.duration_s or (None, None)),
            "problems": [_as_json(problem) for problem in self.problems],
            "notes": [_as_json(note) for note in self.notes],
        }


def _as_json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.file, "row": problem.row, "what": problem.what}


def check_dataset(
    root: Path | str, *, workers: int = 2, progress: Progress | None = None
) -> DatasetReport:
    """Everything that is wrong with a data set, in one pass: tables, names, and every clip decoded.

    Never raises for bad data. About 10 ms of one core a clip (a minute for the real set on two).
    """
    root = Path(root)
    scan = scan_file_list(root)
    broken_videos, notes = _checked_videos(scan, workers, progress)
    problems = [*scan.problems, *broken_videos]
    if (root / TRACINGS).exists():
        n_frames = {c.file_name: c.claimed_frames for c in scan.clips if c.claimed_frames}
        problems += scan_tracings(root, n_frames)[1]
    broken = {problem.file for problem in problems}
    sound = [f"{VIDEOS}/{name}.avi" not in broken for name in scan.table["FileName"]]
    table = scan.table[np.array(sound, dtype=bool)]
    counts = table["Split"].value_counts()
    return DatasetReport(
        ok=not problems,
        n_clips=len(table),
        splits={split: int(counts.get(split, 0)) for split in SPLITS},
        fps=_range(table["FPS"]),
        duration_s=_range(table["NumberOfFrames"] / table["FPS"]),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _range(values: pd.Series) -> tuple[float, float] | None:
    return (float(values.min()), float(values.max())) if len(values) else None


def _checked_videos(
    scan: FileListScan, workers: int, progress: Progress | None
) -> tuple[list[Problem], list[Problem]]:
    """Problems of the clips, and notes on them, in the order of the table."""
    fps_of = dict(zip(scan.table["FileName"], scan.table["FPS"], strict=True))
    sources = [ClipSource(clip.path, 0.0, clip.claimed_frames) for clip in scan.clips]
    problems, notes = [], []
    results = in_order(load_clip, sources, workers)
    for done, (clip, loaded) in enumerate(zip(scan.clips, results, strict=True), start=1):
        if loaded.problem:
            file = f"{VIDEOS}/{clip.file_name}.avi"
            problems.append(Problem(file, clip.line, loaded.problem))
        fps = fps_of.get(clip.file_name)
        if loaded.header_fps and fps and abs(loaded.header_fps / fps - 1) > FPS_TOLERANCE:
            what = (
                f"{loaded.header_fps:.4g} frames per second, {fps:.4g} by the table, which counts"
            )
            notes.append(Problem(f"{VIDEOS}/{clip.file_name}.avi", clip.line, what))
        if progress:
            progress(done, len(sources), clip.file_name)
    return problems, notes
