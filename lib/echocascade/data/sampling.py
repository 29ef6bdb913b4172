"""Which clip, which two seconds, which conditioning frame: a pure function of seed and position."""

from dataclasses import dataclass

import numpy as np

from echocascade.data.frames import Frames
from echocascade.data.store import ClipStore
from echocascade.rng import numpy_generator


@dataclass(frozen=True)
class ClipBatch:
    """Training samples: `index` (B,) row of the store, `video` uint8 (B, T, H, W, C), `frame`
    uint8 (B, H, W, C) from anywhere in the same clip, `lvef_percent` float32 (B,)."""

    index: np.ndarray
    video: Frames
    frame: Frames
    lvef_percent: np.ndarray


@dataclass(frozen=True)
class EvaluationClips:
    """Fixed clips: `index` (N,), `file_name`, `video` uint8 (N, T, H, W, C), `frames` uint8
    (N, draws, H, W, C) conditioning frames, `lvef_percent` float32 (N,), `start` (N,) and
    `frame_index` (N, draws) their places in the clip."""

    index: np.ndarray
    file_name: list[str]
    video: Frames
    frames: Frames
    lvef_percent: np.ndarray
    start: np.ndarray
    frame_index: np.ndarray


class ClipSampler:
    """Random windows of one split, without state: batch k is batch k, resumed or not.

    Sample n (n = step * batch_size + position) is the same in any batch size: each epoch of
    len(indices) samples is a seeded permutation of the split, and sample n draws its window and
    its conditioning frame from its own random stream. `n_frames` frames `stride` apart.
    """

    def __init__(
        self, store: ClipStore, split: str, n_frames: int, seed: int, stride: int = 1
    ) -> None:
        if n_frames < 1 or stride < 1:
            raise ValueError(f"n_frames {n_frames}, stride {stride}; both must be at least 1")
        self.store = store
        self.indices = store.indices(split)
        if len(self.indices) == 0:
            raise ValueError(f"the store has no clip in split {split}")
        self.n_frames = n_frames
        self.seed = seed
        self.stride = stride
        self._lvef_percent = store.table["EF"].to_numpy(np.float32)
        self._order: tuple[int, np.ndarray] = (-1, self.indices)

    def batch(self, step: int, batch_size: int) -> ClipBatch:
        """The `batch_size` samples of training step `step` (from 0)."""
        if step < 0 or batch_size < 1:
            raise ValueError(f"step {step}, batch_size {batch_size}; from 0 and at least 1")
        first = step * batch_size
        index = np.array([self._clip(first + i) for i in range(batch_size)])
        shape = (self.store.size, self.store.size, self.store.channels)
        video = np.empty((batch_size, self.n_frames, *shape), np.uint8)
        frame = np.empty((batch_size, *shape), np.uint8)
        for i, clip in enumerate(index):
            rng = numpy_generator(self.seed, "window", first + i)
            start, (conditioning,) = draw(self.store.n_frames(clip), self.span, 1, rng)
            video[i] = self.store.window(clip, self.n_frames, start, self.stride)
            frame[i] = self.store.frames(clip)[conditioning]
        return ClipBatch(index, video, frame, self._lvef_percent[index])

    @property
    def span(self) -> int:
        """Frames of the store from the first to the last of a window."""
        return window_span(self.n_frames, self.stride)

    def _clip(self, n: int) -> int:
        """Row of sample n."""
        epoch, place = divmod(n, len(self.indices))
        if self._order[0] != epoch:
            rng = numpy_generator(self.seed, "epoch", epoch)
            self._order = (epoch, rng.permutation(self.indices))
        return int(self._order[1][place])


def window_span(n_frames: int, stride: int) -> int:
    """Frames from the first to the last of `n_frames` frames that are `stride` apart."""
    return (n_frames - 1) * stride + 1


def draw(
    clip_frames: int, span: int, draws: int, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
    """Start of a window of `span` frames (0 where the clip is shorter) and conditioning frames.

    Frames are uniform over the whole clip (Reynaud23 Sec. 2), without repeats where it has enough.
    """
    start = int(rng.integers(max(clip_frames - span, 0) + 1))
    return start, rng.choice(clip_frames, size=draws, replace=clip_frames < draws)


def evaluation_clips(
    store: ClipStore,
    split: str,
    n_clips: int | None,
    n_frames: int,
    stride: int = 1,
    seed: int = 0,
    draws: int = 1,
) -> EvaluationClips:
    """The first `n_clips` clips of a split by FileName (all if None, or if it has fewer).

    One window and `draws` conditioning frames a clip, drawn from a stream addressed by the seed and
    the FileName: a clip keeps its window whatever else the data set holds.
    """
    if (n_clips is not None and n_clips < 1) or n_frames < 1 or stride < 1 or draws < 1:
        raise ValueError(
            f"n_clips {n_clips}, n_frames {n_frames}, stride {stride}, draws {draws}; "
            "each must be at least 1"
        )
    names = store.table["FileName"]
    index = np.array(sorted(store.indices(split), key=lambda i: names[i])[:n_clips], dtype=int)
    if len(index) == 0:
        raise ValueError(f"the store has no clip in split {split}")
    shape = (store.size, store.size, store.channels)
    video = np.empty((len(index), n_frames, *shape), np.uint8)
    frames = np.empty((len(index), draws, *shape), np.uint8)
    start = np.empty(len(index), int)
    frame_index = np.empty((len(index), draws), int)
    for i, clip in enumerate(index):
        rng = numpy_generator(seed, f"evaluation window of {names[clip]}")
        span = window_span(n_frames, stride)
        start[i], frame_index[i] = draw(store.n_frames(clip), span, draws, rng)
        video[i] = store.window(clip, n_frames, int(start[i]), stride)
        frames[i] = store.frames(clip)[frame_index[i]]
    lvef_percent = store.table["EF"].to_numpy(np.float32)[index]
    return EvaluationClips(
        index, list(names[index]), video, frames, lvef_percent, start, frame_index
    )
