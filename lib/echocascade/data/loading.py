"""One clip from its file to the store's size and rate, and many at once in worker processes.

Imports neither torch nor pandas: a worker process has little to start with.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2

from echocascade.data.decode import FRAME_TOLERANCE, Slice, VideoError, read_frames, video_fps
from echocascade.data.frames import Frames, resample_time, resize

Item = TypeVar("Item")
Result = TypeVar("Result")

# Below this many clips one process is done before two have started: 10 ms a clip, and up to 2 s a
# start, since a new process imports the main program again, torch with it.
SMALLEST_POOLED = 400
MIN_FRAMES = 2


@dataclass(frozen=True)
class ClipSource:
    """Where a clip is and what its row of FileList.csv says (`fps` from the table, not the file).

    `target_size` and `target_fps` are the store's; with neither the clip is only checked.
    """

    path: Path | Slice
    fps: float
    claimed_frames: int
    channels: int = 1
    target_size: int | None = None
    target_fps: float | None = None


@dataclass(frozen=True)
class LoadedClip:
    """Frames uint8 (T, H, W, C) of a clip, or None and what is wrong with the file.

    `header_fps` is the file's own frames per second, where it was only checked; 0: it says none.
    """

    frames: Frames | None
    n_source_frames: int
    problem: str | None
    header_fps: float = 0.0


def load_clip(source: ClipSource) -> LoadedClip:
    """Decode, check, resize and resample one clip. A broken file is an answer, not an exception."""
    cv2.setNumThreads(1)  # each worker is one core's work
    try:
        frames = read_frames(source.path, source.channels)
        n_source = len(frames)
        if n_source < MIN_FRAMES:
            return LoadedClip(None, n_source, f"{n_source} frame; a beating heart needs more")
        if n_source < source.claimed_frames - FRAME_TOLERANCE:
            claim = f"{n_source} frames in the file, {source.claimed_frames} by the table"
            return LoadedClip(None, n_source, claim)
        if source.target_size is None or source.target_fps is None:
            _require_square(frames)
            return LoadedClip(None, n_source, None, video_fps(source.path))
        small = resize(frames, source.target_size)
        return LoadedClip(resample_time(small, source.fps, source.target_fps), n_source, None)
    except ValueError as error:
        # The path is named once, by who reports; a table is no place for folders of this machine.
        return LoadedClip(None, 0, str(error).removeprefix(f"{source.path}: "))


def _require_square(frames: Frames) -> None:
    height, width = frames.shape[1:3]
    if height != width:
        raise VideoError(f"frames are {width} x {height} pixels; square frames are needed")


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """`function` of every item, in order, by `workers` processes; memory holds a few results.

    Processes are spawned, not forked: a fork of a program with a GPU or threads may hang. Python
    therefore asks that a *script* which comes here does so below `if __name__ == "__main__":`.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    if workers == 1 or len(items) < SMALLEST_POOLED:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from _bounded(pool, function, items, ahead=8 * workers)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a decoding process ended by itself: killed for memory, or started by a script "
                'without `if __name__ == "__main__":`; workers=1 does the work in this process'
            ) from error


def _bounded(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
