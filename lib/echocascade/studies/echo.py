"""Echo-domain measures of a task: distances in the regressor's features, beat, patient, diversity.

None of them needs a download, none carries the name of a published metric. Each stands beside what
real clips give.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from torch import Tensor

from echocascade.data.video import to_model
from echocascade.evaluation.echo_distance import lvef_feature_distances, regressor_features
from echocascade.evaluation.identity import Estimate, diversity, mean_over_patients
from echocascade.evaluation.metrics import Array
from echocascade.evaluation.thumbnails import thumbnails
from echocascade.studies.chunks import Samples
from echocascade.studies.controls import linear_baseline
from echocascade.studies.protocol import for_regressor, read_samples, task_clips

MAKERS = ("generated", "linear", "other real")
DISTANCE_COLUMNS = ("task", "distance", "maker", "value", "low", "high", "clips")
ESTIMATE_COLUMNS = ("task", "measure", "value", "low", "high", "real", "patients", "reading")
READINGS = {
    "recognised": "share of clips that resemble their own patient's frame most; chance is 1 / N",
    "repetition": "correlation of the motion with itself one beat later; 1 is the same beat again",
    "no beat seen": "share of clips without a second beat",
    "period_s": "seconds a beat",
    "phase_shift_s": "seconds that super-resolution moves the beat by; 0 keeps it",
    "diversity of motion": "draws of one patient over different patients, in LVEF features",
    "diversity of pictures": "the same in small pictures",
}


@dataclass(frozen=True)
class EchoDomain:
    """The echo-domain measures of one task's samples."""

    samples: Samples
    table: pd.DataFrame
    task: str

    @cached_property
    def rows(self) -> pd.DataFrame:
        return self.table[self.table["task"] == self.task].reset_index(drop=True)

    @cached_property
    def features(self) -> Array:
        """LVEF features (N, F) of every sample."""
        return self._features(read_samples(self.rows, self.samples.directory))

    @cached_property
    def real_features(self) -> Array:
        """The same of the patients' real clips."""
        return self._features(self.samples.clips.video)

    def distances(self) -> pd.DataFrame:
        """Fréchet and kernel distance to the real clips in LVEF features: DISTANCE_COLUMNS.

        Of the first draw, of the base enlarged linearly, and of as many other real clips (VAL):
        what a perfect generator would score at this number of clips.
        """
        first = (self.rows["draw"] == 0).to_numpy()
        names, real_names = self.rows["FileName"][first].tolist(), self.samples.clips.file_name
        if len(names) < 2:
            return pd.DataFrame(columns=list(DISTANCE_COLUMNS))
        base = read_samples(self.rows[first], self.samples.directory, "base")
        linear = linear_baseline(self.samples.trained.params, base)
        sets = {
            "generated": (self.features[first], names),
            "linear": (self._features(linear), names),
        }
        if len(other := self._other_real(len(names))) >= 2:
            sets["other real"] = (self._features(other), [f"other {i}" for i in range(len(other))])
        params, found = self.samples.trained.params, []
        for maker, (features, patients) in sets.items():
            measured = lvef_feature_distances(
                (features, patients), (self.real_features, real_names),
                level=params.evaluation.level, seed=params.seed,
            )  # fmt: skip
            for name, m in measured.items():
                ends = (m.interval.low, m.interval.high)
                found.append((self.task, name, maker, m.value, *ends, len(features)))
        return pd.DataFrame(found, columns=list(DISTANCE_COLUMNS))

    def estimates(self) -> pd.DataFrame:
        """A row a measure of READINGS: ESTIMATE_COLUMNS; `real` is what real clips give."""
        rows, params = self.rows, self.samples.trained.params
        pairs: dict[str, tuple[pd.Series, pd.Series | None]] = {
            "recognised": (rows["rank"] == 0, rows["rank_real"] == 0),
            "repetition": (rows["repetition"], rows["repetition_real"]),
            "no beat seen": (rows["period_s"].isna(), rows["period_s_real"].isna()),
            "period_s": (rows["period_s"], rows["period_s_real"]),
        }
        if len(params.cascade.stages) > 1:
            pairs["phase_shift_s"] = (rows["phase_shift_s"].abs(), None)
        found = []
        for measure, (generated, real) in pairs.items():
            expected = float("nan") if real is None else self._estimate(real).value
            found.append(self._row(measure, self._estimate(generated), expected))
        pictures = np.stack([thumbnails(v).ravel() for v in
                             read_samples(rows, self.samples.directory)]).astype(float)  # fmt: skip
        for what, features in (("motion", self.features), ("pictures", pictures)):
            measured = diversity(
                features, rows["FileName"].tolist(), level=params.evaluation.level, seed=params.seed
            )
            found.append(self._row(f"diversity of {what}", measured, float("nan")))
        return pd.DataFrame(found, columns=list(ESTIMATE_COLUMNS))

    def _estimate(self, values: pd.Series) -> Estimate:
        params = self.samples.trained.params
        return mean_over_patients(
            values.to_numpy(float), self.rows["FileName"].tolist(),
            level=params.evaluation.level, seed=params.seed,
        )  # fmt: skip

    def _row(self, measure: str, found: Estimate, real: float) -> dict[str, object]:
        return {
            "task": self.task, "measure": measure, "value": found.value,
            "low": found.interval.low, "high": found.interval.high, "real": real,
            "patients": found.n_patients, "reading": READINGS[measure],
        }  # fmt: skip

    def _other_real(self, n_clips: int) -> np.ndarray:
        """Clips of VAL, where results are reported on another split and it has some."""
        trained = self.samples.trained
        split = trained.params.evaluation.split
        if split == "VAL" or not len(trained.store.indices("VAL")):
            return np.empty((0,))
        return task_clips(trained, "VAL", n_clips, draws=1).video

    def _features(self, videos: np.ndarray) -> Array:
        trained = self.samples.trained

        def clips() -> Iterator[Tensor]:
            for video in videos:
                clip = to_model(video[None])
                yield for_regressor(clip, trained.last.fps, trained.regressor.config)[0]

        return regressor_features(trained.regressor, clips(), trained.params.evaluation.batch_size)


def results(distances: pd.DataFrame) -> dict[str, dict[str, object]]:
    """`EchoDomain.distances` as the run records them: "regressor_frechet" -> maker and interval."""
    found: dict[str, dict[str, object]] = {"regressor_frechet": {}, "regressor_kernel": {}}
    for row in distances.to_dict("records"):
        maker = str(row["maker"]).replace(" ", "_")
        ends = {f"{maker}_interval": [row["low"], row["high"]]}
        found[f"regressor_{row['distance']}"] |= {maker: row["value"]} | ends
    return found


def estimate_results(estimates: pd.DataFrame, task: str) -> dict[str, object]:
    """`EchoDomain.estimates` of a task as the run records them: measure, interval, and real."""
    found: dict[str, object] = {}
    for row in estimates[estimates["task"] == task].to_dict("records"):
        name = str(row["measure"]).replace(" ", "_")
        found |= {name: row["value"], f"{name}_interval": [row["low"], row["high"]]}
        found[f"{name}_real"] = row["real"]
    return found
