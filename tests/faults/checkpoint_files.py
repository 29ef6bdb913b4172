"""Checkpoints to harm, and the harm."""

import os
from pathlib import Path

import torch

from echocascade.cascade.checkpoint import FILES, SUMS, checkpoint_places, sha256
from echocascade.cascade.saving import save_checkpoint

KILLED = -9


def save(directory: Path, step: int, floats: int = 1000, value: float | None = None, keep: int = 2):
    """A checkpoint of 16 bytes a float, all of them `value` (by default the step)."""
    content = torch.full((floats,), float(step if value is None else value))
    return save_checkpoint(
        directory,
        model={"w": content},
        ema={"w": content.clone()},
        training={"optimizer": {"m": content.clone(), "v": content.clone()}, "recent": [0.5]},
        meta={
            "step": step, "seconds": 1.0, "finished": False, "digest": "d", "stage": {},
            "statistics": {"mean": 0.0, "std": 1.0, "sigma_data": 0.5}, "history": [],
        },
        keep=keep,
    )  # fmt: skip


def content(checkpoint) -> set[float]:
    """The values that a checkpoint holds; one, unless it is a mixture."""
    state = checkpoint.training_state()["optimizer"]
    parts = [checkpoint.weights("model")["w"], checkpoint.weights("ema")["w"], *state.values()]
    return set(torch.cat(parts).unique().tolist())


def checkpoint_folders(directory: Path) -> list[Path]:
    return [place.folder for place in checkpoint_places(directory)]


def hidden(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))


def two_steps(directory: Path) -> Path:
    for step in (1, 2):
        save(directory, step)
    return directory


def cut(path: Path, how: str) -> None:
    size = path.stat().st_size
    length = {"to nothing": 0, "in half": size // 2, "by 100 bytes": size - 100}[how]
    os.truncate(path, length)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def damage(path: Path, how: str) -> None:
    if how == "flip":
        flip(path)
    elif how == "delete":
        path.unlink()
    else:
        cut(path, how)


def renew_sums(folder: Path) -> None:
    """As an attacker would, or an honest hand."""
    (folder / SUMS).write_text("".join(f"{sha256(folder / n)}  {n}\n" for n in FILES))
