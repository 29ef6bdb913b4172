"""The training sets that are compared: real, with generated clips, and classically rebalanced."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echocascade.data.phantom.physiology import echonet_lvef_density
from echocascade.params import ExperimentParams
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.plan import Bins, raise_lowest

Method = Literal["real", "generated", "oversampled", "weighted"]
LabelKind = Literal["requested", "estimated"]
Array = NDArray[np.float64]
Rows = NDArray[np.int64]
CAPPING_ROUNDS = 30
OTHER = {"requested": "estimated", "estimated": "requested"}


@dataclass(frozen=True)
class Arm:
    """One way to make a training set.

    size: clips in it, None for all real ones (and all generated ones in an arm that has any);
    share: of generated clips; labels: how these are labelled, empty without.
    """

    method: Method
    size: int | None
    share: float = 0.0
    labels: str = ""

    @property
    def key(self) -> str:
        """The arm in results and file names, e.g. "generated_50.requested"."""
        if self.method != "generated":
            return self.method
        amount = f"{100 * self.share:.0f}" if self.size is not None else "added"
        return f"{self.method}_{amount}.{self.labels}"

    @property
    def label(self) -> str:
        """The arm in figures and tables."""
        names = {"real": "real", "oversampled": "real, oversampled", "weighted": "real, weighted"}
        if self.method != "generated":
            return names[self.method]
        what = "all generated" if self.size is None else f"{100 * self.share:.0f} % generated"
        joined = f"real + {what}" if self.size is None else what
        return f"{joined}, {self.labels} LVEF"


@dataclass(frozen=True)
class TrainingSet:
    """Clips of two stores: rows of the real and of the generated one, and LVEF of both (n,).

    weight (n,): of each clip in the loss, mean 1; probability (n,): with which a clip is drawn.
    None where all clips count alike.
    """

    real: Rows
    generated: Rows
    lvef_percent: Array
    weight: Array | None = None
    probability: Array | None = None

    def __len__(self) -> int:
        return len(self.lvef_percent)


@dataclass(frozen=True)
class Pool:
    """What sets are made from: rows of the real TRAIN clips and of the generated ones, their LVEF.

    generated_lvef: by kind of label, each (M,); bins: those of the plan.
    """

    real: Rows
    real_lvef: Array
    generated: Rows
    generated_lvef: dict[str, Array]
    bins: Bins


def arms_of(wanted: ExperimentParams, labels: LabelKind, pool: Pool) -> list[Arm]:
    """Every arm that the pool has enough clips for: size after size, all real clips last.

    `labels` is the kind in use; the other kind is compared at the half-generated sets.
    """
    arms = []
    for size in sorted(set(wanted.sizes)):
        if size >= len(pool.real):
            continue
        arms += [Arm("real", size), Arm("oversampled", size), Arm("weighted", size)]
        arms += [
            Arm("generated", size, share, kind)
            for share in wanted.shares
            for kind in ((labels, OTHER[labels]) if share == 0.5 else (labels,))
            if n_generated(size, share) <= len(pool.generated)
        ]
    arms += [Arm("real", None), Arm("oversampled", None), Arm("weighted", None)]
    if len(pool.generated):
        arms += [Arm("generated", None, labels=kind) for kind in (labels, OTHER[labels])]
    return arms


def left_out(wanted: ExperimentParams, pool: Pool) -> list[str]:
    """What the table lacks, in words: sizes beyond the data set, shares beyond the clips."""
    found = []
    for size in sorted(set(wanted.sizes)):
        if size >= len(pool.real):
            found.append(f"{size} real clips: TRAIN has {len(pool.real)}")
            continue
        for share in wanted.shares:
            need = n_generated(size, share)
            if need > len(pool.generated):
                what = f"{100 * share:.0f} % of {size} are {need} generated clips"
                found.append(f"{what}; {len(pool.generated)} were kept")
    return found


def n_generated(size: int, share: float) -> int:
    """How many of `size` clips are generated."""
    return round(size * share)


def build_set(arm: Arm, pool: Pool, wanted: ExperimentParams, seed: int) -> TrainingSet:
    """The training set of an arm; sets of one seed share their real clips, smaller in larger.

    seed: one for each repetition.
    """
    order = real_order(pool.real_lvef, wanted, seed) if arm.size else np.arange(len(pool.real))
    size = len(pool.real) if arm.size is None else arm.size
    if arm.method != "generated":
        chosen = order[:size]
        lvef = pool.real_lvef[chosen]
        weight = inverse_density(lvef, wanted) if arm.method != "real" else None
        return TrainingSet(
            pool.real[chosen], np.empty(0, np.int64), lvef,
            weight=weight if arm.method == "weighted" else None,
            probability=weight / weight.sum()
            if weight is not None and arm.method == "oversampled" else None,
        )  # fmt: skip
    made_lvef = pool.generated_lvef[arm.labels]
    if arm.size is None:
        chosen, made = order, np.arange(len(pool.generated))
    else:
        n = n_generated(arm.size, arm.share)
        chosen = order[: arm.size - n]
        made = fill_up(pool.bins, pool.real_lvef[chosen], made_lvef, n, seed)
    lvef = np.concatenate([pool.real_lvef[chosen], made_lvef[made]])
    return TrainingSet(pool.real[chosen], pool.generated[made], lvef)


def real_order(lvef: Array, wanted: ExperimentParams, seed: int) -> Rows:
    """All real clips in random order: the first n of it are the subset of n.

    Under `real_lvef: echonet` a clip comes the earlier the more frequent its LVEF is in
    EchoNet-Dynamic and the rarer it is here (weighted drawing without return, by Gumbel noise).
    """
    rng = numpy_generator(seed, "rebalancing subset")
    if wanted.real_lvef == "as_is":
        return rng.permutation(len(lvef))
    ratio = echonet_lvef_density(lvef) / density(lvef, wanted.smoothing)
    key = np.log(np.maximum(ratio, 1e-300)) + rng.gumbel(size=len(lvef))
    return np.argsort(-key, kind="stable")


def fill_up(bins: Bins, have: Array, offered: Array, n: int, seed: int) -> Rows:
    """Which n of the generated clips make the histogram as even as it gets: rows of `offered`.

    have: LVEF of the real clips of the set; offered (M,): of the generated ones, M >= n.
    """
    rng = numpy_generator(seed, "rebalancing fill")
    place = bins.nearest(offered)
    room = np.bincount(place, minlength=len(bins))
    given = raise_lowest(bins.count(have), room, n, rng)
    rows = [rng.permutation(np.flatnonzero(place == i))[:k] for i, k in enumerate(given)]
    return np.concatenate(rows).astype(np.int64)


def inverse_density(lvef: Array, wanted: ExperimentParams) -> Array:
    """Weights (N,) with mean 1, inverse to how frequent a clip's LVEF is in the set.

    The density is smoothed as for regression on few labels (Yang21 Sec. 3.2), and no weight is
    larger than `most_weight`: one odd clip should not be half of a training.
    """
    weight = 1 / density(lvef, wanted.smoothing)
    for _ in range(CAPPING_ROUNDS):  # what a cap takes away is shared out to the others
        weight = np.minimum(weight / weight.mean(), wanted.most_weight)
    return weight / weight.mean()


def density(lvef: ArrayLike, smoothing: float) -> Array:
    """Gaussian kernel density at each of LVEFs (N,) among themselves, in clips a point."""
    x = np.asarray(lvef, np.float64)
    grid = np.arange(0.0, 100.5, 0.5)
    kernel = np.exp(-0.5 * ((grid[:, None] - x) / smoothing) ** 2).sum(1)
    return np.interp(x, grid, kernel) / (smoothing * np.sqrt(2 * np.pi))
