"""The tree of keys and values that a file holds: merged, addressed and changed by path."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from echocascade.params.section import ParamsError


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; stages are matched by their name, in `above`'s order."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[key] = merge(old, value)
        elif key == "stages" and isinstance(old, list) and isinstance(value, list):
            named = {s.get("name"): s for s in old if isinstance(s, dict)}
            merged[key] = [
                merge(named.get(s.get("name"), {}), s) if isinstance(s, dict) else s for s in value
            ]
        else:
            merged[key] = value
    return merged


def parse_override(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ParamsError(f"override {text!r}: expected key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ParamsError(f"override {text!r}: the value is not valid YAML") from None


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
