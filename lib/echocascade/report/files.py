"""Small files of a run folder, written whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from echocascade.data import atomic


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; the parent folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object atomically: indented, keys in the given order, no NaN."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object; ValueError names the file when it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, expected one object")
    return content


def flatten(mapping: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one flat object with dotted keys and plain JSON scalars.

    NumPy and torch scalars become Python numbers; NaN and infinities become None, because JSON
    has neither and "no value" is what they mean in a table of results.
    """
    flat: dict[str, object] = {}
    for key, value in mapping.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat.update(flatten(value, name))
        else:
            flat[name] = _scalar(name, value)
    return flat


def _scalar(key: str, value: object) -> object:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 1) != 0:
        try:
            value = item()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"result {key}: expected one number, found an array") from error
    if isinstance(value, (list, tuple)):
        return [_scalar(key, element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"result {key}: a {type(value).__name__} cannot be recorded;"
        " allowed are numbers, texts, booleans, None and lists of them"
    )
