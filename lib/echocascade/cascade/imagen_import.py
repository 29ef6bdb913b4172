"""The authors' `config.yaml` and `merged.pt` as the stages and checkpoints of a run.

merged.pt is what imagen-pytorch's trainer saves, all stages in one file: `model` (unets.0. ...),
`ema` (0.ema_model. ..., their moving averages, which sample), `steps`, `version` and states of
optimisers, which stay behind. It is read without unpickling anything but tensors and plain values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from torch import Tensor

from echocascade.cascade.checkpoint import CheckpointError, check_architecture
from echocascade.cascade.saving import save_checkpoint
from echocascade.cascade.stage import Stage, Statistics
from echocascade.params import Params

LISTED = (
    "num_sample_steps", "sigma_min", "sigma_max", "sigma_data", "rho", "P_mean", "P_std", "S_churn",
    "S_tmin", "S_tmax", "S_noise", "dynamic_thresholding", "random_crop_sizes",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {  # imagen-pytorch 1.21.6's own
    "num_sample_steps": 32, "sigma_min": 0.002, "sigma_max": 80, "sigma_data": 0.5, "rho": 7,
    "P_mean": -1.2, "P_std": 1.2, "S_churn": 80, "S_tmin": 0.05, "S_tmax": 50, "S_noise": 1.003,
    "dynamic_thresholding": True, "random_crop_sizes": None,
}  # fmt: skip


@dataclass(frozen=True)
class AuthorsRun:
    """What config.yaml says: one tree a stage, as in params files, and the guidance scale."""

    stages: list[dict[str, Any]]
    guidance_scale: float
    channels: int


def read_config(path: Path) -> AuthorsRun:
    """The stages of the authors' configuration.

    Raises:
        CheckpointError: a key is missing, or the configuration is of another kind of model.
    """
    config = _yaml(path)
    imagen, unets = _section(config, "imagen", path), list(_section(config, "unets", path).values())
    if imagen.get("condition_on_text") is not True:
        raise CheckpointError(f"{path}: imagen.condition_on_text is not True: no LVEF goes in")
    text_dim = int(imagen.get("text_embed_dim", 0))
    if text_dim != 1:
        raise CheckpointError(f"{path}: imagen.text_embed_dim is {text_dim}; 1 (the LVEF) is known")
    sizes = _listed(imagen.get("image_sizes"), "image_sizes", len(unets), path)
    factors = _listed(
        imagen.get("temporal_downsample_factor", 1), "temporal_downsample_factor", len(unets), path
    )
    fps, frames = _time(_section(config, "dataset", path), path)
    values = {
        k: _listed(imagen.get(k, DEFAULTS[k]), k, len(unets), path, spread=True) for k in LISTED
    }
    names = _names(sizes, factors)
    stages = []
    for i, unet in enumerate(unets):
        place = {"name": names[i], "size": sizes[i], "n_frames": frames // factors[i],
                 "fps": fps // factors[i]}  # fmt: skip
        stages.append(_stage(place, unet, {k: v[i] for k, v in values.items()}, imagen))
    scale = float(_section(config, "checkpoint", path, {}).get("cond_scale", 5.0))
    return AuthorsRun(stages, scale, int(imagen.get("channels", 3)))


def _stage(
    place: dict[str, Any], unet: dict[str, Any], values: dict[str, Any], imagen: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **place,
        "target": "video",
        "sigma_data": values["sigma_data"],
        "imported": {
            "unet": unet,
            "text_embed_dim": imagen["text_embed_dim"],
            "resize_mode": imagen.get("resize_mode", "nearest"),
            "dynamic_thresholding": values["dynamic_thresholding"],
            "percentile": imagen.get("dynamic_thresholding_percentile", 0.95),
        },
        "training": {
            "steps": 1, "precision": "fp32", "P_mean": values["P_mean"], "P_std": values["P_std"],
            "crop": values["random_crop_sizes"],
        },
        "sampler": {
            "method": "heun", "steps": values["num_sample_steps"],
            "sigma_aug": imagen.get("lowres_sample_noise_level", 0.2),
            **{k: values[k] for k in LISTED if k.startswith(("S_", "rho", "sigma_m"))},
        },
    }  # fmt: skip


def _names(sizes: list[int], factors: list[int]) -> list[str]:
    roles = ["base"]
    for i in range(1, len(sizes)):
        space, time = sizes[i] != sizes[i - 1], factors[i] != factors[i - 1]
        roles.append("tssr" if space and time else "ssr" if space else "tsr")
    return [
        role if roles.count(role) == 1 else f"{role}{roles[: i + 1].count(role)}"
        for i, role in enumerate(roles)
    ]


def _time(dataset: Mapping[str, Any], path: Path) -> tuple[int, int]:
    try:
        fps = int(dataset["fps"])
        return fps, int(fps * float(dataset["duration"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: dataset.fps and dataset.duration are needed") from None


def _yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return tree


def _section(
    config: Mapping[str, Any], key: str, path: Path, default: dict[str, Any] | None = None
) -> dict[str, Any]:
    found = config.get(key, default)
    if not isinstance(found, dict) or (not found and default is None):
        raise CheckpointError(
            f"{path}: section `{key}` is missing; expected the authors' config.yaml with "
            "`unets`, `imagen` and `dataset`"
        )
    return found


def _listed(value: Any, key: str, n: int, path: Path, spread: bool = False) -> list[Any]:
    """One entry a stage; a single value stands for all."""
    if not isinstance(value, list):
        value = [value] * (n if spread or n == 1 else 1)
    if len(value) != n or (key == "image_sizes" and None in value):
        raise CheckpointError(f"{path}: imagen.{key} has {len(value)} entries for {n} unets")
    return list(value)


def import_weights(merged: Path, params: Params, checkpoints: Path) -> list[int]:
    """Write every stage's weights under `checkpoints`/<stage>; returns their parameter counts.

    Raises:
        CheckpointError: the file is damaged, of another format, or does not fit `params`.
    """
    content = _load(merged)
    steps = _steps(content.get("steps"), len(params.cascade.stages))
    counts = []
    for index, trained in enumerate(steps):
        stage = Stage.of(params, index)
        stage = stage.with_statistics(Statistics(0.0, 1.0, float(stage.params.sigma_data)))
        wanted = stage.build().state_dict()
        model = _part(content["model"], f"unets.{index}.")
        average = _part(content.get("ema") or {}, f"{index}.ema_model.") or model
        for found in (model, average):
            check_architecture(found, wanted, f"{merged}, stage {stage.name}")
        counts.append(sum(t.numel() for t in average.values()))
        save_checkpoint(
            checkpoints / stage.name, model=model, ema=average, training={"optimizer": {}},
            meta={
                "step": trained, "seconds": 0.0, "finished": True,
                "statistics": stage.statistics.to_dict(), "digest": "imported", "facts": {},
                "conditioning": params.select("conditioning.scalars"),
                "stage": stage.params.model_dump(mode="json"), "parameters": counts[-1],
                "processes": 1, "device": "unknown", "history": [], "skipped": [],
                "imported": {"version": str(content.get("version", "unknown"))},
            },
        )  # fmt: skip
    return counts


def _load(merged: Path) -> dict[str, Any]:
    if not merged.is_file():
        raise CheckpointError(f"{merged}: no such file")
    if merged.stat().st_size < 4096 and merged.read_bytes().startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{merged}: a pointer of git-lfs, not the weights: run `git lfs pull`"
        )
    try:
        content = torch.load(merged, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{merged}: cannot be read as weights: {line}") from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), Mapping):
        raise CheckpointError(f"{merged}: no `model` in it; expected imagen-pytorch's checkpoint")
    return content


def _part(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix`, named as the stage's network names them."""
    return {
        f"network.unet.{k.removeprefix(prefix)}": v.clone()
        for k, v in state.items()
        if k.startswith(prefix) and isinstance(v, Tensor)
    }


def _steps(steps: Any, n: int) -> list[int]:
    if isinstance(steps, Tensor) and steps.numel() == n:
        return [max(int(s), 1) for s in steps.flatten()]
    return [1] * n
