"""The counterfactual protocol of the paper on a trained cascade (FACTS Sec. 4; Reynaud23 Sec. 3).

Every clip is generated `draws` times, from as many noises and conditioning frames, once for its own
LVEF (reconstruction) and once for a random one (generation); two judges read every result. How the
samples are shared out, kept and found again is in `chunks`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from echocascade.cascade.scalars import Scalars
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.data.clips import ClipStore, EvaluationClips, evaluation_clips
from echocascade.data.prepare import open_store
from echocascade.data.video import enlarge, shrink, to_model, to_uint8
from echocascade.evaluation.calibration import AveragedReading
from echocascade.evaluation.counterfactual import counterfactual_targets
from echocascade.evaluation.judge import judged_view, load_judge
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig
from echocascade.evaluation.stick import segment_lvef
from echocascade.params import Params, StageParams
from echocascade.rng import derive_seed

Progress = Callable[[int, int, str], None]
TASKS = ("reconstruction", "generation")


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

    def lambda_c(self, lvef_percent: np.ndarray, rows: np.ndarray | None = None) -> Tensor:
        """What the cascade is told (N, S) to make LVEFs (N,) in percent.

        rows: (N,) the store's rows of the clips whose other parameters are kept; a cascade that is
        told the LVEF alone needs none.
        """
        scalars = Scalars.of(self.params)
        if rows is not None:
            return scalars.asked(self.store.table.iloc[rows], lvef_percent)
        if scalars.columns != ("EF",):
            raise ValueError(
                f"the cascade is told {', '.join(scalars.columns)}: say which clips' to keep"
            )
        return scalars.asked(pd.DataFrame({"EF": lvef_percent}), lvef_percent)

    def generate(
        self, frames: np.ndarray, lvef_percent: np.ndarray, seeds: Sequence[int], scale: float,
        rows: np.ndarray | None = None,
    ) -> list[np.ndarray]:  # fmt: skip
        """uint8 videos (N, T, H, W, C) of every stage, first to last.

        frames: uint8 (N, H, W, C) conditioning frames; lvef_percent: (N,); seeds: N addresses of
        noise; scale: of classifier-free guidance, 1 is none; rows: see `lambda_c`.
        """
        I_c = to_model(rearrange(frames, "n h w c -> n 1 h w c"))[:, :, 0]
        lambda_c = self.lambda_c(lvef_percent, rows)
        videos = self.cascade.sample(
            I_c, lambda_c, list(seeds),
            guidance=Guidance.of(self.params.cascade.guidance, scale),
            batch_size=self.params.evaluation.batch_size,
        )  # fmt: skip
        return [to_uint8(v) for v in videos]

    def read_lvef(self, videos: np.ndarray) -> NDArray[np.float64]:
        """The regressor's LVEF in percent (N,) of the last stage's uint8 videos (N, T, H, W, C)."""
        config, e = self.regressor.config, self.params.evaluation
        clips = (for_regressor(to_model(v[None]), self.last.fps, config)[0] for v in videos)
        return AveragedReading(self.regressor, e.views, e.batch_size)(clips)


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


def weights_digest(trained: Trained) -> str:
    """SHA-256 of the weights of every stage and of the judge."""
    facts = hashlib.sha256()
    modules: list[nn.Module] = [stage.denoiser for stage in trained.cascade.stages]
    for module in [*modules, trained.regressor]:
        for name, tensor in module.state_dict().items():
            facts.update(name.encode())
            facts.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return facts.hexdigest()


def read_samples(table: pd.DataFrame, directory: Path, stage: str = "last") -> np.ndarray:
    """The uint8 videos (N, T, H, W, C) of rows of a table of `chunks`; stage: "base" or "last"."""
    opened = {}
    for chunk in table["chunk"].unique():
        with np.load(directory / chunk, allow_pickle=False) as stored:
            opened[chunk] = stored[stage]
    return np.stack([opened[c][r] for c, r in zip(table["chunk"], table["row"], strict=True)])
