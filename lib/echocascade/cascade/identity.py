"""What a training's weights depend on, and what to do with checkpoints that were made otherwise."""

import hashlib
import json
from pathlib import Path
from typing import Any

from echocascade.cascade.checkpoint import Checkpoint, CheckpointError, latest_checkpoint
from echocascade.cascade.stage import Stage
from echocascade.data.clips import ClipStore
from echocascade.params import Params, TrainingParams

# how long, how it is saved, watched and shared out: the weights of a step are the same
_NOT_WEIGHTS = {
    "max_minutes", "max_hours", "device_batch", "workers", "checkpoint_minutes",
    "keep_checkpoints", "on_change", "max_bad_steps", "validate_clips", "validate_times",
}  # fmt: skip

Facts = dict[str, Any]
INTERPOLATION = "interpolation in time"  # of the low resolution; linear where it is not said


def training_facts(params: Params, stage: Stage, store: ClipStore) -> Facts:
    """Everything that the weights of `stage` depend on, by dotted key; the clips among it."""
    own = f"cascade.stages.{stage.name}"
    paths = [f"{own}.{key}" for key in ("size", "n_frames", "fps", "target", "sigma_data")]
    paths += [
        f"{own}.training.{key}" for key in sorted(set(TrainingParams.model_fields) - _NOT_WEIGHTS)
    ]
    if stage.before is not None:
        paths += [f"cascade.stages.{stage.before.name}.{k}" for k in ("size", "n_frames", "fps")]
    facts = {path: params.select(path) for path in ("seed", "data", "conditioning.scalars", *paths)}
    network = params.select(f"{own}.network")
    facts |= {f"{own}.network.{key}": network[key] for key in network}
    facts.pop(f"{own}.network.checkpoint_activations", None)  # memory for time, nothing else
    if not stage.params.training.motion_weight:  # as of those made before it existed
        facts.pop(f"{own}.training.motion_weight")
    if stage.interpolation != "linear":
        facts[INTERPOLATION] = stage.interpolation
    data = json.dumps(store.manifest["sha256"], sort_keys=True).encode()
    facts["the decoded clips"] = hashlib.sha256(data).hexdigest()[:8]
    return facts


def digest_of(facts: Facts) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Facts, now: Facts) -> list[str]:
    """The keys in which two sets of facts differ, with both values."""
    keys = sorted(before.keys() | now.keys())
    return [
        f"{key} {_value(before, key)} -> {_value(now, key)}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _value(facts: Facts, key: str) -> str:
    return json.dumps(facts[key]) if key in facts else "(absent)"


def check_interpolation(checkpoint: Checkpoint, stage: Stage) -> None:
    """Raise a CheckpointError when its weights were trained on another enlargement."""
    found = checkpoint.meta.get("facts", {}).get(INTERPOLATION, "linear")
    if found != stage.interpolation:
        raise CheckpointError(
            f"{checkpoint.directory}: trained on low resolution that is {found} in time, and "
            f"stage {stage.name} is now given {stage.interpolation}; train it again"
        )


def resume_point(
    directory: Path, facts: Facts, on_change: str
) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and a line for everything that was found on the way.

    Checkpoints of other facts are moved aside, never deleted, or are an error ("stop").

    Raises:
        CheckpointError: none can be read, or they were made otherwise and `on_change` is "stop".
    """
    checkpoint, warnings = latest_checkpoint(directory)
    if checkpoint is None or checkpoint.meta["digest"] == digest_of(facts):
        return checkpoint, warnings
    known = checkpoint.meta.get("facts")
    changed = differences(known, facts) if known else ["it does not say which"]
    shown = "; ".join(changed[:6]) + (f" and {len(changed) - 6} more" if len(changed) > 6 else "")
    why = f"{directory}: its checkpoints were made with other parameters ({shown})"
    if on_change == "stop":
        raise CheckpointError(
            f"{why}; change them back, delete the folder, or set training.on_change to set_aside"
        )
    aside = _set_aside(directory, str(checkpoint.meta["digest"]))
    return None, [*warnings, f"{why}; moved to {aside.name}"]


def _set_aside(directory: Path, digest: str) -> Path:
    aside, number = directory.with_name(f"{directory.name}.made-with-{digest}"), 1
    while aside.exists():
        aside = directory.with_name(f"{directory.name}.made-with-{digest}-{number}")
        number += 1
    directory.rename(aside)
    return aside
