"""Agreement between requested and measured LVEF, with bootstrap intervals over patients.

Every score of requested against measured LVEF is a function of a few sums over samples, so a
bootstrap over patients is one matrix product: (resamples, patients) counts times (patients, sums).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echocascade.rng import numpy_generator

Array = NDArray[np.float64]

AGREEMENT_SCORES = ("R2", "MAE", "RMSE", "r", "slope", "bias")
N_SUMS = 7  # columns of pair_sums


class CalibrationLine(NamedTuple):
    """Least-squares line of measured on requested LVEF.

    slope is in points per point: 1 for a faithful answer, 0 for one that ignores the request.
    bias is the mean of measured minus requested, in points: how far the line lies from the
    identity at the mean request (the line passes through both means).
    """

    slope: float
    bias: float


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval and the level it stands for, e.g. 0.95."""

    low: float
    high: float
    level: float


def as_pairs(requested: ArrayLike, measured: ArrayLike, at_least: int = 2) -> tuple[Array, Array]:
    """Both as float64 vectors (N,); ValueError unless same length, finite and N >= at_least."""
    q, m = np.asarray(requested, np.float64), np.asarray(measured, np.float64)
    if q.ndim != 1 or q.shape != m.shape:
        raise ValueError(
            f"requested and measured must be two vectors of one length, found {q.shape}, {m.shape}"
        )
    if len(q) < at_least:
        raise ValueError(f"{len(q)} samples found, at least {at_least} are needed")
    for name, values in (("requested", q), ("measured", m)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"{name}[{bad[0]}] is {values[bad[0]]}, only finite values are allowed"
            )
    return q, m


def pair_sums(requested: Array, measured: Array) -> Array:
    """Sums that all agreement scores follow from, one row of 7 per sample: (..., 7).

    The inputs must lie near zero (subtract a common constant first): the scores are invariant
    under it, and squares of small numbers lose no digits.
    """
    error = measured - requested
    terms = [np.ones_like(error), requested, error, requested**2, error**2]
    return np.stack([*terms, requested * error, np.abs(error)], axis=-1)


def scores_of_sums(sums: Array) -> dict[str, Array]:
    """R2, MAE, RMSE, r, slope and bias of summed `pair_sums`, (..., 7) -> one array (...) each.

    NaN where a score is undefined: R2, r and slope when all requests are equal.
    """
    n, q, e, qq, ee, qe, ae = (sums[..., i] for i in range(N_SUMS))
    # A variance below rounding of its own terms is no variance.
    spread_q = _positive(qq - q * q / n, qq)
    spread_qe, spread_e = qe - q * e / n, ee - e * e / n
    spread_m = _positive(spread_q + 2 * spread_qe + spread_e, qq + ee)
    slope = 1 + spread_qe / spread_q
    return {
        "R2": 1 - ee / spread_q,
        "MAE": ae / n,
        "RMSE": np.sqrt(np.maximum(ee, 0) / n),
        "r": np.clip(slope * np.sqrt(spread_q / spread_m), -1, 1),
        "slope": slope,
        "bias": e / n,
    }


def _positive(spread: Array, scale: Array) -> Array:
    return np.where(spread > 1e-12 * np.maximum(scale, 1e-300), spread, np.nan)


def agreement(requested: ArrayLike, measured: ArrayLike) -> dict[str, float]:
    """All of `AGREEMENT_SCORES` at once, LVEF (N,) in percent; NaN where undefined."""
    q, m = as_pairs(requested, measured)
    center = q.mean()
    sums = pair_sums(q - center, m - center).sum(axis=0)
    return {name: float(value) for name, value in scores_of_sums(sums).items()}


def _defined(name: str, requested: ArrayLike, measured: ArrayLike) -> float:
    value = agreement(requested, measured)[name]
    if np.isnan(value):
        varying = "requested" if name != "r" else "requested and measured"
        raise ValueError(f"{name} is undefined: {varying} LVEF must vary, a constant was found")
    return value


def r2_score(requested: ArrayLike, measured: ArrayLike) -> float:
    """Coefficient of determination, the requested LVEF taken as the truth.

    1 - sum (measured - requested)^2 / sum (requested - mean requested)^2, at most 1, negative
    when the mean request would have been a better answer (Reynaud23 Sec. 3).

    Args:
        requested, measured: (N,) in percent, N >= 2.
    Raises:
        ValueError: lengths differ, a value is not finite, N < 2, or all requests are equal.
    """
    return _defined("R2", requested, measured)


def mae(requested: ArrayLike, measured: ArrayLike) -> float:
    """Mean absolute error, (N,) in percent -> points. Raises as `r2_score`."""
    return agreement(requested, measured)["MAE"]


def rmse(requested: ArrayLike, measured: ArrayLike) -> float:
    """Root mean squared error, (N,) in percent -> points. Raises as `r2_score`."""
    return agreement(requested, measured)["RMSE"]


def pearson_r(requested: ArrayLike, measured: ArrayLike) -> float:
    """Linear correlation in [-1, 1]; ValueError also when either side is constant."""
    return _defined("r", requested, measured)


def calibration_line(requested: ArrayLike, measured: ArrayLike) -> CalibrationLine:
    """Slope and bias of measured on requested LVEF, (N,) in percent. Raises as `r2_score`."""
    slope = _defined("slope", requested, measured)
    return CalibrationLine(slope, agreement(requested, measured)["bias"])


def resample_counts(n_patients: int, resamples: int, seed: int) -> Array:
    """How often each patient is drawn in each bootstrap resample, (resamples, n_patients)."""
    generator = numpy_generator(seed, "bootstrap over patients", n_patients)
    even = np.full(n_patients, 1 / n_patients)
    return generator.multinomial(n_patients, even, size=resamples).astype(np.float64)


def percentile_interval(values: ArrayLike, level: float) -> Interval:
    """The central `level` of `values` (N,); NaN among them (undefined resamples) are left out."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, allowed are values between 0 and 1")
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return Interval(float("nan"), float("nan"), level)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def bootstrap_interval(
    requested: ArrayLike,
    measured: ArrayLike,
    *,
    patients: Sequence[object] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of all `AGREEMENT_SCORES`, resampling patients.

    All samples of a patient are drawn together, since they are not independent (Ouyang20 reports
    such intervals with every score).

    Args:
        requested, measured: (N,) in percent, N >= 2.
        patients: (N,) the patient of each sample; None when every sample is its own.
    """
    q, m = as_pairs(requested, measured)
    groups = np.arange(len(q)) if patients is None else np.asarray(patients)
    if groups.shape != q.shape:
        raise ValueError(f"patients has shape {groups.shape}, the samples have {q.shape}")
    codes = np.unique(groups, return_inverse=True)[1]
    n_patients = int(codes.max()) + 1
    if n_patients < 2:
        raise ValueError("1 patient found, at least 2 are needed for an interval over patients")
    center = q.mean()
    sums = np.zeros((n_patients, N_SUMS))
    np.add.at(sums, codes, pair_sums(q - center, m - center))
    scores = scores_of_sums(resample_counts(n_patients, resamples, seed) @ sums)
    return {name: percentile_interval(values, level) for name, values in scores.items()}
