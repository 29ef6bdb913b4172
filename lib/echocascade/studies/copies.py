"""Memorisation in a run: every generated clip against every TRAIN clip, beside unseen real ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from echocascade.data.sampling import window_span
from echocascade.data.video import shrink, to_model, to_uint8
from echocascade.evaluation.echo_distance import regressor_features
from echocascade.evaluation.memorisation import (
    MemorisationIndex,
    Progress,
    memorisation_index,
    nearest_by_features,
)
from echocascade.evaluation.metrics import Array
from echocascade.studies.chunks import Samples
from echocascade.studies.protocol import Trained, for_regressor, read_samples

PAIRS = 3  # closest ones that are shown


@dataclass(frozen=True)
class Copies:
    """Memorisation scores of a task's clips and what they are compared with.

    table: FileName, draw, chunk, row of each sample, with score, nearest (FileName of the nearest
    TRAIN clip by pixels), shift_s (where in it) and by_features (the nearest in LVEF features).
    real_scores (H,): of real clips that were not trained on.
    """

    table: pd.DataFrame
    real_scores: Array
    threshold: float
    n_train: int

    def results(self) -> dict[str, object]:
        """What the run records of it."""
        scores = self.table["score"]
        return {
            "threshold": self.threshold, "n_train": self.n_train, "n_real": len(self.real_scores),
            "highest": scores.max(), "median": scores.median(),
            "refused": int((scores > self.threshold).sum()), "N": len(scores),
        }  # fmt: skip


def find_copies(
    samples: Samples, table: pd.DataFrame, task: str, progress: Progress | None = None
) -> Copies:
    """The nearest TRAIN clip of every sample of a task."""
    trained = samples.trained
    index = memorisation_index(
        trained.store, trained.last.n_frames, trained.last.fps, held_out=_unseen(trained),
        seed=trained.params.seed,
    )  # fmt: skip
    rows = table[table["task"] == task].reset_index(drop=True)
    videos = read_samples(rows, samples.directory)
    nearest = index.nearest(videos, progress=progress)
    found = rows[["FileName", "draw", "lvef_requested", "chunk", "row"]].assign(
        score=index.scores_of(nearest.distance),
        nearest=[index.names[i] for i in nearest.index],
        shift_s=nearest.shift / trained.store.fps,
        by_features=_by_features(trained, index, videos),
    )
    real = index.scores_of(index.held_out)
    return Copies(found, real, index.threshold, len(index.names))


def closest_pairs(
    samples: Samples, copies: Copies, n_pairs: int = PAIRS
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The samples of the highest scores, their clips and the TRAIN clips that they come closest to.

    Clips are uint8 (N, T, H, W, C), the TRAIN clip from the moment at which they resemble most.
    """
    rows = copies.table.sort_values("score", ascending=False, kind="stable").head(n_pairs)
    store, last = samples.trained.store, samples.trained.last
    names, stride = store.table["FileName"].tolist(), round(store.fps / last.fps)
    train = []
    for row in rows.to_dict("records"):
        start = round(row["shift_s"] * store.fps)
        place = names.index(row["nearest"])
        start = min(start, max(0, store.n_frames(place) - window_span(last.n_frames, stride)))
        train.append(store.window(place, last.n_frames, start, stride))
    clips = to_uint8(shrink(to_model(np.stack(train)), last.size, last.n_frames))
    return rows.reset_index(drop=True), read_samples(rows, samples.directory), clips


def _unseen(trained: Trained) -> str:
    """A split that nothing was trained on: the one that is not reported on, if it has clips."""
    return "VAL" if len(trained.store.indices("VAL")) else "TEST"


def _by_features(trained: Trained, index: MemorisationIndex, videos: np.ndarray) -> list[str]:
    """FileName of the TRAIN clip nearest to each clip in the regressor's features."""
    store, last, config = trained.store, trained.last, trained.regressor.config
    batch_size = trained.params.evaluation.batch_size
    stride = round(store.fps / last.fps)
    windows = (store.window(int(row), last.n_frames, 0, stride) for row in store.indices("TRAIN"))
    small = (shrink(to_model(w[None]), last.size, last.n_frames) for w in windows)
    train = regressor_features(
        trained.regressor, (for_regressor(clip, last.fps, config)[0] for clip in small), batch_size
    )
    clips = (for_regressor(to_model(v[None]), last.fps, config)[0] for v in videos)
    found = nearest_by_features(train, regressor_features(trained.regressor, clips, batch_size))
    return [index.names[i] for i in found.index]
