"""What is wrong with a data set, as a list: nobody should have to repair it one error at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One fault: the file (relative to the data folder), its row, and what is wrong.

    `row` is the line of the fault in the table, the header being line 1 as editors count, and for
    a video the line of FileList.csv that names it; None where no row is concerned. A `fatal`
    problem leaves nothing to go on with, also where broken clips may be skipped.
    """

    file: str
    row: int | None
    what: str
    fatal: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file} row {self.row}"
        return f"{place}: {self.what}"


class DatasetError(ValueError):
    """A data set that cannot be used as it is. `problems` has every fault, `summary` one line."""

    def __init__(self, root: Path | str, problems: Sequence[Problem]) -> None:
        self.root = str(root)
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        self.summary = f"{count} in {self.root}; the first: {self.problems[0]}"
        super().__init__("\n  ".join([f"{count} in {self.root}", *map(str, self.problems)]))

    def __reduce__(self) -> tuple[type, tuple[str, tuple[Problem, ...]]]:
        return (DatasetError, (self.root, self.problems))
