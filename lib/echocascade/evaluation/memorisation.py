"""Does a generated clip repeat a training clip? A score, and a threshold that real clips set.

Two ways of looking for the nearest training clip:

    pixels      thumbnails of the whole clip at every shift in time, without the training set's
                mean picture, compared by their correlation r, so neither brightness nor contrast
                nor the moment at which a copy starts hides it; distance = sqrt(2 (1 - r))
    features    the LVEF regressor's, standardised; a second opinion that cannot tell patients of
                equal motion apart

The score is 1 - d / m: d is the clip's distance to its nearest training clip by pixels, m the
median of that distance over real clips that were not trained on. 1 is a copy, 0 as new as a usual
unseen patient. The threshold is the score that one unseen real clip in a hundred exceeds: above it
a clip is closer to a training clip than patients are to each other.

A clip made from a training patient's frame is like that patient by request. Its own clip is judged
apart: m is then the distance between different beats of one real clip, so that above
`own_threshold` the clip is closer to the recording than the patient's next beats are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from echocascade.data.clips import ClipStore, evaluation_clips
from echocascade.data.sampling import window_span
from echocascade.evaluation.thumbnails import Array, shifted_distances, thumbnails

Progress = Callable[[int, int, str], None]

FRAMES = 16  # at most so many frames of a clip are compared
HELD_OUT = 200  # real clips that set the threshold
REFUSED_REAL = 0.01  # share of unseen real clips above the threshold
OTHER_BEAT_S = 0.4  # seconds; a shift from here on shows another beat
BATCH = 64  # clips searched for at once


@dataclass(frozen=True)
class Nearest:
    """The nearest training clip of each of N clips.

    index (N,) row of the index; distance (N,); shift (N,) store frames from that clip's start.
    """

    index: NDArray[np.intp]
    distance: Array
    shift: NDArray[np.intp]


@dataclass
class MemorisationIndex:
    """Training clips as thumbnails, and what unseen real clips look like beside them.

    names: FileNames of the M training clips; thumbnails (T, SIDE * SIDE) of each at `store_fps`,
    so that every shift is looked at, whatever the `fps` of the clips that are scored. held_out:
    distances (H,) of unseen real clips to their nearest training clip, own_beats (B,) of real
    clips to other beats of themselves.
    """

    names: list[str]
    thumbnails: list[NDArray[np.uint8]]
    n_frames: int
    fps: float
    store_fps: float
    held_out: Array = field(default_factory=lambda: np.empty(0))
    own_beats: Array = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not self.thumbnails:
            raise ValueError("no training clips: there is nothing that could be memorised")
        total = sum(t.sum(axis=0, dtype=np.float64) for t in self.thumbnails)
        self.mean_picture = total / sum(len(t) for t in self.thumbnails)
        self._row = {name: row for row, name in enumerate(self.names)}

    @property
    def threshold(self) -> float:
        """The score that one unseen real clip in a hundred exceeds; NaN without such clips."""
        return _threshold(self.held_out)

    @property
    def own_threshold(self) -> float:
        """The same for `own_score`, from different beats of one real clip."""
        return _threshold(self.own_beats)

    def score(self, videos: np.ndarray, own: Sequence[str] | None = None) -> Array:
        """Memorisation score (N,) of uint8 clips (N, T, H, W, C) at the index's frames and fps.

        own: FileName of the training clip that each clip's conditioning frame is of; left out.
        """
        return self.scores_of(self.nearest(videos, own).distance)

    def scores_of(self, distance: Array) -> Array:
        """Scores of distances (N,) to the nearest training clip."""
        return _scores(distance, self.held_out)

    def own_score(self, videos: np.ndarray, own: Sequence[str]) -> Array:
        """The score of each clip against the one training clip that it was made from (N,)."""
        queries = self._queries(videos)
        distances = [
            shifted_distances(q[None], self._pictures(self._row[name]), self._stride).min()
            for q, name in zip(queries, own, strict=True)
        ]
        return _scores(np.array(distances), self.own_beats)

    def refused(self, videos: np.ndarray, own: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Which clips (N,) are too close to a training clip to be passed on as synthetic."""
        copies = self.score(videos, own) > self.threshold
        if own is not None:
            copies |= self.own_score(videos, own) > self.own_threshold
        return copies

    def nearest(
        self,
        videos: np.ndarray,
        own: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Nearest:
        """The nearest training clip by pixels, see `score`."""
        queries = self._queries(videos)
        left_out = np.array([self._row.get(name, -1) for name in own or [""] * len(queries)])
        best = np.full(len(queries), np.inf)
        index, shift = np.zeros(len(queries), np.intp), np.zeros(len(queries), np.intp)
        for row in range(len(self.names)):
            pictures = self._pictures(row)
            for start in range(0, len(queries), BATCH):
                rows = slice(start, start + BATCH)
                distances = shifted_distances(queries[rows], pictures, self._stride)
                distances[left_out[rows] == row] = np.inf
                place = distances.argmin(axis=1)
                found = distances[np.arange(len(place)), place]
                closer = found < best[rows]
                best[rows] = np.where(closer, found, best[rows])
                index[rows] = np.where(closer, row, index[rows])
                shift[rows] = np.where(closer, place, shift[rows])
            if progress is not None:
                progress(row + 1, len(self.names), "training clips compared")
        return Nearest(index, best, shift)

    def _queries(self, videos: np.ndarray) -> NDArray[np.float32]:
        """(N, K, pixels): at most FRAMES frames of each clip, standardised."""
        if videos.ndim != 5 or videos.dtype != np.uint8 or videos.shape[1] != self.n_frames:
            raise ValueError(
                f"clips are {videos.dtype} {videos.shape}; uint8 (N, {self.n_frames}, H, W, C) at "
                f"{self.fps:g} frames per second is needed"
            )
        return np.stack([self._standardised(thumbnails(v[:: self._step])) for v in videos])

    def _standardised(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A clip's compared frames less the mean picture, of mean 0 and length 1."""
        pictures = clip - self.mean_picture
        pictures = pictures - pictures.mean()
        length = np.sqrt((pictures**2).sum())
        return (pictures / max(length, 1e-9)).astype(np.float32)

    def _pictures(self, row: int) -> NDArray[np.float32]:
        return (self.thumbnails[row] - self.mean_picture).astype(np.float32)

    @property
    def _step(self) -> int:
        """Frames of a clip from one that is compared to the next."""
        return -(-self.n_frames // FRAMES)

    @property
    def _stride(self) -> int:
        """The same in frames of the store."""
        return self._step * round(self.store_fps / self.fps)


def memorisation_index(
    store: ClipStore,
    n_frames: int,
    fps: float,
    *,
    held_out: str = "VAL",
    seed: int = 0,
    progress: Progress | None = None,
) -> MemorisationIndex:
    """The index of all TRAIN clips of a store, calibrated on clips of the split `held_out`.

    Args:
        n_frames, fps: of the clips that will be scored; fps divides the store's.
        held_out: a split that was not trained on. Without clips the thresholds are NaN and
            nothing is refused.
    """
    stride = round(store.fps / fps)
    span = window_span(n_frames, stride)
    rows = store.indices("TRAIN")
    pictures = []
    for i, row in enumerate(rows):
        # a shorter clip is padded as the cascade saw it
        whole = store.window(int(row), max(span, store.n_frames(int(row))), 0)
        pictures.append(thumbnails(whole))
        if progress is not None:
            progress(i + 1, len(rows), "training clips read")
    names = [str(store.table["FileName"][row]) for row in rows]
    index = MemorisationIndex(names, pictures, n_frames, fps, store.fps)
    if len(store.indices(held_out)):
        clips = evaluation_clips(store, held_out, HELD_OUT, n_frames, stride=stride, seed=seed)
        index.held_out = index.nearest(clips.video).distance
        index.own_beats = _beats_of_one_clip(index, [store.frames(row) for row in clips.index])
    return index


def _beats_of_one_clip(index: MemorisationIndex, clips: Sequence[np.ndarray]) -> Array:
    """Distance of the first half window of each clip to the nearest later beat of that clip."""
    half = (index.n_frames // index._step // 2 - 1) * index._stride + 1
    later = max(1, round(OTHER_BEAT_S * index.store_fps))
    found = []
    for clip in clips:
        if half >= 1 and len(clip) >= half + later:
            pictures = thumbnails(clip)
            query = index._standardised(pictures[: half : index._stride])
            others = (pictures[later:] - index.mean_picture).astype(np.float32)
            found.append(shifted_distances(query[None], others, index._stride).min())
    return np.array(found)


def nearest_by_features(train: ArrayLike, features: ArrayLike) -> Nearest:
    """The nearest of M training clips (M, F) for each of N clips (N, F), features standardised.

    The distance is the root mean square over features, in their standard deviations over TRAIN.
    """
    known, asked = np.asarray(train, np.float64), np.asarray(features, np.float64)
    if known.ndim != 2 or asked.ndim != 2 or known.shape[1] != asked.shape[1] or not len(known):
        raise ValueError(f"features must be (M, F) and (N, F), found {known.shape}, {asked.shape}")
    spread = known.std(axis=0)
    spread[spread == 0] = 1.0
    distances = torch.cdist(torch.from_numpy(asked / spread), torch.from_numpy(known / spread))
    nearest = distances.min(dim=1)
    distance = nearest.values.numpy() / known.shape[1] ** 0.5
    return Nearest(nearest.indices.numpy(), distance, np.zeros(len(asked), np.intp))


def _scores(distance: Array, real: Array) -> Array:
    return 1 - distance / np.median(real) if len(real) else np.full(len(distance), np.nan)


def _threshold(real: Array) -> float:
    if not len(real):
        return float("nan")
    return float(np.quantile(_scores(real, real), 1 - REFUSED_REAL))
