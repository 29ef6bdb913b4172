"""The counterfactual protocol of the paper on a trained cascade (FACTS Sec. 4; Reynaud23 Sec. 3).

Every clip is generated `draws` times, from as many noises and conditioning frames, once for its own
LVEF (reconstruction) and once for a random one (generation); two judges read every result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from echocascade.cascade.conditioning import enlarge
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.data.atomic import write_text
from echocascade.data.clips import ClipStore, EvaluationClips, evaluation_clips
from echocascade.data.video import to_model, to_uint8
from echocascade.evaluation.counterfactual import counterfactual_targets
from echocascade.evaluation.lvef import LVEFRegressor, predict_lvef
from echocascade.evaluation.metrics import agreement
from echocascade.evaluation.similarity import ssim
from echocascade.evaluation.stick import segment_lvef
from echocascade.params import Params
from echocascade.rng import derive_seed

Progress = Callable[[int, int, str], None]
TASKS = ("reconstruction", "generation")


@dataclass(frozen=True)
class Judged:
    """One chunk of generated clips with what the judges read; videos uint8 (N, T, H, W, C)."""

    table: pd.DataFrame
    videos: np.ndarray


def task_clips(params: Params, store: ClipStore, split: str, n_clips: int, draws: int) -> EvaluationClips:  # fmt: skip
    """The clips of a task at the last stage's size and frames, with `draws` conditioning frames."""
    last = params.cascade.stages[-1]
    return evaluation_clips(
        store, split, n_clips, last.n_frames, stride=round(store.fps / last.fps), seed=params.seed,
        draws=draws,
    )  # fmt: skip


def requested_lvef(params: Params, clips: EvaluationClips, task: str) -> np.ndarray:
    """What each clip is asked for, in percent: its own LVEF, or one drawn for it."""
    if task == "reconstruction":
        return clips.lvef_percent.astype(float)
    low, high = params.evaluation.lvef_percent
    seed = derive_seed(params.seed, "counterfactual targets")
    return counterfactual_targets(len(clips.index), seed, low, high)


def generate(
    cascade: Cascade, frames: np.ndarray, lvef_percent: np.ndarray, seeds: list[int],
    guidance: Guidance, batch_size: int = 16,
) -> list[np.ndarray]:  # fmt: skip
    """uint8 videos (N, T, H, W, C) of every stage for uint8 frames (N, H, W, C)."""
    I_c = to_model(rearrange(frames, "n h w c -> n 1 h w c"))[:, :, 0]
    lambda_c = torch.as_tensor(lvef_percent, dtype=torch.float32)[:, None] / 100
    videos = cascade.sample(I_c, lambda_c, seeds, guidance=guidance, batch_size=batch_size)
    return [to_uint8(v) for v in videos]


