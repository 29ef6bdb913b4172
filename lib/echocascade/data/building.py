"""Making a clip store: decode in parallel, write one after the other, appear all at once."""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from echocascade.data.atomic import sync
from echocascade.data.frames import check_fps
from echocascade.data.loading import ClipSource, LoadedClip, in_order, load_clip
from echocascade.data.problems import DatasetError, Problem
from echocascade.data.tables import FILE_LIST, VIDEOS, FileListScan, scan_file_list

FORMAT = "echocascade clip store 1"
MANIFEST, TABLE, FRAMES = "manifest.json", "table.csv", "frames.u8"
STORE_COLUMNS = {
    "FileName": "str",
    "EF": "float64",
    "ESV": "float64",
    "EDV": "float64",
    "Split": "str",
    "first_frame": "int64",
    "n_frames": "int64",
    "source_fps": "float64",
    "source_frames": "int64",
}
MAX_SIZE = 1024

Progress = Callable[[int, int, str], None]
Fingerprint = dict[str, Any]


@dataclass(frozen=True)
class BuildSettings:
    """What a store is made from and how."""

    root: Path
    size: int
    fps: float
    channels: int
    on_error: str
    workers: int
    extra_columns: tuple[str, ...] = ()  # of FileList.csv, numbers that the table keeps

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"size is {self.size}; 1 to {MAX_SIZE} pixels are allowed")
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}; 1 (grey) or 3 (RGB) is allowed")
        if self.on_error not in ("stop", "skip"):
            raise ValueError(f"on_error is {self.on_error!r}; 'stop' or 'skip' is allowed")
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; at least 1 is needed")


