"""The run's judge: its LVEF regressor, trained on TRAIN clips, measured on clips it never saw.

DIRECTORY/training.json        what the training under way depends on
DIRECTORY/training.pt          state of an unfinished training
DIRECTORY/regressor.safetensors (+ .json)
DIRECTORY/judge.json           what the finished judge depends on, and its history; written last
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from echocascade.data.atomic import write_text
from echocascade.data.clips import ClipSampler, ClipStore, EvaluationClips, evaluation_clips
from echocascade.data.video import shrink, to_model
from echocascade.evaluation.frame_rate import at_random_rates
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig, predict_lvef
from echocascade.evaluation.lvef_training import (
    FittedRegressor,
    evaluate_regressor,
    fit_regressor,
    regression_loss,
)
from echocascade.params import Params
from echocascade.rng import derive_seed, torch_generator
from echocascade.runtime import default_device

Progress = Callable[[int, int, str], None]

WEIGHTS, STATE, UNDER_WAY, DONE = (
    "regressor.safetensors", "training.pt", "training.json", "judge.json",
)  # fmt: skip
VALIDATION_CLIPS = 96  # enough to see a trend; eight rounds of them cost some 5 % of a training


class JudgeError(ValueError):
    """A judge that is not there, or was made for other parameters."""


@dataclass(frozen=True)
class JudgeReport:
    """`table`: FileName, lvef_percent (label), lvef_predicted, one row a clip. `scores`: n, level,
    R2, MAE, RMSE, r, slope, bias, each with `*_interval` [low, high], and error_p90: the error in
    points that nine clips of ten stay below."""

    table: pd.DataFrame
    scores: dict[str, object]


def regressor_config(params: Params) -> RegressorConfig:
    """What the run's parameters ask for; the head starts at EchoNet-Dynamic's mean LVEF."""
    wanted = params.regressor.model_dump(exclude={"weights"})
    return RegressorConfig(channels=params.data.channels, **wanted)


def judged_view(video: Tensor, fps: float, config: RegressorConfig) -> Tensor:
    """Clips (B, C, T, H, W) at `fps` as the regressor takes them: frames picked, pixels averaged.

    The path on which the cascade makes its low resolution, see `data.video.shrink`.
    """
    stride = round(fps / config.fps)
    if stride < 1 or abs(stride * config.fps - fps) > 1e-6:
        raise ValueError(
            f"clips have {fps:g} fps; the regressor needs a whole multiple of {config.fps:g}"
        )
    n_frames = video.shape[2] // stride
    return shrink(video[:, :, : n_frames * stride], config.size, n_frames)


def train_judge(
    params: Params,
    store: ClipStore,
    directory: Path,
    progress: Progress | None = None,
    *,
    weights_dir: Path | None = None,
) -> FittedRegressor:
    """The judge of a run: trained, or its training continued, or read where it is finished.

    Trained again where the regressor's parameters, the seed or the data have changed. The last
    record of the history has `seconds`, the time that the (last part of the) training took.

    Args:
        directory: the judge's own folder, see the head of this module.
        weights_dir: where `regressor.weights` is looked for, by default `weights_dir` of `params`.
    """
    identity = _identity(params) | {"data": store.manifest["sha256"]}
    done = _read(directory / DONE)
    if done.get("identity") == identity:
        return FittedRegressor(_load(directory), done["history"])
    if _read(directory / UNDER_WAY) != identity:
        for name in (DONE, STATE, WEIGHTS):
            (directory / name).unlink(missing_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / UNDER_WAY, json.dumps(identity, indent=1) + "\n")
    started = time.monotonic()
    fitted = _fit(params, store, directory / STATE, progress, weights_dir)
    fitted.history[-1]["seconds"] = time.monotonic() - started
    fitted.model.save(directory / WEIGHTS)
    content = {"identity": identity, "history": fitted.history}
    write_text(directory / DONE, json.dumps(content) + "\n")
    (directory / STATE).unlink(missing_ok=True)
    return fitted


def load_judge(params: Params, directory: Path) -> LVEFRegressor:
    """The finished judge, in evaluation mode on the default device.

    Raises:
        JudgeError: there is none yet, or it was trained with other parameters.
    """
    done = _read(directory / DONE)
    if not done:
        raise JudgeError(
            f"{directory}: no trained LVEF regressor; run notebook 03 of this run first"
        )
    if done["identity"]["parameters"] != _identity(params)["parameters"]:
        raise JudgeError(
            f"{directory}: the LVEF regressor was trained with other parameters (regressor, data "
            "or seed); run notebook 03 of this run again"
        )
    return _load(directory)


def judge_report(
    model: LVEFRegressor, store: ClipStore, split: str, *, level: float = 0.95, seed: int = 0
) -> JudgeReport:
    """How far the judge's word can be trusted: one window of its own length from every clip.

    Generated clips are that short too; on whole real clips, by several windows, it is better.
    """
    clips = _windows(store, model.config, split, None, seed)
    report = evaluate_regressor(
        model, _videos(clips, store, model.config), clips.lvef_percent, level=level, seed=seed
    )
    table = pd.DataFrame(
        {
            "FileName": clips.file_name,
            "lvef_percent": clips.lvef_percent.astype(float),
            "lvef_predicted": report.lvef_percent,
        }
    )
    error = (table.lvef_predicted - table.lvef_percent).abs()
    return JudgeReport(table, report.scores | {"error_p90": float(error.quantile(0.9))})


def _identity(params: Params) -> dict[str, Any]:
    return {"parameters": params.digest("seed", "data", "regressor")}


def _read(path: Path) -> dict[str, Any]:
    """A JSON object that was written whole, or {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _load(directory: Path) -> LVEFRegressor:
    return LVEFRegressor.load(directory / WEIGHTS).to(default_device())


def _fit(
    params: Params,
    store: ClipStore,
    state: Path,
    progress: Progress | None,
    weights_dir: Path | None,
) -> FittedRegressor:
    train = store.table["EF"].to_numpy()[store.indices("TRAIN")]
    config = replace(regressor_config(params), mean_lvef_percent=float(train.mean()))
    sampler = ClipSampler(
        store, "TRAIN", config.n_frames, derive_seed(params.seed, "regressor clips"),
        stride=_stride(store, config),
    )  # fmt: skip

    def next_batch(step: int) -> tuple[Tensor, Tensor]:
        batch = sampler.batch(step, config.batch_size)
        video = shrink(to_model(batch.video), config.size, config.n_frames)
        generator = torch_generator(params.seed, "regressor frame rates", step)
        video = at_random_rates(video, config.fps, config.frame_rates, generator)
        return video, torch.from_numpy(batch.lvef_percent)

    weights = params.regressor.weights
    folder = Path(params.weights_dir) if weights_dir is None else weights_dir
    return fit_regressor(
        config, next_batch, seed=params.seed, validate=_validation(params, store, config),
        progress=progress, weights=folder.expanduser() / weights if weights else None,
        checkpoint=state,
    )  # fmt: skip


def _validation(
    params: Params, store: ClipStore, config: RegressorConfig
) -> Callable[[LVEFRegressor], dict[str, float]] | None:
    """Loss and mean error on fixed VAL windows, or None without VAL clips."""
    if len(store.indices("VAL")) == 0:
        return None
    clips = _windows(store, config, "VAL", VALIDATION_CLIPS, params.seed)
    label = torch.from_numpy(clips.lvef_percent).double()

    def validate(model: LVEFRegressor) -> dict[str, float]:
        videos = _videos(clips, store, config)
        predicted = torch.from_numpy(predict_lvef(model, videos, precision=config.precision))
        error = float((predicted - label).abs().mean())
        return {"loss": float(regression_loss(predicted, label)), "MAE": error}

    return validate


def _stride(store: ClipStore, config: RegressorConfig) -> int:
    return round(store.fps / config.fps)


def _windows(
    store: ClipStore, config: RegressorConfig, split: str, n_clips: int | None, seed: int
) -> EvaluationClips:
    return evaluation_clips(
        store, split, n_clips, config.n_frames, stride=_stride(store, config), seed=seed
    )


def _videos(clips: EvaluationClips, store: ClipStore, config: RegressorConfig) -> Iterator[Tensor]:
    """One clip (C, T, size, size) after the other, as the regressor takes them."""
    for frames in clips.video:
        yield shrink(to_model(np.asarray(frames)[None]), config.size, config.n_frames)[0]
