"""The counterfactual protocol of the paper on a trained cascade (FACTS Sec. 4; Reynaud23 Sec. 3).

Every clip is generated `draws` times, from as many noises and conditioning frames, once for its own
LVEF (reconstruction) and once for a random one (generation); two judges read every result.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from echocascade.cascade.conditioning import enlarge
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.data.atomic import replacing, write_text
from echocascade.data.clips import ClipStore, EvaluationClips, evaluation_clips
from echocascade.data.prepare import open_store
from echocascade.data.video import shrink, to_model, to_uint8
from echocascade.evaluation.counterfactual import counterfactual_targets
from echocascade.evaluation.echo_distance import ssim
from echocascade.evaluation.judge import judged_view, load_judge
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig, predict_lvef
from echocascade.evaluation.stick import segment_lvef
from echocascade.params import Params, StageParams
from echocascade.rng import derive_seed
from echocascade.studies.controls import linear_baseline, picture_columns

Progress = Callable[[int, int, str], None]
TASKS = ("reconstruction", "generation")
FORMAT = 1  # of the chunks below; another number makes chunks of before unknown


@dataclass(frozen=True)
class Trained:
    """A finished cascade, its judge, and the clips that both are used on."""

    params: Params
    cascade: Cascade
    regressor: LVEFRegressor
    store: ClipStore

    @staticmethod
    def load(params: Params, checkpoints: Path, data_dir: Path) -> "Trained":
        """Everything that notebooks 01 and 03 to 05 left behind.

        Raises:
            ValueError: a stage or the regressor is not trained, or the clips are not prepared.
        """
        cascade = Cascade.load(params, checkpoints)
        judge = load_judge(params, checkpoints / "regressor")
        return Trained(params, cascade, judge, open_store(params, data_dir))

    @property
    def last(self) -> StageParams:
        return self.params.cascade.stages[-1]

    def generate(
        self, frames: np.ndarray, lvef_percent: np.ndarray, seeds: Sequence[int], scale: float
    ) -> list[np.ndarray]:
        """uint8 videos (N, T, H, W, C) of every stage, first to last.

        frames: uint8 (N, H, W, C) conditioning frames; lvef_percent: (N,); seeds: N addresses of
        noise; scale: of classifier-free guidance, 1 is none.
        """
        I_c = to_model(rearrange(frames, "n h w c -> n 1 h w c"))[:, :, 0]
        lambda_c = torch.as_tensor(lvef_percent, dtype=torch.float32)[:, None] / 100
        videos = self.cascade.sample(
            I_c, lambda_c, list(seeds),
            guidance=Guidance.of(self.params.cascade.guidance, scale),
            batch_size=self.params.evaluation.batch_size,
        )  # fmt: skip
        return [to_uint8(v) for v in videos]

    def read_lvef(self, videos: np.ndarray) -> NDArray[np.float64]:
        """The regressor's LVEF in percent (N,) of the last stage's uint8 videos (N, T, H, W, C)."""
        config = self.regressor.config
        clips = (for_regressor(to_model(v[None]), self.last.fps, config)[0] for v in videos)
        return predict_lvef(self.regressor, clips, self.params.evaluation.batch_size)


def for_regressor(video: Tensor, fps: int, config: RegressorConfig) -> Tensor:
    """Clips (B, C, T, H, W) at `fps` as the regressor takes them, enlarged linearly where smaller.

    All sizes and rates are whole fractions of the store's (`Params` checks it).
    """
    factor = max(round(config.fps / fps), 1)
    video = enlarge(video, max(video.shape[-1], config.size), video.shape[2] * factor)
    return judged_view(video, fps * factor, config)


def read_stick(videos: np.ndarray, duration_s: float) -> NDArray[np.float64]:
    """The segmentation stick's LVEF in percent of uint8 videos (N, T, H, W, C); NaN: unreadable."""
    return np.array([segment_lvef(v, duration_s).lvef_percent for v in videos], dtype=float)


def task_clips(trained: Trained, split: str, n_clips: int, draws: int) -> EvaluationClips:
    """Real clips at the last stage's size and frames, with `draws` conditioning frames each."""
    last, store = trained.last, trained.store
    clips = evaluation_clips(
        store, split, n_clips, last.n_frames, stride=round(store.fps / last.fps),
        seed=trained.params.seed, draws=draws,
    )  # fmt: skip
    if store.size == last.size:
        return clips
    smaller = to_uint8(shrink(to_model(clips.video), last.size, last.n_frames))
    frames = to_uint8(shrink(to_model(clips.frames), last.size, draws))
    return replace(clips, video=smaller, frames=frames)


def requested_lvef(params: Params, clips: EvaluationClips, task: str, split: str) -> np.ndarray:
    """What each clip is asked for, in percent (N,): its own LVEF, or one drawn for it."""
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, allowed are {', '.join(TASKS)}")
    if task == "reconstruction":
        return clips.lvef_percent.astype(float)
    low, high = params.evaluation.lvef_percent
    seed = derive_seed(params.seed, f"counterfactual targets {split}")
    return counterfactual_targets(len(clips.index), seed, low, high)


