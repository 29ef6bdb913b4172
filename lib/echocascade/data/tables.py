"""FileList.csv and VolumeTracings.csv as they are on disk: read, checked cell by cell, not fixed.

Both readers return what is usable together with every problem they found; who calls decides
whether to stop (`echonet`) or to go on without the broken rows (`store`).
"""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from echocascade.data.cells import PARSERS, any_number
from echocascade.data.decode import Slice
from echocascade.data.problems import Problem
from echocascade.data.shards import SHARDS, clips_in_shards
from echocascade.data.table_file import (
    MAX_FILE_LIST_BYTES,
    TableFileError,
    read_rows,
    read_text,
    require_inside,
)

FILE_LIST = "FileList.csv"
TRACINGS = "VolumeTracings.csv"
VIDEOS = "Videos"
MOST_PROBLEMS = 100_000  # ten for each row of the real table; they take 25 MB
COLUMNS = (
    "FileName",
    "EF",
    "ESV",
    "EDV",
    "FrameHeight",
    "FrameWidth",
    "FPS",
    "NumberOfFrames",
    "Split",
)


@dataclass(frozen=True)
class NamedClip:
    """A video that a row names and that is there, whatever else is wrong with the row."""

    file_name: str
    line: int
    path: Path | Slice
    claimed_frames: int


@dataclass
class FileListScan:
    """Usable rows of a FileList (COLUMNS + path), the line of each, and every problem found."""

    table: pd.DataFrame
    lines: list[int]
    clips: list[NamedClip]
    problems: list[Problem]


def scan_file_list(
    root: Path, *, find_videos: bool = True, name: str = FILE_LIST, extra: tuple[str, ...] = ()
) -> FileListScan:
    """Read `root`/FileList.csv (UTF-8 with or without BOM, any line ends).

    Of other columns only those named in `extra` are read; each must hold finite numbers. A row with
    any bad cell is left out and reported. With `find_videos` a row whose clip is not a regular file
    inside the data folder is left out and reported too.
    """
    header, rows, problems = _read_rows(root, name)
    if header is None:
        return FileListScan(_frame([], extra), [], [], problems)
    wanted = (*COLUMNS, *extra)
    problems += _header_problems(header, wanted, name)
    kept: list[dict[str, object]] = []
    lines: list[int] = []
    clips: list[NamedClip] = []
    shards, broken = clips_in_shards(root) if find_videos else ({}, [])
    problems += broken
    seen: dict[str, tuple[int, str]] = {}
    for line, cells in rows:
        if len(problems) >= MOST_PROBLEMS:
            what = f"{len(problems)} problems up to here; the rest of the table was not read"
            problems.append(Problem(name, line, what, fatal=True))
            break
        row, found = _parse_row(header, cells, extra)
        problems += [Problem(name, line, what) for what in found]
        clip = row.get("FileName")
        if isinstance(clip, str):
            split = str(row.get("Split"))
            same = unicodedata.normalize("NFC", clip)  # two spellings are one file to some disks
            if same in seen:
                problems.append(_duplicate(name, line, clip, split, seen[same]))
                continue
            seen[same] = (line, split)
            path: Path | Slice = shards.get(clip) or root / VIDEOS / f"{clip}.avi"
            missing = _video_problem(root, path) if find_videos else None
            if missing:
                problems.append(Problem(f"{VIDEOS}/{clip}.avi", line, missing))
                continue
            row["path"] = path
            clips.append(NamedClip(clip, line, path, int(str(row.get("NumberOfFrames", 0)))))
        if not found and set(wanted) <= set(row):
            kept.append(row)
            lines.append(line)
    if not rows:
        problems.append(Problem(name, None, "no row below the header", fatal=True))
    elif kept and max(float(str(row["EF"])) for row in kept) <= 1:
        what = "no EF is above 1: these are fractions; EF is wanted in percent (0 to 100)"
        problems.append(Problem(name, None, what, fatal=True))
    return FileListScan(_frame(kept, extra), lines, clips, problems)


def _frame(rows: list[dict[str, object]], extra: tuple[str, ...]) -> pd.DataFrame:
    """The rows as a DataFrame with fixed columns and types, also where there is none."""
    table = pd.DataFrame(rows, columns=[*COLUMNS, *extra, "path"])
    whole = ["FrameHeight", "FrameWidth", "NumberOfFrames"]
    real = ["EF", "ESV", "EDV", "FPS", *extra]
    types: dict[str, str] = dict.fromkeys(real, "float64") | dict.fromkeys(whole, "int64")
    return table.astype(types)


def _read_rows(
    root: Path, name: str
) -> tuple[list[str] | None, list[tuple[int, list[str]]], list[Problem]]:
    """Header, (line, cells) of every row that is not blank, and problems of the file as a whole."""
    try:
        require_inside(root, root / name)
        header, rows = read_rows(read_text(root / name, MAX_FILE_LIST_BYTES))
    except TableFileError as error:
        return None, [], [Problem(name, error.line, str(error), fatal=True)]
    return header, rows, []


def _header_problems(header: list[str], wanted: tuple[str, ...], name: str) -> list[Problem]:
    found = ", ".join(repr(cell[:40]) for cell in header[:20])
    problems = [
        Problem(name, 1, f"column {column!r} is missing (found {found})", fatal=True)
        for column in wanted
        if column not in header
    ]
    problems += [
        Problem(name, 1, f"column {column!r} is there {header.count(column)} times", fatal=True)
        for column in wanted
        if header.count(column) > 1
    ]
    return problems


def _duplicate(name: str, line: int, clip: str, split: str, first: tuple[int, str]) -> Problem:
    """A clip named twice; in two splits it would leak from training into the test: always fatal."""
    leaks = split != first[1]
    splits = f" in {first[1]}, here in {split}" if leaks else ""
    return Problem(name, line, f"FileName {clip!r} is already in row {first[0]}{splits}", leaks)


def _parse_row(
    header: list[str], cells: list[str], extra: tuple[str, ...]
) -> tuple[dict[str, object], list[str]]:
    """The good cells of one row by column, and what is wrong with the others."""
    problems = []
    if len(cells) < len(header) or any(cells[len(header) :]):
        problems.append(f"{len(cells)} cells where the header has {len(header)}")
    row: dict[str, object] = {}
    for column, cell in zip(header, cells, strict=False):
        parse = PARSERS.get(column, any_number if column in extra else None)
        if parse is None:
            continue
        try:
            row[column] = parse(cell)
        except ValueError as error:
            problems.append(f"{column} {_shown(cell)} {error}")
    return row, problems


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _video_problem(root: Path, path: Path | Slice) -> str | None:
    """Why `path` cannot be opened as a clip of this data set; None if it can.

    The Videos folder itself may be a link (to the disk with the room); a clip may not lead out of
    the data folder or of what Videos is a link to.
    """
    file = path.path if isinstance(path, Slice) else path
    try:
        real = file.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            return "the file is missing"
        return f"cannot be opened: {getattr(error, 'strerror', None) or 'a loop of links'}"
    folders = (root.resolve(), (root / VIDEOS).resolve(), (root / SHARDS).resolve())
    if not any(real.is_relative_to(folder) for folder in folders):
        return "is a link that leaves the data folder"
    return None if real.is_file() else "is not a regular file"
