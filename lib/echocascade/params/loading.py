"""Reading a parameters file, and saying in one line what is wrong with it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from echocascade.params.run import Params
from echocascade.params.section import ParamsError, Section
from echocascade.params.tree import MAX_BYTES, assign, merge, nearest, parse_override, parse_yaml
from echocascade.wording import in_one_line

LONGEST_LINE = 1500  # characters of what is wrong with one key
MOST_LINES = 100


def load_params(path: str | Path, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Params:
    """Read, override and validate.

    Args:
        path: YAML file; its optional key `base` names another file to start from.
        overrides: `{"cascade.stages.base.training.steps": 10}` or `["seed=3"]` (YAML values).

    Raises:
        ParamsError: with one line per problem.
    """
    tree = _read_tree(Path(path), ())
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides)
    for key, value in pairs:
        assign(tree, key, value)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        found = error.errors()
        # An error's place may lie within another's, which it then explains.
        outer = {e["loc"][:depth] for e in found for depth in range(len(e["loc"]))}
        inner = [e for e in found if e["loc"] not in outer]
        lines = [in_one_line(_explain(e), LONGEST_LINE) for e in inner[:MOST_LINES]]
        if len(inner) > MOST_LINES:
            lines.append(f"and {len(inner) - MOST_LINES} more")
        raise ParamsError("\n".join(f"{path}: {line}" for line in lines)) from None


def _read_tree(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise ParamsError(f"{in_one_line(path, LONGEST_LINE)}: no such params file")
        if path.resolve() in seen:
            raise ParamsError(f"{path}: `base` leads back to this file")
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, ValueError) as error:  # a name with NUL or too long, no permission, no UTF-8
        if isinstance(error, ParamsError):
            raise
        raise ParamsError(f"{str(path)[:200]!r}: cannot be read: {in_one_line(error)}") from None
    try:
        tree = parse_yaml(text)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path}: expected keys and values, found {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    below = _read_tree(path.parent / str(base), (*seen, path.resolve()))
    return merge(below, tree)


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """The valid keys of the section at `location`, by walking the schema."""
    model: Any = Params
    for key in location:
        if isinstance(key, int):
            continue
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
    return list(getattr(model, "model_fields", {}))


def _without_tags(location: Sequence[Any]) -> tuple[Any, ...]:
    """A place without what pydantic adds to it to name the kinds of a union."""
    return tuple(k for k in location if not (isinstance(k, str) and {"[", "-"} & {*k}))


def _explain(error: Any) -> str:
    location = _without_tags(error["loc"])
    name = ".".join(map(str, location)) or "this file"
    if error["type"] == "extra_forbidden":
        *above, last = error["loc"]
        place = ".".join(map(str, [*_without_tags(above), last]))
        return f"{place}: unknown key{nearest(str(last), _fields_at(_without_tags(above)))}"
    if error["type"] == "missing":
        return f"{name}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{name}: {message}"
    return f"{name}: found {repr(error['input'])[:500]}; {message[0].lower()}{message[1:]}"