def read_lvef(regressor: LVEFRegressor, videos: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """The regressor's LVEF in percent of uint8 videos (N, T, H, W, C)."""
    return predict_lvef(regressor, to_model(videos), batch_size)


def read_stick(videos: np.ndarray) -> np.ndarray:
    """The segmentation stick's LVEF in percent of uint8 videos (N, T, H, W, C); NaN: unreadable."""
    return np.array([segment_lvef(v).lvef_percent for v in videos])


def choose_guidance(
    params: Params, cascade: Cascade, regressor: LVEFRegressor, store: ClipStore,
    progress: Progress | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Agreement on VAL clips, one draw a clip, for every candidate scale; same noise for all.

    Columns: scale, R2, MAE, RMSE, r, slope, bias, chosen. The scale with the highest R2 is chosen;
    where `scale` is a number it is the only row.
    """
    guidance = params.cascade.guidance
    scales = guidance.candidates if guidance.scale == "auto" else (float(guidance.scale),)
    clips = task_clips(params, store, "VAL", guidance.clips, draws=1)
    requested = requested_lvef(params, clips, "generation")
    seeds = [derive_seed(params.seed, "guidance", i) for i in range(len(requested))]
    rows = []
    for i, scale in enumerate(scales):
        videos = generate(
            cascade, clips.frames[:, 0], requested, seeds, Guidance.of(guidance, scale),
            params.evaluation.batch_size,
        )[-1]  # fmt: skip
        rows.append({"scale": scale, **agreement(requested, read_lvef(regressor, videos))})
        if progress is not None:
            progress(i + 1, len(scales), f"scale {scale:g}")
    table = pd.DataFrame(rows)
    table["chosen"] = table.index == table["R2"].fillna(-np.inf).idxmax()
    return table


def linear_baseline(params: Params, base: np.ndarray) -> np.ndarray:
    """The base stage's uint8 videos, enlarged linearly to the last stage: no super-resolution."""
    last = params.cascade.stages[-1]
    return to_uint8(enlarge(to_model(base), last.size, last.n_frames))


def judge_task(
    params: Params, cascade: Cascade, regressor: LVEFRegressor, store: ClipStore, task: str,
    scale: float, directory: Path, progress: Progress | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The per-sample table of one task, computed in chunks that a second call finds on disk.

    `directory` gets one CSV and one NPZ (uint8 videos) a chunk; a chunk is whole or absent.
    """
    e = params.evaluation
    clips = task_clips(params, store, e.split, e.clips, e.draws)
    requested = requested_lvef(params, clips, task)
    chunks = [
        (draw, slice(start, min(start + e.batch_size, len(requested))))
        for draw in range(e.draws)
        for start in range(0, len(requested), e.batch_size)
    ]
    reference = _reference(clips, regressor)
    guidance = Guidance.of(params.cascade.guidance, scale)
    tables = []
    for i, (draw, rows) in enumerate(chunks):
        path = directory / f"{task}-draw{draw}-{rows.start:05d}.csv"
        if not path.exists():
            seeds = [derive_seed(params.seed, f"{task} {clips.file_name[j]}", draw)
                     for j in range(rows.start, rows.stop)]  # fmt: skip
            videos = generate(
                cascade, clips.frames[rows, draw], requested[rows], seeds, guidance, e.batch_size
            )
            table = _measure(params, regressor, clips, rows, videos)
            table.insert(1, "task", task)
            table.insert(2, "draw", draw)
            table.insert(3, "lvef_requested", requested[rows])
            for column, values in reference.items():
                table[column] = values[rows]
            _save_chunk(path, table, videos)
        tables.append(pd.read_csv(path))
        if progress is not None:
            progress(i + 1, len(chunks), task)
    return pd.concat(tables, ignore_index=True)


def _reference(clips: EvaluationClips, regressor: LVEFRegressor) -> dict[str, np.ndarray]:
    """What the judges read on the real clips: their ceiling."""
    return {
        "lvef_true": clips.lvef_percent,
        "lvef_reference": read_lvef(regressor, clips.video),
        "lvef_stick_reference": read_stick(clips.video),
    }


def _measure(
    params: Params, regressor: LVEFRegressor, clips: EvaluationClips, rows: slice,
    videos: list[np.ndarray],
) -> pd.DataFrame:  # fmt: skip
    last, baseline = videos[-1], linear_baseline(params, videos[0])
    return pd.DataFrame(
        {
            "FileName": clips.file_name[rows],
            "lvef_measured": read_lvef(regressor, last),
            "lvef_stick": read_stick(last),
            "lvef_linear": read_lvef(regressor, baseline),
            "SSIM": ssim(to_model(last), to_model(clips.video[rows])).numpy(),
        }
    )


def _save_chunk(path: Path, table: pd.DataFrame, videos: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz.tmp.npz"), base=videos[0], last=videos[-1])
    path.with_suffix(".npz.tmp.npz").replace(path.with_suffix(".npz"))
    write_text(path, table.to_csv(index=False))
