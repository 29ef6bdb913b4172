"""VolumeTracings.csv: the long axis and the disks of the ventricle, drawn at two frames a clip."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.cells import clip_name
from echocascade.data.decode import FRAME_TOLERANCE
from echocascade.data.problems import Problem
from echocascade.data.tables import MAX_TABLE_BYTES, TRACINGS

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
    path = root / TRACINGS
    try:
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            return empty, [Problem(TRACINGS, None, f"{size} bytes; at most {MAX_TABLE_BYTES}")]
        raw = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False
        )
    except OSError as error:
        return empty, [Problem(TRACINGS, None, f"cannot be read: {error.strerror or error}")]
    except ValueError as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
        return empty, [Problem(TRACINGS, None, f"not a CSV table: {str(error).splitlines()[0]}")]
    raw.columns = raw.columns.str.strip()
    missing = [column for column in TRACING_COLUMNS if column not in raw.columns]
    if missing:
        found = ", ".join(map(repr, raw.columns[:20]))
        return empty, [
            Problem(TRACINGS, 1, f"column {column!r} is missing (found {found})")
            for column in missing
        ]
    return _checked(raw[list(TRACING_COLUMNS)], n_frames)


def _checked(
    raw: pd.DataFrame, n_frames: Mapping[str, int] | None
) -> tuple[pd.DataFrame, list[Problem]]:
    """Rows without a fault, and a problem for each fault; the index of `raw` counts the rows."""
    raw = raw[(raw != "").any(axis=1)]  # a blank line is no row
    line = raw.index.to_numpy() + 2
    names, fault_of = _names(raw["FileName"])
    columns: dict[str, np.ndarray] = {"FileName": names}
    good = np.array([name not in fault_of for name in names], dtype=bool)
    bad = [(line[i], fault_of[names[i]]) for i in np.flatnonzero(~good)]
    for column in [*COORDINATES, "Frame"]:
        cells = raw[column].str.strip()
        values = pd.to_numeric(cells, errors="coerce").to_numpy("float64", na_value=np.nan)
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
