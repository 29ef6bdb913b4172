"""What ``echocascade import-weights`` does."""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.imagen import unet3d
from echocascade.cascade.imagen_import import AuthorsRun, import_weights, read_config
from echocascade.commands.running import data_root
from echocascade.params import Params, ParamsError, load_params, parse_override
from echocascade.report import provenance
from echocascade.report.files import write_json, write_text
from echocascade.report.runs import RunError, find_params_file, project_root, run_folder

USER_ERRORS = (CheckpointError, ParamsError, RunError, OSError)
LICENCE = (
    "The authors give their weights under GPL-2.0: what you pass on of them, the run's checkpoints "
    "among it, stays under that licence."
)


@dataclass(frozen=True)
class Imported:
    """content: the JSON; text: the same for a console."""

    content: dict[str, Any]
    text: str


def import_run(
    config: Path, merged: Path, name: str, data: Path | None, params_file: str,
    overrides: Sequence[str],
) -> Imported:  # fmt: skip
    """outputs/NAME with params.yaml, provenance.json and the checkpoints of all stages.

    Raises:
        CheckpointError, ParamsError, RunError: the weights, parameters or name do not fit.
    """
    unet3d()  # without the package nothing else is worth saying
    root = project_root()
    authors = read_config(config)
    params = params_of(authors, name, params_file, _with_data(overrides, data, root))
    directory = run_folder(name, root)
    if directory.exists():
        raise RunError(f"outputs/{name} is there already; choose another --name or delete it")
    making = directory.with_name(f".importing-{name}-{os.getpid()}")
    try:
        counts = import_weights(merged, params, making / "checkpoints")
        write_text(making / "params.yaml", params.dump_yaml())
        write_json(making / "provenance.json", {
            **provenance.collect(root, ["echocascade", *sys.argv[1:]]),
            "imported": {"config_sha256": _sha256(config), "merged_sha256": _sha256(merged),
                         "licence": "GPL-2.0"},
        })  # fmt: skip
        making.rename(directory)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return _described(name, params, counts)


def params_of(authors: AuthorsRun, name: str, params_file: str, overrides: Sequence[str]) -> Params:
    """The run's parameters: the authors' cascade, and all else from a file of ours."""
    tree: dict[str, Any] = {
        "name": name,
        "title": "The authors' weights",
        "devices": 1,
        "data.channels": authors.channels,
        "cascade.stages": authors.stages,
        "cascade.guidance.scale": authors.guidance_scale,
        "cascade.guidance.apply_to": "all",
        **dict(parse_override(text) for text in overrides),
    }
    return load_params(find_params_file(params_file), tree)


def _with_data(overrides: Sequence[str], data: Path | None, root: Path) -> list[str]:
    return list(overrides) + ([] if data is None else [f"data.root={data_root(data, root)}"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(name: str, params: Params, counts: Sequence[int]) -> Imported:
    stages: list[dict[str, Any]] = [
        {"name": s.name, "role": params.cascade.role(i), "size": s.size, "n_frames": s.n_frames,
         "fps": s.fps, "parameters": counts[i], "sampling_steps": s.sampler.steps}
        for i, s in enumerate(params.cascade.stages)
    ]  # fmt: skip
    lines = [
        f"  {s['name']:5} {s['role']:4} {s['size']} px, {s['n_frames']} frames at {s['fps']} fps, "
        f"{s['parameters'] / 1e6:.1f} M parameters, {s['sampling_steps']} sampling steps"
        for s in stages
    ]
    text = "\n".join([f"outputs/{name}: weights of imagen-pytorch 1.21.6", *lines, LICENCE])
    content = {"run": name, "stages": stages, "licence": "GPL-2.0", "guidance_scale":
               params.cascade.guidance.scale}  # fmt: skip
    return Imported(content, text)
