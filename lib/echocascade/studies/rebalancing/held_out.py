"""One balanced set of real clips that nothing was trained on: as many from every band of LVEF."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from echocascade.data.clips import ClipStore
from echocascade.params import ExperimentParams
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.plan import Bins

LEAST = 10  # clips; a band with fewer gives what it has and does not hold the others back


@dataclass(frozen=True)
class HeldOut:
    """rows (N,) of the store, their LVEF in percent and their band; bands: low, high, n, there."""

    rows: NDArray[np.int64]
    lvef_percent: NDArray[np.float64]
    band: NDArray[np.int64]
    bands: pd.DataFrame


def balanced_set(
    store: ClipStore, wanted: ExperimentParams, low: float, high: float, seed: int
) -> HeldOut:
    """As many clips of `held_out` from every band between `low` and `high`, drawn by `seed`.

    Raises:
        ValueError: fewer than two clips, so that nothing can be measured.
    """
    rows = np.concatenate([store.indices(split) for split in wanted.held_out]).astype(np.int64)
    lvef = store.table["EF"].to_numpy(np.float64)
    bands = Bins.regular(low, high, band_width(low, high, wanted.band_width))
    place = bands.find(lvef[rows])
    there = np.bincount(place[place >= 0], minlength=len(bands))
    quota = int(quota_of(there) if wanted.per_band == "auto" else wanted.per_band)
    rng = numpy_generator(seed, "rebalancing held-out")
    picked = [rng.permutation(rows[place == i])[:quota] for i in range(len(bands))]
    chosen = np.sort(np.concatenate(picked))
    if len(chosen) < 2:
        raise ValueError(
            f"{len(chosen)} clips of {' and '.join(wanted.held_out)} have an LVEF of {low:g} to"
            f" {high:g} %; at least 2 are needed to compare regressors"
        )
    table = {"low": bands.low, "high": bands.high, "n": [len(p) for p in picked], "there": there}
    return HeldOut(chosen, lvef[chosen], bands.find(lvef[chosen]), pd.DataFrame(table))


def quota_of(there: NDArray[np.int64]) -> int:
    """Clips a band: the emptiest band that has LEAST sets it, or the fullest where none has."""
    enough = there[there >= LEAST]
    return int(enough.min()) if len(enough) else int(there.max())


def band_width(low: float, high: float, wanted: float) -> float:
    """The width nearest to `wanted` of which the range is a whole number."""
    return (high - low) / max(1, round((high - low) / wanted))