def samples_folder(trained: Trained, clips: EvaluationClips, scale: float, within: Path) -> Path:
    """The folder under `within` for samples of exactly these weights, settings and clips."""
    facts = hashlib.sha256()
    paths = ("seed", "cascade", "evaluation.batch_size", "evaluation.lvef_percent")
    facts.update(f"{FORMAT} {scale!r} {trained.params.digest(*paths)}".encode())
    modules: list[nn.Module] = [stage.denoiser for stage in trained.cascade.stages]
    for module in [*modules, trained.regressor]:
        for name, tensor in module.state_dict().items():
            facts.update(name.encode())
            facts.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for array in (clips.video, clips.frames, clips.lvef_percent):
        facts.update(np.ascontiguousarray(array).tobytes())
    return within / facts.hexdigest()[:16]


def judge_task(
    trained: Trained, task: str, scale: float, directory: Path, progress: Progress | None = None
) -> pd.DataFrame:
    """The per-sample table of one task, computed in chunks that a second call finds on disk.

    Chunks (a CSV, and an NPZ of uint8 videos, whole or absent) lie in a folder under `directory`
    whose name follows from the weights, the settings and the clips: other ones never match.
    Columns as `evaluation.counterfactual` reads them, and: lvef_linear, the pictures' measures of
    `studies.controls`, and chunk and row, where `read_samples` finds the sample.
    """
    e = trained.params.evaluation
    clips = task_clips(trained, e.split, e.clips, e.draws)
    requested = requested_lvef(trained.params, clips, task, e.split)
    folder = samples_folder(trained, clips, scale, directory)
    reference = _reference(trained, clips, folder / "reference.csv")
    starts = range(0, len(requested), e.batch_size)
    chunks = [(draw, start) for draw in range(e.draws) for start in starts]
    tables = []
    for i, (draw, start) in enumerate(chunks):
        path = folder / f"{task}-draw{draw}-{start:05d}.csv"
        if not (path.exists() and path.with_suffix(".npz").exists()):
            rows = slice(start, min(start + e.batch_size, len(requested)))
            seeds = [derive_seed(trained.params.seed, f"{task} {name}", draw)
                     for name in clips.file_name[rows]]  # fmt: skip
            videos = trained.generate(clips.frames[rows, draw], requested[rows], seeds, scale)
            measured = _measure(trained, clips.video[rows], videos)
            table = reference.iloc[rows].assign(
                task=task, draw=draw, lvef_requested=requested[rows], **measured
            )
            _save_chunk(path, table, videos)
        chunk = path.with_suffix(".npz").relative_to(directory).as_posix()
        table = _read_table(path)
        tables.append(table.assign(chunk=chunk, row=np.arange(len(table))))
        if progress is not None:
            progress(i + 1, len(chunks), task)
    return pd.concat(tables, ignore_index=True)


def read_samples(table: pd.DataFrame, directory: Path, stage: str = "last") -> np.ndarray:
    """The uint8 videos (N, T, H, W, C) of rows of `judge_task`'s table; stage: "base" or "last"."""
    opened = {}
    for chunk in table["chunk"].unique():
        with np.load(directory / chunk, allow_pickle=False) as stored:
            opened[chunk] = stored[stage]
    return np.stack([opened[c][r] for c, r in zip(table["chunk"], table["row"], strict=True)])


def _reference(trained: Trained, clips: EvaluationClips, path: Path) -> pd.DataFrame:
    """What the judges read on the real clips: their ceiling."""
    if not path.exists():
        table = pd.DataFrame(
            {
                "FileName": clips.file_name,
                "lvef_true": clips.lvef_percent.astype(float),
                "lvef_reference": trained.read_lvef(clips.video),
                "lvef_stick_reference": read_stick(clips.video, trained.last.duration_s),
            }
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, table.to_csv(index=False))
    return _read_table(path)


def _measure(
    trained: Trained, real: np.ndarray, videos: list[np.ndarray]
) -> dict[str, NDArray[np.float64]]:
    """Everything that is read from one chunk of generated clips, a column each."""
    last, linear = videos[-1], linear_baseline(trained.params, videos[0])
    return {
        "lvef_measured": trained.read_lvef(last),
        "lvef_stick": read_stick(last, trained.last.duration_s),
        "lvef_linear": trained.read_lvef(linear),
        "SSIM": np.asarray(ssim(to_model(last), to_model(real)), dtype=float),
        **picture_columns(last, linear, real),
    }


def _save_chunk(path: Path, table: pd.DataFrame, videos: list[np.ndarray]) -> None:
    with replacing(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez(file, base=videos[0], last=videos[-1])
    write_text(path, table.to_csv(index=False))


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"FileName": str})
