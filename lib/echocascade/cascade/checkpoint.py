"""Checkpoints of a stage: a directory a step, complete or invisible.

    checkpoints/<stage>/step-00001200/
        model.safetensors   the trained weights
        ema.safetensors     their moving average: what samples
        training.pt         optimiser state and the like, plain types and tensors only
        meta.json           step, configuration, history, SHA-256 of the files above; written last

Everything is written into a hidden folder beside it, flushed to disk and renamed, so a kill at any
instant leaves the previous checkpoint. Reading never unpickles.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1
_FILES = ("model.safetensors", "ema.safetensors", "training.pt")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or made for another architecture."""


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
        return load_file(self.directory / f"{kind}.safetensors")

    def training_state(self) -> dict[str, Any]:
        return torch.load(self.directory / "training.pt", weights_only=True)


def save_checkpoint(
    directory: Path,
    *,
    model: dict[str, Tensor],
    ema: dict[str, Tensor],
    training: dict[str, Any],
    meta: dict[str, Any],
    keep: int = 2,
) -> Checkpoint:
    """Write the checkpoint of `meta["step"]` under `directory` and delete older ones but `keep`."""
    directory.mkdir(parents=True, exist_ok=True)
    for left_over in directory.glob(".writing-*"):
        shutil.rmtree(left_over)
    _require_space(directory, [*model.values(), *ema.values()])
    writing = directory / f".writing-{meta['step']:08d}-{os.getpid()}"
    writing.mkdir()
    save_file({k: v.contiguous() for k, v in model.items()}, writing / _FILES[0])
    save_file({k: v.contiguous() for k, v in ema.items()}, writing / _FILES[1])
    torch.save(training, writing / _FILES[2])
    meta = {**meta, "format": FORMAT, "files": {n: _sha256(writing / n) for n in _FILES}}
    (writing / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for name in (*_FILES, "meta.json"):
        _flush(writing / name)
    final = directory / f"step-{meta['step']:08d}"
    if final.exists():
        shutil.rmtree(final)
    writing.rename(final)
    _flush(directory)
    for old in sorted(directory.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return Checkpoint(final, meta)


def latest_checkpoint(directory: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint of the highest step that verifies, and a line for each damaged one.

    Raises:
        CheckpointError: checkpoints are there, but none verifies.
    """
    damaged: list[str] = []
    for folder in sorted(directory.glob("step-*"), reverse=True):
        problem = _problem(folder)
        if problem is None:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            return Checkpoint(folder, meta), damaged
        damaged.append(f"{folder}: {problem}")
    if damaged:
        raise CheckpointError(
            "no checkpoint can be read; to start afresh delete the folder. " + "; ".join(damaged)
        )
    return None, []


def _problem(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "meta.json is missing or not valid JSON"
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        return f"meta.json does not say format {FORMAT}"
    for name, expected in meta.get("files", {}).items():
        if name not in _FILES or not (folder / name).is_file():
            return f"{name} is missing"
        if _sha256(folder / name) != expected:
            return f"{name} is damaged (its SHA-256 differs from meta.json)"
    return None


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


def _require_space(directory: Path, tensors: list[Tensor]) -> None:
    needed = int(2.5 * sum(t.numel() * t.element_size() for t in tensors))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise CheckpointError(
            f"{directory}: {free / 1e6:.0f} MB are free, a checkpoint needs {needed / 1e6:.0f} MB"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
