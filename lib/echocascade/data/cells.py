"""What one cell of FileList.csv may hold: each parser returns the value or says what is wrong."""

import math
import unicodedata
from collections.abc import Callable

SPLITS = ("TRAIN", "VAL", "TEST")
MAX_FPS = 1000
# Unicode categories: control, format, surrogate, private, unassigned; ends of lines, paragraphs
NO_MARKS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _number(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    def parse(cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            raise ValueError("is not a number") from None
        if "_" in cell or not math.isfinite(value):
            raise ValueError("is not a finite number")
        if not low <= value <= high:
            limits = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
            raise ValueError(f"is out of range; allowed is {limits}{unit}")
        return value

    return parse


def any_number(cell: str) -> float:
    """The value of a cell in a column of the user's own; ValueError if it is no finite number."""
    return _number(-math.inf, math.inf)(cell)


def _whole(low: int, high: int) -> Callable[[str], int]:
    number = _number(low, high)

    def parse(cell: str) -> int:
        value = number(cell)
        if value != int(value):
            raise ValueError("is not a whole number")
        return int(value)

    return parse


def _split(cell: str) -> str:
    if cell not in SPLITS:
        raise ValueError(f"is not one of {', '.join(SPLITS)}")
    return cell


def clip_name(cell: str) -> str:
    """The name of a clip without its suffix; ValueError if it could be anything but a file name."""
    name = cell[: -len(".avi")] if cell.lower().endswith(".avi") else cell
    if not name.strip(". "):
        raise ValueError("is no file name")
    if any(mark in name for mark in "/\\:") or name.startswith("."):
        raise ValueError("leaves the data folder; a plain file name is allowed")
    if name[0] in "=+-@":
        raise ValueError("starts like a formula, which a spreadsheet would run")
    if any(unicodedata.category(mark) in NO_MARKS for mark in name):
        raise ValueError("holds control characters")
    if len(name.encode()) > 200:
        raise ValueError("is longer than 200 bytes")
    return name


PARSERS: dict[str, Callable[[str], object]] = {
    "FileName": clip_name,
    "EF": _number(0, 100, " percent"),
    "ESV": _number(0, math.inf, " ml"),
    "EDV": _number(0, math.inf, " ml"),
    "FrameHeight": _whole(1, 2**16),
    "FrameWidth": _whole(1, 2**16),
    "FPS": _number(1, MAX_FPS, " frames per second"),
    "NumberOfFrames": _whole(1, 2**24),
    "Split": _split,
}
