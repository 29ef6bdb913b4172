"""Checkpoints of a stage: a directory a step, complete or invisible; here they are read.

    checkpoints/<stage>/step-00001200/
        model.safetensors   the trained weights
        ema.safetensors     their moving average: what samples
        training.pt         optimiser state and the like, plain types and tensors only
        meta.json           step, configuration, history
        SHA256SUMS          of the four files above; written last (`sha256sum -c` reads it)

`saving` writes them. A checkpoint counts when every sum agrees; reading never unpickles.
"""

import hashlib
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FORMAT = 2
WITHOUT_SUMS = 1  # a run of before: the sums are in meta.json, lambda_c is the LVEF
FILES = ("model.safetensors", "ema.safetensors", "training.pt", "meta.json")
SUMS = "SHA256SUMS"
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")
_META = ("step", "seconds", "finished", "statistics", "digest", "stage", "history")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, in use, made otherwise, or cannot be written."""


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint on disk; weights are read when asked for."""

    directory: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.meta["step"])

    @property
    def finished(self) -> bool:
        return bool(self.meta["finished"])

    @property
    def history(self) -> list[dict[str, float]]:
        return list(self.meta["history"])

    def weights(self, kind: str = "ema") -> dict[str, Tensor]:
        """State dict of `model` or `ema`."""
        path = self.directory / f"{kind}.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from None

    def training_state(self) -> dict[str, Any]:
        """Optimiser state and the like. Nothing in the file is executed.

        Raises:
            CheckpointError: the file holds anything but plain types and tensors, or lacks a part.
        """
        path = self.directory / "training.pt"
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise CheckpointError(f"{path}: refused, nothing in it was run ({reason})") from None
        missing = {"optimizer", "recent"} - (state.keys() if isinstance(state, dict) else set())
        if missing:
            raise CheckpointError(f"{path}: {', '.join(sorted(missing))} is missing")
        return state


@dataclass(frozen=True, order=True)
class Place:
    """What a folder's name says: its step, and how often that had been saved before."""

    step: int
    times: int
    folder: Path


def checkpoint_places(directory: Path) -> list[Place]:
    """Every checkpoint folder, readable or not, newest first; times of change do not count."""
    found = ((_NAME.fullmatch(folder.name), folder) for folder in directory.glob("step-*"))
    places = [Place(int(name[1]), int(name[2] or 0), folder) for name, folder in found if name]
    return sorted(places, reverse=True)


def latest_checkpoint(directory: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint of the highest step that verifies, and a line for each damaged one.

    Raises:
        CheckpointError: checkpoints are there, but none verifies.
    """
    damaged: list[str] = []
    for place in checkpoint_places(directory):
        folder = place.folder
        problem = problem_of(folder)
        if problem is None:
            return Checkpoint(folder, _read_meta(folder)), damaged
        damaged.append(f"{folder}: {problem}")
    if damaged:
        raise CheckpointError(
            "no checkpoint can be read; to start afresh delete the folder. " + "; ".join(damaged)
        )
    return None, []


def problem_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None: the sums agree and meta.json is ours."""
    try:
        meta = _read_meta(folder)
        sums = meta.get("files", {}) if meta.get("format") == WITHOUT_SUMS else _read_sums(folder)
        for name in FILES[: 3 if meta.get("format") == WITHOUT_SUMS else 4]:
            if not (folder / name).is_file():
                return f"{name} is missing"
            if sha256(folder / name) != sums.get(name):
                return f"{name} is damaged (its SHA-256 is not that of {SUMS})"
    except (OSError, ValueError) as error:
        return str(error)
    if meta.get("format") not in (FORMAT, WITHOUT_SUMS):
        return f"meta.json says format {meta.get('format')!r}, this version reads {FORMAT}"
    missing = [key for key in _META if key not in meta]
    return f"meta.json has no {', '.join(missing)}" if missing else None


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError("meta.json is missing or not valid JSON") from None
    if not isinstance(meta, dict):
        raise ValueError("meta.json is no object")
    return meta


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{SUMS} is missing or cannot be read") from None
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs}


def check_architecture(found: dict[str, Tensor], wanted: dict[str, Tensor], what: str) -> None:
    """Raise a CheckpointError that names the first tensors in which two state dicts differ."""
    missing = sorted(wanted.keys() - found.keys())
    surplus = sorted(found.keys() - wanted.keys())
    shapes = [
        f"{k} is {tuple(found[k].shape)}, the network has {tuple(wanted[k].shape)}"
        for k in sorted(wanted.keys() & found.keys())
        if found[k].shape != wanted[k].shape
    ]
    problems = [
        *(f"{k} is missing" for k in missing),
        *(f"{k} is not in the network" for k in surplus),
        *shapes,
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{what}: another architecture: {'; '.join(problems[:3])}{more}")


def check_conditioning(checkpoint: Checkpoint, wanted: list[dict[str, Any]]) -> None:
    """Raise a CheckpointError when its weights were trained on another lambda_c than is wanted."""
    found = checkpoint.meta.get("conditioning", [{"column": "EF", "range": [0.0, 100.0]}])
    if found != wanted:
        raise CheckpointError(
            f"{checkpoint.directory}: trained with conditioning.scalars {_listed(found)}, "
            f"this run has {_listed(wanted)}"
        )


def _listed(entries: Any) -> str:
    try:
        return ", ".join(f"{e['column']} {e['range'][0]:g}..{e['range'][1]:g}" for e in entries)
    except (TypeError, KeyError, IndexError, ValueError):
        return repr(entries)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
