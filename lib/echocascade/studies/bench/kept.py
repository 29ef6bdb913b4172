"""What an interrupted benchmark has measured: the same command goes on from there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echocascade.data import atomic
from echocascade.studies.bench.cases import Case


class Kept:
    """Answers of a benchmark's processes in a file of JSON lines, the first of which says of what.

    Args:
        path: of the file.
        of: plan, machine, commit and whatever else must be equal for an answer to count. Where it
            is not, or `dirty` is not False, the file starts anew: nobody knows what a changed tree,
            or one without git, had measured.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}
        head, *rest = _lines(path) or [{}]
        if head == json.loads(json.dumps(of)) and of.get("dirty") is False:
            self.found = {line["case"]: line["answer"] for line in rest}
        lines = [of, *({"case": case, "answer": answer} for case, answer in self.found.items())]
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def get(self, case: Case | None) -> dict[str, Any] | None:
        """The answer of this case, or of the machine's (None), if there is one."""
        return self.found.get(_name(case))

    def add(self, case: Case | None, answer: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": _name(case), "answer": answer}) + "\n")


def _name(case: Case | None) -> str:
    return json.dumps(case and case.to_json())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The file's objects up to the first line that was not written to its end."""
    found: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return found
