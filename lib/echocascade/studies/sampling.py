"""What a trained cascade does when it samples: time, solver, one patient at several LVEFs."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from echocascade.cascade.synthesis import Guidance
from echocascade.data.atomic import replacing
from echocascade.data.clips import EvaluationClips
from echocascade.data.video import to_model
from echocascade.evaluation.stick import StickReading, segment_lvef
from echocascade.rng import derive_seed
from echocascade.studies.protocol import Trained


@dataclass(frozen=True)
class Hearts:
    """One anatomy, several clips, with what both judges read.

    frame uint8 (H, W, C); lvef_percent (N,) requested; videos uint8 (N, T, H, W, C); lvef_measured
    (N,) by the regressor; stick: N readings by segmentation; fps of the clips.
    """

    frame: np.ndarray
    lvef_percent: np.ndarray
    videos: np.ndarray
    lvef_measured: np.ndarray
    stick: list[StickReading]
    fps: float

    def every(self, step: int) -> "Hearts":
        """Each `step`-th clip, from the first."""
        return Hearts(
            self.frame, self.lvef_percent[::step], self.videos[::step],
            self.lvef_measured[::step], self.stick[::step], self.fps,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the arrays as NPZ, as the report's first page reads them."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file, frame=self.frame, lvef_percent=self.lvef_percent, videos=self.videos,
                lvef_measured=self.lvef_measured, fps=np.float64(self.fps),
            )  # fmt: skip

    @property
    def labels(self) -> list[str]:
        """One line a clip: what was asked for, what was measured."""
        pairs = zip(self.lvef_percent, self.lvef_measured, strict=True)
        return [f"asked {asked:.0f} %, measured {found:.0f} %" for asked, found in pairs]


def same_patient(
    trained: Trained, clips: EvaluationClips, lvef_percent: np.ndarray, seeds: list[int],
    scale: float,
) -> Hearts:  # fmt: skip
    """The first of `clips` once for every LVEF (N,) in percent, with the noise of each seed (N)."""
    frames = np.repeat(clips.frames[:1, 0], len(seeds), axis=0)
    rows = np.repeat(clips.index[:1], len(seeds))
    videos = trained.generate(frames, lvef_percent, seeds, scale, rows)[-1]
    return Hearts(
        frames[0], np.asarray(lvef_percent, float), videos, trained.read_lvef(videos),
        [segment_lvef(video, trained.last.duration_s) for video in videos], trained.last.fps,
    )  # fmt: skip


def sweep_lvef(
    trained: Trained, clips: EvaluationClips, lvef_percent: np.ndarray, scale: float
) -> Hearts:
    """The same patient and the same noise at every requested LVEF (N,) in percent."""
    seed = derive_seed(trained.params.seed, "sweep")
    return same_patient(trained, clips, lvef_percent, [seed] * len(lvef_percent), scale)


def draw_again(
    trained: Trained, clips: EvaluationClips, lvef_percent: float, draws: int, scale: float
) -> Hearts:
    """The same patient and the same request, `draws` different noises."""
    seeds = [derive_seed(trained.params.seed, "draw again", i) for i in range(draws)]
    return same_patient(trained, clips, np.full(draws, lvef_percent), seeds, scale)


def time_stages(
    trained: Trained, clips: EvaluationClips, scale: float, n_clips: int = 8
) -> pd.DataFrame:
    """Seconds a clip of every stage, sampled `n_clips` at once, as the run samples them.

    Columns: stage, role, pixels, frames, evaluations (of the network, guided ones count twice),
    seconds_per_clip.
    """
    frames = np.resize(clips.frames[:, 0], (n_clips, *clips.frames.shape[2:]))
    own, index = np.resize(clips.lvef_percent, n_clips), np.resize(clips.index, n_clips)
    I_c, lambda_c, seeds = _inputs(trained, frames, own, index)
    guidance = Guidance.of(trained.params.cascade.guidance, scale)
    rows, lowres = [], None
    for stage in trained.cascade.stages:
        start = time.perf_counter()
        lowres = stage.sample(
            I_c, lambda_c, seeds, seed=trained.params.seed, lowres=lowres, guidance=guidance
        ).cpu()
        seconds = time.perf_counter() - start
        doubled = scale != 1 and (guidance.all_stages or stage.stage.before is None)
        rows.append(
            {
                "stage": stage.stage.name, "role": stage.stage.role,
                "pixels": stage.stage.params.size, "frames": stage.stage.params.n_frames,
                "evaluations": stage.evaluations() * (2 if doubled else 1),
                "seconds_per_clip": seconds / n_clips,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _inputs(
    trained: Trained, frames: np.ndarray, lvef_percent: np.ndarray, rows: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    I_c = to_model(rearrange(frames, "n h w c -> n 1 h w c"))[:, :, 0]
    return I_c, trained.lambda_c(lvef_percent, rows), list(range(len(frames)))
