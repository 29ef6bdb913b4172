"""What the comparison says: R2 and error by band, differences to real clips alone, and noise.

Two things make a score uncertain: which clips are in the held-out set (patients are resampled) and
which clips were drawn for training and how it began (repetitions, by seed). Both are in every
interval: variance = clips + seeds / repetitions, with Student's t by Welch and Satterthwaite for
the few repetitions. Differences are taken within a repetition, on the same clips.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from einops import rearrange, reduce
from numpy.typing import NDArray
from scipy import stats

from echocascade.evaluation.metrics import N_SUMS, pair_sums, resample_counts, scores_of_sums
from echocascade.studies.rebalancing.held_out import HeldOut
from echocascade.studies.rebalancing.sets import Arm, Method

Array = NDArray[np.float64]
SCORES = ("R2", "MAE")
REAL_GAIN, REAL_LOSS, NOISE = "gain", "loss", "within noise"
# what a set is compared with, at the same size: real clips alone, and what costs no generator
REFERENCES: dict[str, Method] = {"gain": "real", "over_classic": "oversampled"}


@dataclass(frozen=True)
class Answers:
    """LVEF in percent (S, N) of the held-out clips by the S regressors of one arm."""

    arm: Arm
    lvef_percent: Array


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions and its interval at some level; NaN where it is undefined."""

    value: float
    low: float
    high: float


def estimate(by_seed: Array, resampled: Array, level: float) -> Estimate:
    """A mean over repetitions with an interval for seeds and clips.

    Args:
        by_seed: (S,) score of each repetition on all clips.
        resampled: (R,) mean over repetitions of the score on resampled clips.
    """
    value = float(np.mean(by_seed))
    finite = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(finite) < 2:
        return Estimate(value, float("nan"), float("nan"))
    of_clips = float(np.var(finite, ddof=1))
    n = len(by_seed)
    of_seeds = float(np.var(by_seed, ddof=1)) / n if n > 1 else 0.0
    variance = of_clips + of_seeds
    freedom = (n - 1) * (variance / of_seeds) ** 2 if of_seeds > 0 else np.inf
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return Estimate(value, value - reach, value + reach)


@dataclass(frozen=True)
class Scored:
    """One arm's scores: each of SCORES by seed (S,) and its mean on resampled clips (R,)."""

    arm: Arm
    by_seed: dict[str, Array]
    resampled: dict[str, Array]


def score_arm(answers: Answers, held_out: HeldOut, counts: Array) -> Scored:
    """R2 and MAE of every repetition of an arm, and on resampled clips.

    counts: (R, N) how often each clip is in each resample.
    """
    centre = held_out.lvef_percent.mean()
    truth = held_out.lvef_percent - centre
    read = answers.lvef_percent - centre
    sums = pair_sums(np.broadcast_to(truth, read.shape), read)
    whole = scores_of_sums(reduce(sums, "s n k -> s k", "sum"))
    flat = counts @ rearrange(sums, "s n k -> n (s k)")
    drawn = scores_of_sums(rearrange(flat, "r (s k) -> r s k", k=N_SUMS))
    return Scored(
        answers.arm,
        {name: np.asarray(whole[name]) for name in SCORES},
        {name: reduce(drawn[name], "r s -> r", "mean") for name in SCORES},
    )


def compare(
    answers: list[Answers], held_out: HeldOut, *, level: float, resamples: int, seed: int
) -> pd.DataFrame:
    """A row an arm: scores with intervals, the difference to real clips alone, and a verdict.

    Columns: size (0 for all), method, share, labels, arm, key, n_seeds, R2 and MAE with `low` and
    `high`; gain, R2 over "real" of the same size, and for generated sets over_classic, R2 over
    "oversampled", each with `low` and `high` at `level` and `verdict`.

    A verdict other than "within noise" needs an interval free of 0 at the level that holds for
    all comparisons of the table together (Bonferroni): of thirty intervals at 95 % one or two
    would lie off 0 by chance.
    """
    counts = resample_counts(len(held_out.rows), resamples, seed)
    scored = [score_arm(each, held_out, counts) for each in answers]
    by_method: dict[tuple[str | None, int | None], Any] = {
        (each.arm.method, each.arm.size): each for each in scored
    }
    n_compared = sum(
        _reference(each.arm, name) is not None for each in scored for name in REFERENCES
    )
    strict = 1 - (1 - level) / max(1, n_compared)
    rows = []
    for each in scored:
        arm = each.arm
        row: dict[str, object] = {
            "size": arm.size or 0, "method": arm.method, "share": arm.share, "labels": arm.labels,
            "arm": arm.label, "key": arm.key, "n_seeds": len(each.by_seed["R2"]),
        }  # fmt: skip
        for name in SCORES:
            found = estimate(each.by_seed[name], each.resampled[name], level)
            row |= {name: found.value, f"{name} low": found.low, f"{name} high": found.high}
        for name in REFERENCES:
            method = _reference(arm, name)
            reference = None if method is None else by_method.get((method, arm.size))
            row |= _difference(name, each, reference, level, strict)
        rows.append(row)
    return pd.DataFrame(rows)


