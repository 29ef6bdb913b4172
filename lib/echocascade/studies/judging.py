"""The judge on the real clips of the split that is reported on: bands, frame rates, averaging."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from echocascade.data.clips import EvaluationClips, evaluation_clips
from echocascade.data.video import to_model
from echocascade.evaluation.calibration import (
    AveragedReading,
    averaging_table,
    frame_rate_table,
    residual_bands,
)
from echocascade.evaluation.judge import judged_view
from echocascade.evaluation.metrics import Array
from echocascade.studies.protocol import Trained

SLOWEST = 8  # steps at most between the frames that a rate keeps
VIEWS = (1, 5)
LEAST_CLIPS = 192  # so many at least, where the split has them: a judge is cheap to ask


@dataclass(frozen=True)
class Calibration:
    """The judge on real clips at its own size and rate."""

    trained: Trained

    @cached_property
    def clips(self) -> list[Tensor]:
        config, store = self.trained.regressor.config, self.trained.store
        videos = self._real.video
        return [judged_view(to_model(np.asarray(v)[None]), store.fps, config)[0] for v in videos]

    @cached_property
    def _real(self) -> EvaluationClips:
        """One window of the judge's length of every clip, at the store's rate."""
        params, store = self.trained.params, self.trained.store
        config, e = self.trained.regressor.config, params.evaluation
        n_frames = round(config.n_frames * store.fps / config.fps)
        return evaluation_clips(
            store, e.split, max(e.clips, LEAST_CLIPS), n_frames, seed=params.seed
        )

    @property
    def labels(self) -> Array:
        return self._real.lvef_percent.astype(float)

    def reader(self, views: int = 1) -> AveragedReading:
        e = self.trained.params.evaluation
        return AveragedReading(self.trained.regressor, views, e.batch_size)

    def bands(self) -> pd.DataFrame:
        """Residuals by LVEF band, read as the protocol reads (`evaluation.views`)."""
        params = self.trained.params
        read = self.reader(params.evaluation.views)(self.clips)
        return residual_bands(self.labels, read, level=params.evaluation.level, seed=params.seed)

    def rates(self) -> pd.DataFrame:
        """The judge at its own frame rate, at each stage's, and at slower ones.

        Column `met`: whether the judge was trained on clips of that rate.
        """
        config, e = self.trained.regressor.config, self.trained.params.evaluation
        halves = [config.fps / 2**k for k in range(4)]
        stages = [float(stage.fps) for stage in self.trained.params.cascade.stages]
        possible = sorted(
            {rate for rate in (*halves, *stages) if _whole(config.fps, rate, config.n_frames)},
            reverse=True,
        )
        table = frame_rate_table(
            self.clips, config.fps, self.labels, possible, self.reader(e.views), level=e.level
        )
        halved = {config.fps / 2} if config.steps else set()  # see `augmentation.roughen`
        met = {config.fps, *config.frame_rates} | halved
        return table.assign(met=[rate in met for rate in table["fps"]])

    def averaging(self) -> pd.DataFrame:
        """The judge by the number of views that a reading is the mean of."""
        readers = {views: self.reader(views) for views in VIEWS}
        level = self.trained.params.evaluation.level
        return averaging_table(self.clips, self.labels, readers, level=level)


def _whole(fps: float, rate: float, n_frames: int) -> bool:
    """Whether a clip of the judge can be seen at a rate: whole steps, two frames or more."""
    step = fps / rate
    return (
        step == round(step)
        and 1 <= step <= SLOWEST
        and n_frames % step == 0
        and n_frames >= 2 * step
    )


def results(
    bands: pd.DataFrame, rates: pd.DataFrame, averaging: pd.DataFrame
) -> dict[str, dict[str, object]]:
    """What the run records of the judge: bias by band, error and bias by rate and by views."""
    by_band = {
        str(row["band"]).removesuffix(" %").replace(" ", "_"): {
            name: row[name] for name in ("n", "bias", "MAE")
        }
        for row in bands.to_dict("records")
    }
    by_rate = {f"{row['fps']:g}fps": _recorded(row) for row in rates.to_dict("records")}
    by_views = {f"{row['views']}views": _recorded(row) for row in averaging.to_dict("records")}
    return {"bands": {**by_band}, "rates": {**by_rate}, "averaging": {**by_views}}


def _recorded(row: dict[Hashable, Any]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in ("R2", "MAE", "bias", "slope"):
        if name in row:
            values |= {
                name: row[name],
                f"{name}_interval": [row[f"{name} low"], row[f"{name} high"]],
            }
    return values
