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
from echocascade.data.video import shrink, to_model, to_uint8
from echocascade.diffusion import network_evaluations
from echocascade.evaluation.echo_distance import frame_difference
from echocascade.evaluation.stick import StickReading, segment_lvef
from echocascade.params import SamplerParams
from echocascade.rng import derive_seed
from echocascade.studies.controls import linear_baseline
from echocascade.studies.protocol import Progress, Trained, requested_lvef, task_clips

CHURN_A_STEP = 0.2  # gamma of the churned variant where the run has none; Karras22 caps it at 0.41


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
    videos = trained.generate(frames, lvef_percent, seeds, scale)[-1]
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
    I_c, lambda_c, seeds = _inputs(frames, np.resize(clips.lvef_percent, n_clips))
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


def sampler_variants(own: SamplerParams) -> list[tuple[str, SamplerParams]]:
    """DPM-Solver++(2M), Heun and Heun with churn around the evaluations that the run's sampler has.

    Half to three times as many; half is left to the multistep solver, which can live with it.
    """
    budget = network_evaluations(own.method, own.steps)
    churn = own.S_churn or CHURN_A_STEP * own.steps
    plan = [
        ("DPM-Solver++(2M)", "dpmpp_2m", 0.0, (0.5, 1, 2)),
        ("Heun", "heun", 0.0, (1, 2, 3)),
        ("Heun with churn", "heun", churn, (1, 2, 3)),
    ]
    variants = []
    for name, method, S_churn, shares in plan:
        for share in shares:
            wanted = share * budget
            steps = max(2, round(wanted if method == "dpmpp_2m" else (wanted + 1) / 2))
            changed = {"method": method, "steps": steps, "S_churn": S_churn}
            variants.append((name, own.model_copy(update=changed)))
    return variants


def compare_samplers(
    trained: Trained, scale: float, n_clips: int, progress: Progress | None = None
) -> pd.DataFrame:
    """The first stage alone under other samplers, on VAL clips with random requests.

    The regressor reads its clips enlarged linearly. Columns: sampler, steps, S_churn, evaluations,
    seconds_per_clip, MAE (points), difference_ratio (frame-to-frame change over that of real clips
    at the same size; above 1 is noise or flicker left over).
    """
    clips = task_clips(trained, "VAL", n_clips, draws=1)
    requested = requested_lvef(trained.params, clips, "generation", "VAL")
    I_c, lambda_c, seeds = _inputs(clips.frames[:, 0], requested)
    stage = trained.cascade.stages[0]
    size, n_frames = stage.stage.params.size, stage.stage.params.n_frames
    real = frame_difference(shrink(to_model(clips.video), size, n_frames)).mean()
    guidance = Guidance.of(trained.params.cascade.guidance, scale)
    rows, variants = [], sampler_variants(stage.stage.params.sampler)
    for i, (name, sampler) in enumerate(variants):
        start = time.perf_counter()
        video = stage.sample(
            I_c, lambda_c, seeds, seed=trained.params.seed, sampler=sampler, guidance=guidance
        ).cpu()
        seconds = time.perf_counter() - start
        measured = trained.read_lvef(linear_baseline(trained.params, to_uint8(video)))
        rows.append(
            {
                "sampler": name, "steps": sampler.steps, "S_churn": sampler.S_churn,
                "evaluations": stage.evaluations(sampler),
                "seconds_per_clip": seconds / len(requested),
                "MAE": float(np.abs(measured - requested).mean()),
                "difference_ratio": frame_difference(video).mean() / real if real else np.nan,
            }
        )  # fmt: skip
        if progress is not None:
            progress(i + 1, len(variants), name)
    return pd.DataFrame(rows)


def _inputs(
    frames: np.ndarray, lvef_percent: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    I_c = to_model(rearrange(frames, "n h w c -> n 1 h w c"))[:, :, 0]
    lambda_c = torch.as_tensor(lvef_percent, dtype=torch.float32)[:, None] / 100
    return I_c, lambda_c, list(range(len(frames)))
