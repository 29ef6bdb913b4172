"""Per-sample score tables: our columns and the authors' published ones, read and checked.

Ours: FileName, lvef_requested, lvef_measured and where known task, draw, lvef_true (the clip's
label), lvef_reference (the judge on the real clip), lvef_stick, lvef_stick_reference, SSIM, LPIPS.
Published: FileName, GT EF, Gen EF, Ref EF, SSIM, LPIPS. All LVEF in percent; other columns are
kept.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.table_file import TableFileError, read_rows, read_text
from echocascade.wording import in_one_line

JUDGES = {
    "regressor": ("lvef_measured", "lvef_reference"),
    "stick": ("lvef_stick", "lvef_stick_reference"),
}
PUBLISHED_NAMES = {
    "GT EF": "lvef_requested",
    "Gen EF": "lvef_measured",
    "Ref EF": "lvef_reference",
}
# Allowed values. A regressor may leave 0..100 a little, but a value like 5506 is a label multiplied
# by 100, as in a released rebalancing table.
RANGES = {
    "lvef_requested": (0.0, 100.0),
    "lvef_true": (0.0, 100.0),
    "lvef_measured": (-100.0, 200.0),
    "lvef_reference": (-100.0, 200.0),
    "lvef_stick": (-100.0, 200.0),
    "lvef_stick_reference": (-100.0, 200.0),
    "SSIM": (-1.0, 1.0),
    "LPIPS": (0.0, 10.0),
}


class ScoreTableError(ValueError):
    """A score table that cannot be read; the message names the file, the column and the row."""


def read_score_table(path: Path | str) -> pd.DataFrame:
    """Read a per-sample score table (CSV) in our columns or in the authors' published ones.

    Draws of a clip that have no number are numbered in file order.

    Raises:
        ScoreTableError: which file, column and row (row 1 is the header), what was found and what
            is allowed.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ScoreTableError(f"{path}: there is no such score table")
        text = read_text(path)
        header, rows = read_rows(text)
        crowded = next((line for line, cells in rows if any(cells[len(header) :])), None)
        if crowded is not None:
            raise TableFileError(f"more cells than the header's {len(header)}", crowded)
        table = pd.read_csv(io.StringIO(text), dtype={"FileName": str}, index_col=False)
    except (TableFileError, OSError, OverflowError, pd.errors.ParserError) as error:
        line = getattr(error, "line", None)
        place = f"{path}: row {line}" if line else f"{path}"
        raise ScoreTableError(
            f"{place}: not a readable CSV table ({in_one_line(error)})"
        ) from error
    try:
        return check_score_table(table)
    except ScoreTableError as error:
        raise ScoreTableError(f"{path}: {error}") from error


def check_score_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table under our column names, float64 scores, checked, `draw` filled in.

    A score column without any value is dropped: it was not computed.
    """
    table = table.rename(columns=str.strip).rename(columns=PUBLISHED_NAMES)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ScoreTableError(f"column {in_one_line(twice[0])} is there twice")
    missing = [name for name in ("FileName", "lvef_requested") if name not in table]
    if not any(measured in table for measured, _ in JUDGES.values()):
        missing.append("lvef_measured")
    if missing:
        published = {ours: theirs for theirs, ours in PUBLISHED_NAMES.items()}
        wanted = ", ".join(f"{m} (or {published[m]})" if m in published else m for m in missing)
        found = in_one_line(", ".join(map(str, table.columns)), 500)
        raise ScoreTableError(f"columns missing: {wanted}; found: {found}")
    names = table["FileName"]
    _no_bad_rows(table, "FileName", (names.isna() | (names.astype(str).str.strip() == "")))
    for name, (low, high) in RANGES.items():
        if name in table:
            if name != "lvef_requested" and table[name].isna().all() and len(table):
                table = table.drop(columns=name)
                continue
            values = table[name]
            if not pd.api.types.is_numeric_dtype(values):
                values = values.map(_number).astype(np.float64)
            bad = ~values.between(low, high)
            if name in JUDGES["stick"]:  # segmentation may fail to read a clip: an empty cell
                bad &= table[name].notna()
            _no_bad_rows(table, name, bad, f"a number {low:g} to {high:g}")
            table[name] = values.astype(np.float64)
    if len(table) and table["lvef_requested"].max() <= 1:
        raise ScoreTableError("column lvef_requested looks like fractions, percent is expected")
    clip = ["FileName", "task"] if "task" in table else ["FileName"]
    if "draw" not in table:
        table["draw"] = table.groupby(clip, sort=False).cumcount()
    repeated = table.duplicated([*clip, "draw"])
    _no_bad_rows(table, "draw", repeated, "one row a draw of a clip")
    return table


def with_labels(table: pd.DataFrame, file_list: Path | str) -> pd.DataFrame:
    """The table with lvef_true (the clips' labels) from a FileList.csv, for the ceiling.

    Raises:
        ScoreTableError: the list cannot be read, has no FileName or EF, or lacks a clip's row.
    """
    try:
        text = io.StringIO(read_text(Path(file_list)))
        labels = pd.read_csv(text, dtype={"FileName": str})
        names = labels["FileName"].str.removesuffix(".avi")
        known = pd.Series(pd.to_numeric(labels["EF"]).to_numpy(float), index=names)
    except (OSError, ValueError, KeyError) as error:
        raise ScoreTableError(
            f"{file_list}: not a FileList with FileName and EF ({in_one_line(error)})"
        ) from error
    known = known[~known.index.duplicated()]
    found = table["FileName"].str.removesuffix(".avi").map(known)
    _no_bad_rows(table.assign(label=found), "label", found.isna(), f"a row in {file_list}")
    return table.assign(lvef_true=found)


def _number(cell: object) -> float:
    """The number in a cell; NaN where there is none, infinity where it has hundreds of digits."""
    try:
        return float(str(cell))
    except ValueError:
        return np.nan


def _no_bad_rows(table: pd.DataFrame, column: str, bad: pd.Series, allowed: str = "a name") -> None:
    rows = np.flatnonzero(bad.to_numpy())
    if len(rows):
        found = in_one_line(table[column].iloc[rows[0]])
        clip = f" ({in_one_line(table['FileName'].iloc[rows[0]])})" if column != "FileName" else ""
        more = f", and {len(rows) - 1} more rows" if len(rows) > 1 else ""
        raise ScoreTableError(
            f"row {rows[0] + 2}{clip}, column {column}: found {found}, allowed is {allowed}{more}"
        )
