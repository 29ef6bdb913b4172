"""Distances between two sets of feature vectors, with intervals, whoever computed the features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike, NDArray

from echocascade.evaluation.metrics import Interval
from echocascade.rng import numpy_generator

Array = NDArray[np.float64]
Distance = Callable[[Array, Array], float]

GROUPS = 10  # of patients, each left out once


@dataclass(frozen=True)
class Measured:
    """A distance with its interval, and on how many samples of how many patients it stands."""

    value: float
    interval: Interval
    n_samples: int
    n_patients: int

    def within(self, lowest: float, highest: float = float("inf")) -> "Measured":
        """The same with its interval cut to what the measure can be."""
        low, high = (min(max(x, lowest), highest) for x in (self.interval.low, self.interval.high))
        return replace(self, interval=Interval(low, high, self.interval.level))


def frechet_distance(features: ArrayLike, others: ArrayLike) -> float:
    """Squared Fréchet distance between Gaussians fitted to two feature sets.

    |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), S with divisor N - 1 (Dowson and Landau
    1982). With S_i = A_i^T A_i, tr (S_1 S_2)^(1/2) is the sum of the singular values of A_1 A_2^T,
    so no matrix square root is taken and few samples give no imaginary part. Fewer samples than
    features bias it upwards: compare only values of the same N.

    Args:
        features: (N, F), N >= 2.
        others: (M, F), M >= 2.
    """
    (mean, factor), (other_mean, other_factor) = map(_gaussian, (features, others))
    if mean.shape != other_mean.shape:
        raise ValueError(f"feature counts differ: {len(mean)} and {len(other_mean)}")
    # np.linalg.norm(..., "nuc") is the sum of singular values.
    cross = np.linalg.norm(factor @ rearrange(other_factor, "n f -> f n"), "nuc")
    spread = (factor**2).sum() + (other_factor**2).sum()
    distance = ((mean - other_mean) ** 2).sum() + spread - 2 * cross
    return max(float(distance), 0.0)  # a set with itself: rounding


def _gaussian(features: ArrayLike) -> tuple[Array, Array]:
    """The mean (F,) and a factor A (min(N, F), F) with A^T A the covariance."""
    values = _checked(features)
    mean = values.mean(axis=0)
    orthogonal_and_triangular = np.linalg.qr((values - mean) / (len(values) - 1) ** 0.5)
    return mean, orthogonal_and_triangular[1]


def _checked(features: ArrayLike) -> Array:
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"features must be (N, F), N >= 2, and finite, found shape {values.shape}")
    return values


def kernel_distance(features: ArrayLike, others: ArrayLike) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / F + 1)^3, unbiased (Binkowski18).

    The kernel and the estimator of KID, on any features. Its expectation does not depend on the
    number of samples, and may come out below 0 for sets that are alike.

    Args:
        features: (N, F), N >= 2.
        others: (M, F), M >= 2.
    """
    x, y = (_checked(values) for values in (features, others))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"feature counts differ: {x.shape[1]} and {y.shape[1]}")

    def kernel(a: Array, b: Array) -> Array:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Array) -> float:
        k = kernel(a, a)
        return float((k.sum() - np.trace(k)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def with_interval(
    distance: Distance,
    generated: tuple[Array, Sequence[object]],
    real: tuple[Array, Sequence[object]],
    *,
    value: float | None = None,
    level: float = 0.95,
    groups: int = GROUPS,
    seed: int = 0,
) -> Measured:
    """A distance of two sets with a delete-a-group jackknife interval over patients (Efron82).

    Patients are dealt to `groups` at random; each group is left out of both sets once. Resampling
    with replacement would bias a distance upwards: doubled samples narrow the Gaussian.

    Args:
        distance: of two feature sets.
        generated, real: features (N, F) and the patient of each row.
        value: of the whole sets, where it is already known.
    """
    (x, x_patients), (y, y_patients) = ((_checked(f), np.asarray(p)) for f, p in (generated, real))
    value = distance(x, y) if value is None else value
    names = np.unique(np.concatenate([x_patients, y_patients]))
    dealt = numpy_generator(seed, "jackknife groups", len(names)).permutation(len(names)) % groups
    kept = [
        (x[~np.isin(x_patients, names[dealt == k])], y[~np.isin(y_patients, names[dealt == k])])
        for k in range(groups)
    ]
    half = float("nan")
    if len(names) >= groups and all(len(a) >= 2 and len(b) >= 2 for a, b in kept):
        left = np.array([distance(a, b) for a, b in kept])
        error = np.sqrt((groups - 1) / groups * ((left - left.mean()) ** 2).sum())
        half = NormalDist().inv_cdf((1 + level) / 2) * float(error)
    return Measured(value, Interval(value - half, value + half, level), len(x), len(names))
