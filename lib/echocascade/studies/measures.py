"""Everything that is read from one clip, generated or real: a column each of the sample table.

FileName, lvef_true, lvef_reference, lvef_stick_reference, period_s_real, repetition_real
                    of the patient's real clip
lvef_measured, lvef_stick, lvef_linear   by the regressor, by segmentation, by the regressor on the
                    base enlarged without a network
SSIM, LPIPS         against the real clip
period_s, repetition, phase_shift_s      the beat (`evaluation.beat`); the shift is of the last
                    stage against the base
rank, rank_real     patients whose conditioning frame the clip resembles more than its own
texture, frame_difference, flicker       with _linear and _real, see `controls`
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echocascade.data.clips import EvaluationClips
from echocascade.data.video import to_model
from echocascade.evaluation.beat import beat_of, phase_shift_s
from echocascade.evaluation.identity import Gallery
from echocascade.evaluation.image_quality import SSIM_WINDOW, Lpips, ssim
from echocascade.runtime import default_device
from echocascade.studies.controls import linear_baseline, picture_columns
from echocascade.studies.protocol import Trained, read_stick


@dataclass(frozen=True)
class Measure:
    """The judges and the real clips that generated ones are compared with."""

    trained: Trained
    clips: EvaluationClips
    galleries: tuple[Gallery, ...]  # one a draw
    lpips: Lpips | None = None

    @staticmethod
    def of(trained: Trained, clips: EvaluationClips, vgg16: Path | None) -> "Measure":
        """vgg16: the weights of LPIPS, or None where there are none."""
        galleries = tuple(Gallery(clips.frames[:, d]) for d in range(clips.frames.shape[1]))
        lpips = None if vgg16 is None else Lpips(vgg16, default_device())
        return Measure(trained, clips, galleries, lpips)

    def real(self) -> dict[str, object]:
        """Of every real clip."""
        videos, last = self.clips.video, self.trained.last
        beats = [beat_of(video, last.fps) for video in videos]
        return {
            "FileName": self.clips.file_name,
            "lvef_true": self.clips.lvef_percent.astype(float),
            "lvef_reference": self.trained.read_lvef(videos),
            "lvef_stick_reference": read_stick(videos, last.duration_s),
            "period_s_real": [beat.period_s for beat in beats],
            "repetition_real": [beat.repetition for beat in beats],
        }

    def generated(
        self, base: np.ndarray, last: np.ndarray, rows: slice, draw: int
    ) -> dict[str, object]:
        """Of generated clips uint8 (N, T, H, W, C) of the first and the last stage, made for
        `rows` of the clips."""
        trained, real = self.trained, self.clips.video[rows]
        linear, fps = linear_baseline(trained.params, base), trained.last.fps
        own = np.arange(len(self.clips.index))[rows]
        beats = [beat_of(video, fps) for video in last]
        return {
            "lvef_measured": trained.read_lvef(last),
            "lvef_stick": read_stick(last, trained.last.duration_s),
            "lvef_linear": trained.read_lvef(linear),
            **self._image_scores(last, real),
            "period_s": [beat.period_s for beat in beats],
            "repetition": [beat.repetition for beat in beats],
            "phase_shift_s": [phase_shift_s(a, b, fps) for a, b in zip(last, linear, strict=True)],
            "rank": self.galleries[draw].rank(last, own),
            "rank_real": self.galleries[draw].rank(real, own),
            **picture_columns(last, linear, real),
        }

    def _image_scores(self, generated: np.ndarray, real: np.ndarray) -> dict[str, object]:
        scores: dict[str, object] = {}
        if real.shape[2] >= SSIM_WINDOW:
            scores["SSIM"] = ssim(to_model(generated), to_model(real))
        if self.lpips is not None:
            scores["LPIPS"] = self.lpips(to_model(generated), to_model(real))
        return scores
