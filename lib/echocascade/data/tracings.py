"""VolumeTracings.csv: the long axis and the disks of the ventricle, drawn at two frames a clip."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.cells import any_number, clip_name
from echocascade.data.decode import FRAME_TOLERANCE
from echocascade.data.problems import Problem
from echocascade.data.table_file import TableFileError, read_rows, read_text, require_inside
from echocascade.data.tables import TRACINGS

TRACING_COLUMNS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
COORDINATES = ["X1", "Y1", "X2", "Y2"]
MAX_LISTED = 1000


def scan_tracings(
    root: Path, n_frames: Mapping[str, int] | None = None
) -> tuple[pd.DataFrame, list[Problem]]:
    """The usable rows and every problem. `n_frames` (by FileName) bounds Frame where it is given.

    Half a million rows: columns are checked as a whole, and only bad cells are looked at singly.
    """
    empty = pd.DataFrame(columns=list(TRACING_COLUMNS))
    try:
        require_inside(root, root / TRACINGS)
        header, rows = read_rows(read_text(root / TRACINGS))
    except TableFileError as error:
        return empty, [Problem(TRACINGS, error.line, str(error))]
    found = ", ".join(repr(cell[:40]) for cell in header[:20])
    problems = [
        Problem(TRACINGS, 1, f"column {column!r} is missing (found {found})")
        if column not in header
        else Problem(TRACINGS, 1, f"column {column!r} is there {header.count(column)} times")
        for column in TRACING_COLUMNS
        if header.count(column) != 1
    ]
    if problems:
        return empty, problems
    lines = np.array([line for line, _ in rows], dtype=np.int64)
    places = [header.index(column) for column in TRACING_COLUMNS]
    cells = [[row[place] if place < len(row) else "" for place in places] for _, row in rows]
    raw = pd.DataFrame(cells, columns=list(TRACING_COLUMNS), dtype=object)
    crowded = [(line, len(row)) for line, row in rows if any(row[len(header) :])]
    table, problems = _checked(raw, lines, n_frames)
    wide = [
        Problem(TRACINGS, line, f"{count} cells where the header has {len(header)}")
        for line, count in crowded[:MAX_LISTED]
    ]
    return table, [*wide, *problems]


def _checked(
    raw: pd.DataFrame, line: np.ndarray, n_frames: Mapping[str, int] | None
) -> tuple[pd.DataFrame, list[Problem]]:
    """Rows without a fault, and a problem for each fault; `line` is where each row stands."""
    names, fault_of = _names(raw["FileName"])
    columns: dict[str, np.ndarray] = {"FileName": names}
    good = np.array([name not in fault_of for name in names], dtype=bool)
    bad = [(line[i], fault_of[names[i]]) for i in np.flatnonzero(~good)]
    for column in [*COORDINATES, "Frame"]:
        cells = raw[column]
        values = np.array([_number(cell) for cell in cells], dtype=np.float64)
        wrong = ~np.isfinite(values)
        kind = "finite number"
        if column == "Frame":
            kind = "frame number"
            wrong |= (values < 0) | (values != np.floor(values))
        shown = cells.to_numpy(object)
        bad += [
            (line[i], f"{column} {shown[i][:60]!r} is no {kind}") for i in np.flatnonzero(wrong)
        ]
        columns[column] = values
        good &= ~wrong
    if n_frames is not None:
        # Frame counts are off by one or two in table and headers; a tracing may use the last.
        limit = np.array([n_frames.get(name, np.inf) for name in names]) + FRAME_TOLERANCE
        late = good & (columns["Frame"] >= limit)
        bad += [
            (line[i], _after_the_end(names[i], columns["Frame"][i])) for i in np.flatnonzero(late)
        ]
        good &= ~late
    table = pd.DataFrame(columns)[good].reset_index(drop=True).astype({"Frame": "int64"})
    problems = [Problem(TRACINGS, int(at), what) for at, what in sorted(bad)[:MAX_LISTED]]
    if len(bad) > MAX_LISTED:
        problems.append(Problem(TRACINGS, None, f"and {len(bad) - MAX_LISTED} more"))
    return table, problems


def _after_the_end(name: str, frame: float) -> str:
    return f"Frame {frame:.0f} is after the end of {name!r}"


def _number(cell: str) -> float:
    """The finite number in a cell, NaN where there is none."""
    try:
        return any_number(cell)
    except ValueError:
        return math.nan


def _names(cells: pd.Series) -> tuple[np.ndarray, dict[str, str]]:
    """FileName of every row without suffix, and the fault of each bad name."""
    parsed: dict[str, str] = {}
    fault_of: dict[str, str] = {}
    for cell in map(str, cells.unique()):
        try:
            parsed[cell] = clip_name(cell.strip())
        except ValueError as error:
            parsed[cell] = cell
            fault_of[cell] = f"FileName {cell[:60]!r} {error}"
    return np.array([parsed[cell] for cell in cells], dtype=object), fault_of
