"""A table's file to its text: a regular file of a bounded size, whatever its name leads to.

A pipe would never end, a device has no size, and a table of one cell a line takes a hundred times
its size as rows in memory. What the readers accept is limited here, far above any real table.
"""

import csv
import io
from pathlib import Path

MAX_FILE_LIST_BYTES = 32 * 2**20  # the real FileList.csv has 0.7 MB and 10,030 rows
MAX_TABLE_BYTES = 64 * 2**20  # the real VolumeTracings.csv has 30 MB and 425,010 rows
MAX_ROWS = 1_000_000
MAX_COLUMNS = 1000


class TableFileError(ValueError):
    """A file that is no table; the message says why, without its name. `line` where it is known."""

    def __init__(self, what: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(what)


def read_text(path: Path, max_bytes: int = MAX_TABLE_BYTES) -> str:
    """The text of a UTF-8 file with or without BOM; TableFileError if it is none or too long."""
    try:
        if path.exists() and not path.is_file():
            raise TableFileError("is not a regular file")
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, TableFileError):
            raise
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise TableFileError(what) from None
    if len(raw) > max_bytes:
        raise TableFileError(f"{path.stat().st_size} bytes; at most {max_bytes} are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableFileError(f"not UTF-8 text (byte {error.start})") from None


def require_inside(root: Path, path: Path) -> None:
    """TableFileError if `path` is a link that leads out of the folder `root`."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise TableFileError("is a link that leaves the data folder")


def read_rows(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header's cells, and (line, cells) of every row that is not blank; all stripped.

    TableFileError if the text is empty, no CSV, or larger than MAX_ROWS by MAX_COLUMNS.
    """
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for cells in reader:
            if len(cells) > MAX_COLUMNS:
                what = f"{len(cells)} cells in a row; at most {MAX_COLUMNS} are read"
                raise TableFileError(what, reader.line_num)
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
            if len(rows) > MAX_ROWS + 1:
                raise TableFileError(f"more than {MAX_ROWS} rows", reader.line_num)
    except csv.Error as error:
        raise TableFileError(f"not a CSV table: {error}", reader.line_num) from None
    if not rows:
        raise TableFileError("the file is empty")
    return rows[0][1], rows[1:]