def build_store(
    settings: BuildSettings,
    directory: Path,
    is_sound: Callable[[Path, Fingerprint], bool],
    progress: Progress | None = None,
) -> None:
    """Leave a store of `settings` in `directory`; nothing is done where `is_sound` finds it."""
    if directory.exists() and not _replaceable(directory):
        raise ValueError(f"{directory} holds something that is no clip store; choose another place")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with alone(directory):
        scan = scan_file_list(settings.root, extra=settings.extra_columns)
        if any(problem.fatal for problem in scan.problems):
            raise DatasetError(settings.root, scan.problems)
        fingerprint = _fingerprint(settings, scan)
        if is_sound(directory, fingerprint):
            return
        temporary = directory.with_name(f".{directory.name}.building-{uuid.uuid4().hex[:12]}")
        temporary.mkdir()
        try:
            _write(settings, scan, fingerprint, temporary, progress)
            put_in_place(temporary, directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replaceable(directory: Path) -> bool:
    """Whether `directory` is an empty folder or a store: nothing else of a user's is replaced."""
    if not directory.is_dir():
        return False
    return (directory / MANIFEST).is_file() or not any(directory.iterdir())


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`: a second build waits. The system drops it with the process."""
    lock = _lock(directory.with_name(f".{directory.name}.lock"))
    try:
        if lock:
            for orphan in directory.parent.glob(f".{directory.name}.building-*"):
                shutil.rmtree(orphan, ignore_errors=True)  # of a killed build: the lock is ours
        yield
    finally:
        if lock:
            lock.close()


def _lock(path: Path) -> IO[str] | None:
    """The locked file, or None on a disk without locks or write access.

    Two builds may then do the same work twice; a finished store can still be used.
    """
    try:
        lock = path.open("w")
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        lock.close()
        return None
    return lock


def _fingerprint(settings: BuildSettings, scan: FileListScan) -> Fingerprint:
    """All that the content of a store depends on, so that a change in any of it is seen."""
    videos = hashlib.sha256()
    for clip in scan.clips:
        try:
            status = clip.path.stat()
        except OSError as error:  # gone since the table was read
            gone = Problem(f"{VIDEOS}/{clip.file_name}.avi", clip.line, str(error.strerror))
            raise DatasetError(settings.root, [gone]) from error
        videos.update(f"{clip.file_name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {
        "format": FORMAT,
        "size": settings.size,
        "fps": settings.fps,
        "channels": settings.channels,
        "file_list_sha256": _sha256(settings.root / FILE_LIST),
        "videos_sha256": videos.hexdigest(),
        **({"extra_columns": list(settings.extra_columns)} if settings.extra_columns else {}),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(
    settings: BuildSettings,
    scan: FileListScan,
    fingerprint: Fingerprint,
    folder: Path,
    progress: Progress | None,
) -> None:
    """Frames, table and manifest into `folder`, synced; DatasetError if clips are broken."""
    stops = settings.on_error == "stop"
    digest = hashlib.sha256()
    rows: list[dict[str, Any]] = []
    skipped = list(scan.problems)
    first = 0
    with (folder / FRAMES).open("wb") as file:
        for done, (row, line, loaded) in enumerate(_load(settings, scan), start=1):
            name = str(row["FileName"])
            if loaded.frames is None:
                skipped.append(Problem(f"{VIDEOS}/{name}.avi", line, str(loaded.problem)))
            elif not (stops and skipped):  # else only the other problems are still looked for
                data = loaded.frames.tobytes()
                file.write(data)
                digest.update(data)
                length = len(loaded.frames)
                placed = _row(row, first, length, loaded.n_source_frames)
                rows.append(placed | {name: row[name] for name in settings.extra_columns})
                first += length
            if progress:
                progress(done, len(scan.table), name)
    if stops and skipped:
        raise DatasetError(settings.root, skipped)
    if not rows:
        none_left = Problem(FILE_LIST, None, "no usable clip is left", fatal=True)
        raise DatasetError(settings.root, [*skipped, none_left])
    table = pd.DataFrame(rows, columns=[*STORE_COLUMNS, *settings.extra_columns])
    seal(folder, table, fingerprint, digest.hexdigest(), skipped)


def seal(
    folder: Path,
    table: pd.DataFrame,
    fingerprint: Fingerprint,
    frames_sha256: str,
    skipped: Sequence[Problem] = (),
) -> None:
    """Write table and manifest beside the frames of a new store, and sync all of it to disk."""
    table.to_csv(folder / TABLE, index=False, lineterminator="\n")
    manifest = {
        **{key: fingerprint[key] for key in ("format", "size", "fps", "channels")},
        "n_clips": len(table),
        "n_frames": int(table["n_frames"].sum()),
        "fingerprint": fingerprint,
        "skipped": [asdict(problem) for problem in skipped],
        "bytes": {name: (folder / name).stat().st_size for name in (FRAMES, TABLE)},
        "sha256": {FRAMES: frames_sha256, TABLE: _sha256(folder / TABLE)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for path in (folder / FRAMES, folder / TABLE, folder / MANIFEST, folder):
        sync(path)


def _load(
    settings: BuildSettings, scan: FileListScan
) -> Iterator[tuple[dict[str, Any], int, LoadedClip]]:
    rows = scan.table.to_dict("records")
    sources = [
        ClipSource(
            row["path"],
            row["FPS"],
            row["NumberOfFrames"],
            settings.channels,
            settings.size,
            settings.fps,
        )
        for row in rows
    ]
    yield from zip(rows, scan.lines, in_order(load_clip, sources, settings.workers), strict=True)


def _row(row: dict[str, Any], first: int, length: int, n_source_frames: int) -> dict[str, Any]:
    kept = {name: row[name] for name in ("FileName", "EF", "ESV", "EDV", "Split")}
    placed = {"first_frame": first, "n_frames": length}
    return kept | placed | {"source_fps": row["FPS"], "source_frames": n_source_frames}


def put_in_place(temporary: Path, directory: Path) -> None:
    """Rename the finished folder to its name; an older store makes room for it just before."""
    if directory.exists():
        old = directory.with_name(f".{directory.name}.building-old-{os.getpid()}")
        directory.rename(old)
        temporary.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(directory)
    sync(directory.parent)
