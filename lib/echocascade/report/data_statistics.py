"""How a data set looks beside real clips: averages of image statistics over its clips.

`REAL_CLIPS` are such averages of 50 real EchoNet-Dynamic clips (16 frames at 8 fps, 112 x 112),
measured by the functions below. They are numbers about many clips; no clip is part of the project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.clips import ClipStore
from echocascade.data.decode import read_frames
from echocascade.data.frames import Frames, resize
from echocascade.data.phantom.statistics import (
    clip_statistics,
    intensity_histogram,
    speckle,
)
from echocascade.data.tables import VIDEOS

SIZE, FPS = 112, 8.0  # what the statistics are defined for
MAX_FRAMES = 16
MIN_FRAMES = 5  # the longest lag is four frames
BINS = 32
BANDS, DIRECTIONS = ("near", "far"), ("lateral", "axial")


@dataclass(frozen=True)
class ImageStatistics:
    """`numbers`: means over clips of `clip_statistics`. `spread`: their standard deviations.
    `histogram`: density (BINS,) of grey levels from 0 to 256. `correlation`: "near lateral" ... ->
    autocorrelation of speckle at lags of 0, 1, 2 ... pixels."""

    n_clips: int
    numbers: Mapping[str, float]
    spread: Mapping[str, float]
    histogram: Sequence[float]
    correlation: Mapping[str, Sequence[float]]


REAL_CLIPS = ImageStatistics(
    n_clips=50,
    numbers={
        "intensity.mean": 52.59,
        "intensity.black": 0.2645,
        "intensity.p5": 0.4869,
        "intensity.p25": 9.97,
        "intensity.p50": 37.47,
        "intensity.p75": 83.53,
        "intensity.p95": 153.1,
        "intensity.p99": 191.3,
        "near.lateral_width": 2.65,
        "near.axial_width": 4.217,
        "near.contrast": 0.4101,
        "far.lateral_width": 4.995,
        "far.axial_width": 3.253,
        "far.contrast": 0.445,
        "frame_correlation.125ms": 0.829,
        "frame_correlation.250ms": 0.7383,
        "frame_correlation.500ms": 0.7301,
        "speckle_correlation.125ms": 0.5232,
        "speckle_correlation.250ms": 0.3884,
        "speckle_correlation.500ms": 0.3738,
    },
    spread={
        "intensity.mean": 10.71,
        "intensity.black": 0.1078,
        "intensity.p5": 0.9845,
        "intensity.p25": 8.387,
        "intensity.p50": 16.81,
        "intensity.p75": 18.76,
        "intensity.p95": 20.13,
        "intensity.p99": 24.11,
        "near.lateral_width": 0.3285,
        "near.axial_width": 1.985,
        "near.contrast": 0.1323,
        "far.lateral_width": 0.9175,
        "far.axial_width": 0.6351,
        "far.contrast": 0.1005,
        "frame_correlation.125ms": 0.04871,
        "frame_correlation.250ms": 0.06916,
        "frame_correlation.500ms": 0.08317,
        "speckle_correlation.125ms": 0.09064,
        "speckle_correlation.250ms": 0.09275,
        "speckle_correlation.500ms": 0.1004,
    },
    histogram=[
        0.0331,
        0.00992,
        0.00843,
        0.00745,
        0.00651,
        0.00579,
        0.00529,
        0.00498,
        0.00469,
        0.00444,
        0.00418,
        0.0039,
        0.00366,
        0.00338,
        0.00305,
        0.00278,
        0.00249,
        0.0022,
        0.00183,
        0.00154,
        0.00125,
        0.000998,
        0.000787,
        0.000616,
        0.000481,
        0.000377,
        0.000281,
        0.000212,
        0.000156,
        0.000114,
        8.47e-05,
        4.49e-05,
    ],
    correlation={
        "near lateral": [1.0, 0.642, 0.197, -0.08, -0.206, -0.23, -0.197],
        "near axial": [1.0, 0.678, 0.454, 0.339, 0.246, 0.172, 0.115],
        "far lateral": [1.0, 0.866, 0.614, 0.36, 0.158, 0.027, -0.041],
        "far axial": [1.0, 0.684, 0.365, 0.175, 0.075, 0.03, 0.013],
    },
)


def dataset_statistics(store: ClipStore, root: Path, n_clips: int = 50) -> ImageStatistics:
    """Statistics of up to `n_clips` clips spread evenly over the data set in `root`.

    Read from the files, before the store's resize, at 8 fps: the frame nearest to each instant.
    """
    chosen = np.unique(np.linspace(0, len(store) - 1, min(n_clips, len(store))).astype(int))
    rows = store.table.iloc[chosen]
    clips = [
        _at_8_fps(root / VIDEOS / f"{name}.avi", fps)
        for name, fps in zip(rows["FileName"], rows["source_fps"], strict=True)
    ]
    return image_statistics([frames for frames in clips if len(frames) >= MIN_FRAMES])


def image_statistics(clips: Sequence[Frames]) -> ImageStatistics:
    """Averages over clips, each uint8 (T, 112, 112, C) at 8 fps with T of at least 5."""
    table = pd.DataFrame([clip_statistics(frames) for frames in clips])
    histogram = np.mean([intensity_histogram(frames, BINS)[0] for frames in clips], axis=0)
    correlation = {}
    for band in BANDS:
        found = [speckle(frames, band) for frames in clips]
        for direction in DIRECTIONS:
            curves = [getattr(one, direction) for one in found]
            correlation[f"{band} {direction}"] = np.nanmean(curves, axis=0).tolist()
    return ImageStatistics(
        n_clips=len(clips),
        numbers={str(name): float(table[name].mean()) for name in table},
        spread={str(name): float(table[name].std(ddof=0)) for name in table},
        histogram=histogram.tolist(),
        correlation=correlation,
    )


def comparison_table(found: ImageStatistics, real: ImageStatistics) -> pd.DataFrame:
    """One row a statistic: here and in real clips, mean and spread between clips, and the distance
    of the means in units of the real spread."""
    rows = {}
    for name, mean in real.numbers.items():
        distance = (found.numbers[name] - mean) / max(real.spread[name], 1e-9)
        rows[name.replace(".", ": ").replace("_", " ")] = {
            "here": f"{found.numbers[name]:.3g} ± {found.spread[name]:.2g}",
            f"{real.n_clips} real clips": f"{mean:.3g} ± {real.spread[name]:.2g}",
            "difference / real spread": round(distance, 2),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _at_8_fps(path: Path, fps: float) -> Frames:
    frames = read_frames(path, 1)
    wanted = np.rint(np.arange(MAX_FRAMES) * fps / FPS).astype(int)
    frames = frames[wanted[wanted < len(frames)]]
    return frames if frames.shape[1] == SIZE else resize(frames, SIZE)
