"""A finished stage as others can use it: weights that sample, configuration, and a model card.

checkpoints/<stage>/model/
    model.safetensors   the averaged weights
    config.json         all that is needed to build the network, and what it was trained on
    MODEL_CARD.md       the same for people: data, losses, intended use, limits, licence
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import echocascade
from echocascade.cascade.checkpoint import Checkpoint, CheckpointError, check_architecture
from echocascade.cascade.stage import Stage, Statistics
from echocascade.data.atomic import replacing, write_text
from echocascade.data.clips import ClipStore
from echocascade.diffusion import Denoiser
from echocascade.params import Params, StageParams

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "MODEL_CARD.md"
PHANTOM_LICENCE = (
    "The clips are drawn by this project's phantom: no patient is in them, and they may be used "
    "and passed on under the project's own licence (MIT)."
)
UNKNOWN_LICENCE = (
    "Not stated (`card.data_licence` in the parameters). EchoNet-Dynamic is given by Stanford "
    "University for research under an agreement that forbids passing the clips on; weights trained "
    "on such clips can remember some of them. Read your data's agreement before you share these."
)
INTENDED_USE = (
    "Research on synthetic echocardiograms: studying how a video model follows clinical "
    "parameters, augmenting or balancing a training set whose real test set is kept apart, "
    "teaching. One stage of a cascade: it is used together with the others of its run."
)
DRAWN = "It was trained on drawn hearts and can say nothing about real echocardiograms. "
LIMITS = (
    "Not a medical device. A generated clip is not a recording of anyone, and says nothing about "
    "the patient whose frame was given. The network has seen one view (apical four-chamber), the "
    "machines and the patients of its data set; outside them it invents. It follows a requested "
    "value only as well as the run's report measures, and less at values that are rare in the "
    "data. It may repeat training clips: check before publishing samples (see the run's report)."
)


def write_model(params: Params, stage: Stage, store: ClipStore, checkpoint: Checkpoint) -> Path:
    """Write `model/` beside the checkpoints of a finished stage, unless it is there already."""
    folder = checkpoint.directory.parent / "model"
    config = model_config(params, stage, store, checkpoint)
    written = json.dumps(config, indent=1) + "\n"
    known = folder / CONFIG
    if known.is_file() and known.read_text(encoding="utf-8") == written:
        return folder
    folder.mkdir(exist_ok=True)
    known.unlink(missing_ok=True)  # written last: with it the folder is complete
    with replacing(folder / WEIGHTS) as temporary:
        save_file(checkpoint.weights("ema"), temporary)
    write_text(folder / CARD, model_card(config))
    write_text(known, written)
    return folder


def load_model(folder: Path, device: torch.device | None = None) -> tuple[Stage, Denoiser]:
    """Stage and denoiser of a `model/` folder, without the run that it came from.

    Raises:
        CheckpointError: a file is missing, or the weights are of another architecture.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        before = config["before"]
        stage = Stage(
            StageParams.model_validate(config["stage"]), config["index"], config["role"],
            config["channels"], len(config["conditioning"]),
            StageParams.model_validate(before) if before else None,
        )  # fmt: skip
        stage = replace(stage, statistics=Statistics(**config["statistics"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: not a model folder ({error})") from None
    denoiser = stage.build()
    check_architecture(weights, denoiser.state_dict(), str(folder))
    denoiser.load_state_dict(weights)
    return stage, denoiser.to(device or "cpu").eval().requires_grad_(False)


def model_config(
    params: Params, stage: Stage, store: ClipStore, checkpoint: Checkpoint
) -> dict[str, Any]:
    """What config.json holds."""
    meta = checkpoint.meta
    counts = store.table["Split"].value_counts()
    licence = PHANTOM_LICENCE if params.is_phantom else params.card.data_licence or UNKNOWN_LICENCE
    return {
        "echocascade": echocascade.__version__,
        "run": params.name,
        "index": stage.index,
        "role": stage.role,
        "channels": stage.channels,
        "conditioning": params.select("conditioning.scalars"),
        "statistics": stage.statistics.to_dict(),
        "stage": stage.params.model_dump(mode="json"),
        "before": stage.before.model_dump(mode="json") if stage.before else None,
        "parameters": meta["parameters"],
        "step": checkpoint.step,
        "seconds": round(float(meta["seconds"]), 1),
        "processes": meta["processes"],
        "device": meta["device"],
        "precision": meta["precision"],
        "seed": params.seed,
        "history": meta["history"],
        "skipped_steps": len(meta["skipped"]),
        "data": {
            "phantom": params.is_phantom,
            "name": "phantom" if params.is_phantom else Path(params.data.root).name,
            "clips": {split: int(counts.get(split, 0)) for split in ("TRAIN", "VAL", "TEST")},
            "sha256": store.manifest["sha256"],
            "licence": licence,
        },
    }


def model_card(config: dict[str, Any]) -> str:
    """MODEL_CARD.md for a `model_config`; a paragraph is a line."""
    stage, data = config["stage"], config["data"]
    training = stage["training"]
    rows = "\n".join(
        f"| {entry['step']:.0f} | {entry['training_loss']:.4f} | {_number(entry)} |"
        for entry in config["history"]
    )
    return f"""---
library_name: echocascade
tags: [echocardiography, video-diffusion, edm]
---

# {stage["name"]}: stage {config["index"] + 1} ({config["role"]}) of the cascade {config["run"]}

A denoiser for video diffusion (Karras et al., 2022) after Reynaud et al., 2023. {_purpose(config)}

## Data

{data["name"]}: trained on the {data["clips"]["TRAIN"]} clips of split TRAIN; losses watched on \
VAL ({data["clips"]["VAL"]} clips); TEST ({data["clips"]["TEST"]} clips) is untouched.

SHA-256 of the decoded clips: `{data["sha256"]["frames.u8"]}`

Licence of the data: {data["licence"]}

## Network and training

{config["parameters"]} parameters. {config["step"]} steps of {training["batch_size"]} clips, \
{config["seconds"] / 60:.1f} min on {config["processes"]} {config["device"]} device(s), precision \
{config["precision"]}, learning rate {training["learning_rate"]:g}, seed {config["seed"]}; \
{config["skipped_steps"]} steps were left out because a number was not finite. Everything else is \
in `{CONFIG}`. The weights are the moving average, which is what samples.

| step | training loss | validation loss |
|---|---|---|
{rows}

A loss of 1 is that of an untrained network; how well clips follow what was asked is in the report \
of the run, not here.

## Intended use

{INTENDED_USE}

## Limits

{DRAWN if data["phantom"] else ""}{LIMITS}
"""


def _number(entry: dict[str, float]) -> str:
    return f"{entry['validation_loss']:.4f}" if "validation_loss" in entry else "no VAL clips"


def _purpose(config: dict[str, Any]) -> str:
    """What goes in and what comes out."""
    stage, before = config["stage"], config["before"]
    scalars = ", ".join(
        f"{entry['column']} ({entry['range'][0]:g} to {entry['range'][1]:g})"
        for entry in config["conditioning"]
    )
    makes = (
        f"It makes {stage['n_frames']} frames of {stage['size']} x {stage['size']} pixels at "
        f"{stage['fps']} per second from one frame of a recording and {scalars}"
    )
    if before is None:
        return makes + "."
    return f"{makes}, and from a clip of {before['n_frames']} frames of {before['size']} pixels."
