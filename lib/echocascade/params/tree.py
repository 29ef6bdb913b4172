"""The tree of keys and values that a file holds: merged, addressed and changed by path."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from echocascade.params.section import ParamsError

MAX_BYTES = 2**20  # of one parameters file
MAX_NODES = 100_000  # keys, values and entries, each alias counted as what it stands for
MAX_DEPTH = 50


def parse_yaml(text: str) -> Any:
    """The tree that a YAML text stands for; ParamsError if it is none, or of absurd size.

    A few lines whose aliases name each other stand for more values than memory holds.
    """
    try:
        if len(text) > MAX_BYTES:
            raise ParamsError(f"{len(text)} characters; at most {MAX_BYTES} are read")
        tree = yaml.safe_load(text)
    # YAML's own constructors raise what Python's do: int("1" * 5000), a 31st of February.
    except (
        yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError,
        RecursionError,
    ) as error:  # fmt: skip
        if isinstance(error, ParamsError):
            raise
        raise ParamsError(f"not valid YAML: {' '.join(str(error).split())[:500]}") from None
    left, waiting = MAX_NODES, [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        inner = [*node, *node.values()] if isinstance(node, dict) else node
        left -= 1
        if isinstance(inner, list | tuple | set):
            left -= len(inner)
            waiting += [(item, depth + 1) for item in inner if left > 0]
        if left <= 0 or depth > MAX_DEPTH:
            raise ParamsError(f"more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}")
    return tree


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; stages are matched by their name, in `above`'s order."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[key] = merge(old, value)
        elif key == "stages" and isinstance(old, list) and isinstance(value, list):
            # as text: a name may be anything, a list too, until the schema has seen it
            named = {repr(s.get("name")): s for s in old if isinstance(s, dict)}
            merged[key] = [
                merge(named.get(repr(s.get("name")), {}), s) if isinstance(s, dict) else s
                for s in value
            ]
        else:
            merged[key] = value
    return merged


def parse_override(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ParamsError(f"override {text!r}: expected key=value")
    try:
        return key.strip(), parse_yaml(value)
    except ParamsError:
        raise ParamsError(f"override {text[:200]!r}: the value is not valid YAML") from None


def position(node: Any, key: str, path: str) -> Any:
    """The key or list index that `key` means inside `node`."""
    if isinstance(node, dict) and key in node:
        return key
    if isinstance(node, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in node]
        if key in names:
            return names.index(key)
        if key.isdigit() and int(key) < len(node):
            return int(key)
        raise ParamsError(f"{path}: no entry {key!r}; there are {', '.join(map(str, names))}")
    known = node.keys() if isinstance(node, dict) else ()
    raise ParamsError(f"{path}: no key {key!r}{nearest(key, known)}")


def assign(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a value; keys that the file leaves to their defaults are made on the way."""
    *parents, last = path.split(".")
    node: Any = tree
    for key in parents:
        if isinstance(node, dict):
            node = node.setdefault(key, {})
        else:
            node = node[position(node, key, path)]
    if not isinstance(node, dict):
        node[position(node, last, path)] = value
    else:
        node[last] = value


def nearest(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; allowed here: {', '.join(known)}" if known else ""
