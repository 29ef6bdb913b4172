"""What a notebook can be told: the literals of its cell tagged `parameters`."""

import ast
import difflib
import json
from collections.abc import Mapping
from pathlib import Path


class NotebookError(ValueError):
    """A notebook that cannot be started: unknown parameter, no such file, already running."""


def read_parameters(notebook: Path) -> dict[str, object]:
    """Names and default values of the cell tagged `parameters`: literal assignments only."""
    if not notebook.is_file():
        raise NotebookError(f"no notebook {notebook.name} in {notebook.parent.name}/")
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            source = cell["source"]
            return _literals(notebook, source if isinstance(source, str) else "".join(source))
    raise NotebookError(f"{notebook.name} has no cell tagged 'parameters'")


def _literals(notebook: Path, source: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for statement in ast.parse(source).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        value = getattr(statement, "value", None)
        try:
            if not isinstance(target, ast.Name) or value is None:
                raise ValueError
            found[target.id] = ast.literal_eval(value)
        except ValueError:
            raise NotebookError(
                f"{notebook.name}: parameters cell line {statement.lineno} is not a literal"
                " assignment such as name = 'value'"
            ) from None
    return found


def check_parameters(notebook: Path, values: Mapping[str, object]) -> None:
    """Refuse a parameter that the notebook does not have or that has another type."""
    known = read_parameters(notebook)
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise NotebookError(
                f"{notebook.name} has no parameter {name!r}; did you mean {near[0]!r}?"
                if near
                else f"{notebook.name} has no parameters, {name!r} was given"
            )
        default = known[name]
        if default is not None and value is not None and type(value) is not type(default):
            raise NotebookError(
                f"{notebook.name}: parameter {name!r} is a {type(default).__name__},"
                f" found {value!r}"
            )