def _reference(arm: Arm, name: str) -> Method | None:
    """The method that an arm is compared with under a name, None where there is nothing to say."""
    if arm.method == "real" or (name == "over_classic" and arm.method != "generated"):
        return None
    return REFERENCES[name]


def _difference(
    name: str, each: Scored, reference: Scored | None, level: float, strict: float
) -> dict[str, object]:
    """R2 over that of another arm in the same repetitions, and whether it is noise."""
    keys = (name, f"{name} low", f"{name} high", f"{name} verdict")
    if reference is None:
        return dict(zip(keys, (np.nan, np.nan, np.nan, ""), strict=True))
    by_seed = each.by_seed["R2"] - reference.by_seed["R2"]
    resampled = each.resampled["R2"] - reference.resampled["R2"]
    found, wide = estimate(by_seed, resampled, level), estimate(by_seed, resampled, strict)
    verdict = REAL_GAIN if wide.low > 0 else REAL_LOSS if wide.high < 0 else NOISE
    return dict(zip(keys, (found.value, found.low, found.high, verdict), strict=True))


def error_by_band(answers: list[Answers], held_out: HeldOut) -> pd.DataFrame:
    """Mean absolute error in each band of LVEF, over clips and repetitions.

    Columns: size, arm, key, low, high, n (clips), MAE in points; NaN in a band without clips.
    """
    rows = []
    for each in answers:
        error = np.abs(each.lvef_percent - held_out.lvef_percent).mean(axis=0)
        for place, band in enumerate(held_out.bands.to_dict("records")):
            inside = error[held_out.band == place]
            rows.append(
                {
                    "size": each.arm.size or 0, "arm": each.arm.label, "key": each.arm.key,
                    "low": band["low"], "high": band["high"], "n": len(inside),
                    "MAE": float(inside.mean()) if len(inside) else np.nan,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def headline_row(table: pd.DataFrame, labels: str) -> pd.Series | None:
    """The comparison that is quoted, declared before any result: the second smallest size, half
    generated, the run's kind of label, as the paper quotes 790 of its sizes; None without one."""
    half = table[(table["method"] == "generated") & (table["size"] > 0)]
    half = half[(half["labels"] == labels) & ((half["share"] - 0.5).abs() < 1e-9)]
    half = half.sort_values("size")
    return None if half.empty else half.iloc[min(1, len(half) - 1)]


def recorded(table: pd.DataFrame, labels: str) -> dict[str, object]:
    """The table as nested results: by size and arm, and the headline and the verdict in words."""
    results: dict[str, object] = {}
    for row in table.to_dict("records"):
        found = {"n_seeds": row["n_seeds"]}
        for name in SCORES:
            interval = [row[f"{name} low"], row[f"{name} high"]]
            found |= {name: row[name], f"{name}_interval": interval}
        for name in REFERENCES:
            if row[f"{name} verdict"]:
                interval = [row[f"{name} low"], row[f"{name} high"]]
                found |= {name: row[name], f"{name}_interval": interval}
                found[f"{name}_verdict"] = row[f"{name} verdict"]
        results[f"size_{row['size'] or 'all'}.{row['key']}"] = found
    results["verdict"] = spell_out(table)
    quoted = headline_row(table, labels)
    if quoted is not None:
        low, high = float(quoted["gain low"]), float(quoted["gain high"])
        # one comparison, declared beforehand: its own interval decides
        verdict = REAL_GAIN if low > 0 else REAL_LOSS if high < 0 else NOISE
        beyond = [float(quoted["over_classic low"]), float(quoted["over_classic high"])]
        results["headline"] = {
            "size": int(quoted["size"]),
            "gain": float(quoted["gain"]),
            "gain_interval": [low, high],
            "over_classic": float(quoted["over_classic"]),
            "over_classic_interval": beyond,
            "verdict": verdict,
        }
    return results


def spell_out(table: pd.DataFrame) -> str:
    """What the table shows, in two sentences, whichever it is."""
    made = table[table["method"] == "generated"]
    classic = table[table["method"].isin(["oversampled", "weighted"])]
    if made.empty:
        return "No set with generated clips could be compared."

    def counted(verdicts: pd.Series) -> str:
        n = verdicts.value_counts()
        return (
            f"{n.get(REAL_GAIN, 0)} better, {n.get(REAL_LOSS, 0)} worse,"
            f" {n.get(NOISE, 0)} within noise"
        )

    return (
        f"Against real clips alone, sets with generated clips: {counted(made['gain verdict'])};"
        f" classically rebalanced sets: {counted(classic['gain verdict'])}."
        f" Against oversampled real clips, sets with generated clips:"
        f" {counted(made['over_classic verdict'])}."
    )
