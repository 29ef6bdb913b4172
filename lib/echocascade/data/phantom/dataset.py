"""A phantom data set on disk, in the layout of EchoNet-Dynamic (Ouyang20).

    ROOT/phantom.json          the arguments and the phantom's version
    ROOT/Videos/<name>.avi     Motion JPEG, 112 x 112
    ROOT/FileList.csv          nine columns, names without suffix
    ROOT/VolumeTracings.csv    names with suffix; per frame the long axis, then twenty disks

Clip i depends only on (seed, i). Files appear whole or not at all, the tables last, so the same
call completes a folder that was left half made.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.atomic import replacing, write_text
from echocascade.data.phantom.avi import avi_bytes
from echocascade.data.phantom.clip import (
    ClipFacts,
    ClipOptions,
    PhantomClip,
    describe_clip,
    render_clip,
)
from echocascade.data.phantom.machine import SIZE
from echocascade.data.phantom.physiology import DURATION_RANGE, LVEF_RULES
from echocascade.rng import numpy_generator

# Raised whenever the bytes for a seed change; folders of another version are not completed.
PHANTOM_VERSION = 6
MANIFEST = "phantom.json"
JPEG_QUALITY = 95

FILE_LIST_HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
TRACINGS_HEADER = "FileName,X1,Y1,X2,Y2,Frame"

# Of eight consecutive clips six train, one validates, one tests: 75 / 12.5 / 12.5 %, where the
# official split has 74.4 / 12.8 / 12.7 %.
_SPLIT_BLOCK = ("TRAIN",) * 6 + ("VAL", "TEST")
# Below this many clips per worker, starting processes takes longer than making the clips.
_MIN_CLIPS_PER_WORKER = 16

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Job:
    """What a worker needs to make one clip."""

    root: Path
    seed: int
    index: int
    options: ClipOptions


def clip_name(seed: int, index: int) -> str:
    """FileName of clip `index`: says that it is a phantom, and sorts by index."""
    return f"PHANTOM{seed}X{index:05d}"


def clip_split(seed: int, index: int) -> str:
    """Split of clip `index`, from (seed, index) alone."""
    block, place = divmod(index, len(_SPLIT_BLOCK))
    order = numpy_generator(seed, "phantom/split", block).permutation(len(_SPLIT_BLOCK))
    return _SPLIT_BLOCK[int(order[place])]


def make_phantom(
    root: Path | str,
    clips: int,
    *,
    seed: int = 0,
    lvef: str = "echonet",
    uniform_share: float = 0.5,
    duration_s: tuple[float, float] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Make (complete, re-use) a phantom data set of `clips` clips in `root`, and return `root`.

    lvef: "echonet" (like the real table), "uniform" (10..90 %) or "mixed" (a share
    `uniform_share` uniform, the rest echonet). duration_s: bounds of the clips' durations in
    seconds; None for those of the real table. The files do not depend on `workers`; with more
    than one, processes are started, so a script calls this under `if __name__ == "__main__"`.
    progress(done, total, note) is called as clips are finished.

    ValueError where an argument is out of range, or where `root` holds a phantom made with other
    arguments or anything that is no phantom.
    """
    root = Path(root)
    options = ClipOptions(lvef, uniform_share, duration_s)
    _check_arguments(clips, options, workers)
    _claim(root, _manifest(clips, seed, options))
    names = [clip_name(seed, index) for index in range(clips)]
    present = {entry.name for entry in os.scandir(root / "Videos")}
    missing = [index for index, name in enumerate(names) if f"{name}.avi" not in present]
    tables = root / "VolumeTracings.csv", root / "FileList.csv"
    if not missing and all(table.is_file() for table in tables):
        return root
    jobs = [_Job(root, seed, index, options) for index in missing]
    facts: dict[int, ClipFacts] = {}
    for done, (index, fact) in enumerate(_run(jobs, workers), start=clips - len(missing) + 1):
        facts[index] = fact
        if progress is not None:
            progress(done, clips, "phantom clips")
    for index in range(clips):
        if index not in facts:
            facts[index] = describe_clip(seed, index, options)
    rows = [(name, clip_split(seed, i), facts[i]) for i, name in enumerate(names)]
    write_text(tables[0], _tracings_table(rows))
    write_text(tables[1], _file_list(rows))
    return root


