"""Writing a checkpoint: no instant at which the one before is gone and the new one is not there.

Files go into a hidden folder beside the others, each flushed to disk, the sums last; the folder
gets its name in one rename; older checkpoints are deleted when the new one has been read back.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from echocascade.cascade.checkpoint import (
    FILES,
    FORMAT,
    SUMS,
    Checkpoint,
    CheckpointError,
    checkpoint_places,
    problem_of,
    sha256,
)
from echocascade.data.atomic import sync

HEADROOM = 1.2  # of the tensors' bytes: file headers, and what other programs write meanwhile
_WRITING, _DISCARDED = ".writing-", ".discarded-"


def save_checkpoint(
    directory: Path,
    *,
    model: dict[str, Tensor],
    ema: dict[str, Tensor],
    training: dict[str, Any],
    meta: dict[str, Any],
    keep: int = 2,
) -> Checkpoint:
    """Write the checkpoint of `meta["step"]` under `directory`; keep the newest `keep` that verify.

    Raises:
        CheckpointError: it cannot be written, or not be read back; those before it are untouched.
        FloatingPointError: a weight is not finite.
    """
    step = int(meta["step"])
    _require_finite({"weights": model, "averaged weights": ema}, step)
    directory.mkdir(parents=True, exist_ok=True)
    require_space(directory, [*model.values(), *ema.values(), *_tensors(training)])
    writing = directory / f"{_WRITING}{step:08d}-{os.getpid()}"
    final = _unused(directory, step)
    meta = {**meta, "format": FORMAT}
    try:
        writing.mkdir()
        _write_files(writing, model, ema, training, meta)
        writing.rename(final)
        sync(directory)
    except (OSError, RuntimeError, SafetensorError) as error:
        free = shutil.disk_usage(directory).free
        shutil.rmtree(writing, ignore_errors=True)
        raise CheckpointError(
            f"{directory}: the checkpoint of step {step} could not be written ({_reason(error)}; "
            f"{free} bytes were free); those before it are untouched"
        ) from error
    problem = problem_of(final)
    if problem:
        raise CheckpointError(f"{final}: read back after it was written: {problem}")
    _thin_out(directory, keep)
    return Checkpoint(final, meta)


def _write_files(
    folder: Path, model: dict[str, Tensor], ema: dict[str, Tensor], training: dict[str, Any],
    meta: dict[str, Any],
) -> None:  # fmt: skip
    save_file({k: v.contiguous() for k, v in model.items()}, folder / FILES[0])
    sync(folder / FILES[0])
    save_file({k: v.contiguous() for k, v in ema.items()}, folder / FILES[1])
    sync(folder / FILES[1])
    with (folder / FILES[2]).open("wb") as file:  # given a path, torch hides the system's reason
        torch.save(training, file)
    sync(folder / FILES[2])
    (folder / FILES[3]).write_text(json.dumps(meta), encoding="utf-8")
    sync(folder / FILES[3])
    sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in FILES)
    (folder / SUMS).write_text(sums, encoding="utf-8")
    sync(folder / SUMS)
    sync(folder)


def _unused(directory: Path, step: int) -> Path:
    """The folder for `step`; saved again, a step gets a new one, so the old stays until then."""
    times = [place.times for place in checkpoint_places(directory) if place.step == step]
    suffix = f".{max(times) + 1}" if times else ""
    return directory / f"step-{step:08d}{suffix}"


def _thin_out(directory: Path, keep: int) -> None:
    """Delete what is older than the newest `keep` steps that verify."""
    steps: set[int] = set()
    for place in checkpoint_places(directory):
        if place.step in steps or len(steps) >= keep:
            _discard(place.folder)
        elif problem_of(place.folder) is None:
            steps.add(place.step)


def _discard(folder: Path) -> None:
    """Hide, then delete; one that cannot be deleted costs room and nothing else."""
    discarded = folder.with_name(f"{_DISCARDED}{folder.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        folder.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def sweep(directory: Path) -> list[str]:
    """Remove what a killed process left half written or half deleted; a line for each.

    Only for who holds the folder (`claim`): another process's checkpoint may be on its way.
    """
    lines = []
    for kind in (_WRITING, _DISCARDED):
        for folder in sorted(directory.glob(f"{kind}*")):
            shutil.rmtree(folder, ignore_errors=True)
            if kind == _WRITING:
                lines.append(f"{folder}: an unfinished checkpoint of a killed process; removed")
    return lines


def require_space(directory: Path, tensors: Iterable[Tensor]) -> None:
    """CheckpointError unless the disk has room for a checkpoint of these tensors."""
    needed = int(HEADROOM * sum(t.numel() * t.element_size() for t in tensors))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise CheckpointError(
            f"{directory}: {free} bytes are free, a checkpoint needs {needed}; make room, and the "
            "same command goes on from the last one"
        )


def _require_finite(states: dict[str, dict[str, Tensor]], step: int) -> None:
    for what, state in states.items():
        for name, tensor in state.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise FloatingPointError(
                    f"step {step}: {name} of the {what} is not finite; nothing was saved"
                )


def _tensors(tree: Any) -> list[Tensor]:
    """Every tensor in nested dictionaries and lists."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _reason(error: Exception) -> str:
    """The system's own words where an error of the system lies below."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return str(error).strip().partition("\n")[0]
