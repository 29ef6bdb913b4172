"""Does the clip show this patient, and does it show the patient anew at every draw?

A clip is recognised when, of the conditioning frames of all patients, its own is the one that it
resembles most. Frames are compared as thumbnails without the mean picture of all frames, so the
sector and the view, which all patients share, do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import ArrayLike, NDArray

from echocascade.evaluation.metrics import Interval, percentile_interval, resample_counts
from echocascade.evaluation.thumbnails import Array, thumbnails


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval over patients, and how many patients it stands on."""

    value: float
    interval: Interval
    n_patients: int


class Gallery:
    """The conditioning frames of all patients: uint8 (P, H, W, C), one a patient."""

    def __init__(self, frames: np.ndarray) -> None:
        pictures = thumbnails(frames).astype(np.float64)
        self.mean_picture = pictures.mean(axis=0)
        self.pictures = _unit(pictures - self.mean_picture)

    def similarity(self, videos: np.ndarray) -> Array:
        """Correlation of each uint8 clip (N, T, H, W, C) with each frame, its best moment: (N, P).

        The frame may be of any phase of the beat, so the clip's most similar frame counts.
        """
        found = []
        for video in videos:
            pictures = _unit(thumbnails(video) - self.mean_picture)
            found.append((pictures @ self.pictures.T).max(axis=0))
        return np.stack(found)

    def rank(self, videos: np.ndarray, own: ArrayLike) -> NDArray[np.intp]:
        """How many patients' frames each clip resembles more than its own (N,); 0: recognised.

        own: (N,) the row of the gallery that each clip was made from.
        """
        similarity = self.similarity(videos)
        mine = np.take_along_axis(similarity, np.asarray(own, int)[:, None], axis=1)
        return (similarity > mine).sum(axis=1)


def _unit(pictures: Array) -> Array:
    centred = pictures - pictures.mean(axis=-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)


def mean_over_patients(
    values: ArrayLike, patients: Sequence[object], *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """The mean of per-sample values (N,); patients are resampled, their samples together.

    NaN are left out: samples that could not be measured.
    """
    measured = np.asarray(values, np.float64)
    read = np.isfinite(measured)
    names, place = np.unique(np.asarray(patients)[read], return_inverse=True)
    if not len(names):
        nowhere = Interval(float("nan"), float("nan"), level)
        return Estimate(float("nan"), nowhere, 0)
    sums = np.stack([np.bincount(place, measured[read]), np.bincount(place)], axis=1)
    total, n = (resample_counts(len(names), 2000, seed) @ sums).T
    value = float(measured[read].mean())
    return Estimate(value, percentile_interval(total / n, level), len(names))


def diversity(
    features: ArrayLike, patients: Sequence[object], *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """How different the draws of a patient are, in units of how different patients are.

    Mean distance between two draws of one patient over the mean distance between two patients'
    clips, in any features (N, F). 0: every draw is the same clip; 1: the patient does not matter.
    """
    values = np.asarray(features, np.float64)
    names, place = np.unique(np.asarray(patients), return_inverse=True)
    points = torch.from_numpy(values)
    distances = torch.cdist(points, points).numpy()
    same = place[:, None] == place[None]
    apart = distances[~same].mean() if (~same).any() else float("nan")
    within = []
    for patient in range(len(names)):
        rows = np.flatnonzero(place == patient)
        pairs = rearrange(distances[np.ix_(rows, rows)], "a b -> (a b)")
        within.append(pairs.sum() / (len(rows) * (len(rows) - 1)) if len(rows) > 1 else np.nan)
    ratio = np.array(within) / apart if apart > 0 else np.full(len(names), np.nan)
    return mean_over_patients(ratio, names.tolist(), level=level, seed=seed)