def _check_arguments(clips: int, options: ClipOptions, workers: int) -> None:
    if clips < 1 or workers < 1:
        raise ValueError(f"clips {clips}, workers {workers}; both must be at least 1")
    if options.lvef not in LVEF_RULES:
        raise ValueError(f"lvef is {options.lvef!r}; allowed are {', '.join(LVEF_RULES)}")
    if not 0.0 <= options.uniform_share <= 1.0:
        raise ValueError(f"uniform_share is {options.uniform_share}; allowed is 0 to 1")
    low, high = options.duration_s or DURATION_RANGE
    if not 0.7 <= low <= high <= 60.0:
        raise ValueError(f"duration_s is ({low}, {high}); allowed is 0.7 <= low <= high <= 60")


def _manifest(clips: int, seed: int, options: ClipOptions) -> dict[str, object]:
    return {
        "version": PHANTOM_VERSION,
        "clips": clips,
        "seed": seed,
        "lvef": options.lvef,
        "uniform_share": options.uniform_share if options.lvef == "mixed" else None,
        "duration_s": list(map(float, options.duration_s)) if options.duration_s else None,
    }


def _claim(root: Path, manifest: dict[str, object]) -> None:
    """Make the folder this phantom's, or raise ValueError where it already is something else."""
    path = root / MANIFEST
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no phantom manifest: {error}") from error
        differences = [
            f"{key} {found.get(key) if isinstance(found, dict) else found!r} (now {value!r})"
            for key, value in manifest.items()
            if not isinstance(found, dict) or found.get(key) != value
        ]
        if differences:
            raise ValueError(
                f"{root} holds a phantom made with other arguments: {', '.join(differences)}; "
                "use the same arguments or another folder"
            )
    elif root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty and holds no {MANIFEST}; use another folder")
    else:
        root.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(manifest, indent=2) + "\n")
    (root / "Videos").mkdir(exist_ok=True)


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[int, ClipFacts]]:
    """Make the clips, here or in processes; (index, facts) in the order of the jobs."""
    workers = min(workers, len(jobs) // _MIN_CLIPS_PER_WORKER)
    if workers <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield from map(_make, jobs)
        finally:
            cv2.setNumThreads(threads)
        return
    # Spawned, not forked: the caller may hold threads (torch, OpenCV) that a fork would break.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap(_make, jobs, chunksize=4)


def _make(job: _Job) -> tuple[int, ClipFacts]:
    """Render and write one clip."""
    options = job.options
    clip = render_clip(
        job.seed,
        job.index,
        lvef=options.lvef,
        uniform_share=options.uniform_share,
        duration_s=options.duration_s,
    )
    content = avi_bytes([_jpeg(picture) for picture in _coloured(clip)], clip.facts.fps, SIZE, SIZE)
    path = job.root / "Videos" / f"{clip_name(job.seed, job.index)}.avi"
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(content)
    return job.index, clip.facts


def _coloured(clip: PhantomClip) -> NDArray[np.uint8]:
    """Frames as written: grey (T, H, W, 1), or BGR (T, H, W, 3) for a sepia machine."""
    if clip.facts.tint == 0:
        return clip.frames
    share = 1.0 - clip.facts.tint * np.array([1.0, 0.5, 0.0])
    levels = np.round(np.arange(256)[:, None] * share).astype(np.uint8)
    return levels[clip.frames[..., 0]]


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _file_list(rows: Sequence[tuple[str, str, ClipFacts]]) -> str:
    lines = [FILE_LIST_HEADER]
    for name, split, fact in rows:
        volumes = f"{fact.lvef_percent:.8f},{fact.esv_ml:.8f},{fact.edv_ml:.8f}"
        lines.append(f"{name},{volumes},{SIZE},{SIZE},{fact.fps},{fact.n_frames},{split}")
    return "\n".join(lines) + "\n"


def _tracings_table(rows: Sequence[tuple[str, str, ClipFacts]]) -> str:
    lines = [TRACINGS_HEADER]
    for name, _, fact in rows:
        for frame, traced in zip((fact.ed_frame, fact.es_frame), fact.tracings, strict=True):
            for line in traced:
                lines.append(f"{name}.avi,{','.join(f'{v:.8f}' for v in line)},{frame}")
    return "\n".join(lines) + "\n"
