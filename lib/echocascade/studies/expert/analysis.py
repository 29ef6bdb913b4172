"""What the answers of a study show, with intervals, and what they are too few to show."""

from itertools import pairwise

import numpy as np
import pandas as pd

from echocascade.params import StudyParams
from echocascade.studies.expert import detection
from echocascade.studies.expert.agreement import Ratings, agreement, cohen
from echocascade.studies.expert.answer_table import CANNOT, ONES, Answers
from echocascade.studies.expert.blinding import area
from echocascade.studies.expert.design import KINDS
from echocascade.studies.expert.detection import NAN, Counts, Estimate
from echocascade.studies.expert.resampling import Resampled, resample
from echocascade.studies.expert.verdict import notes


def analyse(answers: Answers, level: float = 0.95, resamples: int = 2000) -> dict[str, object]:
    """All scores, nested: readers, pooled, agreement, repeats, notes; NaN where undefined.

    An interval at `level` follows each score as `<name>_interval`: Wilson's for proportions, the
    delta method for d', as if answers were independent, which those of one reader nearly are.
    Pooled scores have `<name>_cluster_interval` beside it, bootstrapped over clips and readers.
    """
    main = answers.main()
    margin = answers.params.margin / 100
    readers = {
        reader: _scores(answers, main[main["reader"] == reader], level) for reader in answers.asked
    }
    drawn = resample(main, answers.mode, resamples, answers.seed)
    pooled = _scores(answers, main, level) | _clustered(drawn, level)
    interval = drawn.interval("balanced_accuracy", 0.9)
    pooled["equivalence"] = _verdict(margin, drawn.equivalence_p(margin), interval)
    found: dict[str, object] = {
        "mode": answers.mode, "simulated": answers.simulated, "phantom": answers.phantom,
        "n_readers": int(main["reader"].nunique()), "n_answers": len(main),
        "n_clips": int(main["shown"].nunique()), "level": level,
        "n_cannot_judge": int((answers.table["answer"] == CANNOT).sum()),
        "readers": readers, "pooled": pooled,
        "agreement": agreement(rating_matrix(main), level, resamples, answers.seed),
        "repeats": _repeats(answers, level),
    }  # fmt: skip
    return found | {"notes": notes(answers.asked, found, answers.params.margin)}


def rating_matrix(main: pd.DataFrame) -> Ratings:
    """(clips, readers): 1 generated or left, 0 real or right, NaN where there is no answer."""
    said = main.assign(said=main["answer"].isin(ONES).astype(float))
    grid = said.pivot_table(index="shown", columns="reader", values="said", aggfunc="first")
    return grid.to_numpy(float) if len(grid) else np.empty((0, 0))


def counts_of(rows: pd.DataFrame) -> Counts:
    """Hits and false alarms of answers to single clips."""
    made, said = rows["truth"] == "generated", rows["answer"] == "generated"
    return Counts(
        int((made & said).sum()), int(made.sum()), int((~made & said).sum()), int((~made).sum())
    )


def _scores(answers: Answers, rows: pd.DataFrame, level: float) -> dict[str, object]:
    """What is said of one reader, or of all together."""
    correct, n = int(rows["correct"].sum()), len(rows)
    margin = answers.params.margin / 100
    found: dict[str, object] = {"n": n}
    found |= detection.proportion(correct, n, level).named("accuracy")
    if answers.mode == "pairs":
        found |= detection.d_prime_of_pairs(correct, n, level).named("d_prime")
        found["said_left"] = float((rows["answer"] == "left").mean()) if n else NAN
        p, share = detection.equivalence_p_of_pairs(correct, n, margin), proportion_90(correct, n)
    else:
        counts = counts_of(rows)
        alarms = counts.n_real - counts.false_alarms
        found |= detection.proportion(counts.hits, counts.n_generated, level).named("sensitivity")
        found |= detection.proportion(alarms, counts.n_real, level).named("specificity")
        found |= detection.balanced_accuracy(counts, level).named("balanced_accuracy")
        found |= detection.d_prime(counts, level).named("d_prime")
        found["criterion"] = detection.criterion(counts)
        found["accuracy_by_chance"] = _by_chance(counts)
        p, share = detection.equivalence_p(counts, margin), balanced_90(counts)
    found["equivalence"] = _verdict(margin, p, share)
    for kind in KINDS if answers.mode == "single" else KINDS[1:]:
        of_kind = rows[rows["kind"] == kind]
        share = detection.proportion(int(of_kind["correct"].sum()), len(of_kind), level)
        found[kind] = {"n": len(of_kind)} | share.named("accuracy")
    found["lvef"] = _by_lvef(answers.params, rows, level)
    return found | _seconds_of(rows) | _auc(rows)


def proportion_90(correct: int, n: int) -> Estimate:
    """The interval that belongs to two one-sided tests at 5 %."""
    return detection.proportion(correct, n, 0.9)


def balanced_90(counts: Counts) -> Estimate:
    """The same of balanced accuracy."""
    return detection.balanced_accuracy(counts, 0.9)


def _by_chance(counts: Counts) -> float:
    """The accuracy of a reader who says "generated" as often as this one, of any clip alike."""
    n = counts.n_generated + counts.n_real
    if n == 0:
        return NAN
    said = (counts.hits + counts.false_alarms) / n
    return (said * counts.n_generated + (1 - said) * counts.n_real) / n


def _verdict(margin: float, p: float, interval: Estimate) -> dict[str, object]:
    """Two one-sided tests at 5 %: whether the score is shown to lie within `margin` of 0.5."""
    return {
        "margin": margin, "p": p, "shown": bool(p < 0.05),
        "interval_90": [interval.low, interval.high],
    }  # fmt: skip


def _clustered(drawn: Resampled, level: float) -> dict[str, object]:
    """Intervals of pooled scores; a class's accuracy is named so."""
    found: dict[str, object] = {}
    for name in drawn.scores:
        ends = drawn.interval(name, level)
        full = f"{name}_accuracy" if name in KINDS else name
        found[f"{full}_cluster_interval"] = [ends.low, ends.high]
    return found


def _by_lvef(params: StudyParams, rows: pd.DataFrame, level: float) -> dict[str, object]:
    """Accuracy on generated clips by the LVEF that was asked for."""
    edges = [0.0, *params.lvef_bands, 100.0]
    found: dict[str, object] = {}
    for low, high in pairwise(edges):
        last = rows["lvef_requested"] <= high if high == 100 else rows["lvef_requested"] < high
        band = rows[(rows["lvef_requested"] >= low) & last]
        share = detection.proportion(int(band["correct"].sum()), len(band), level)
        found[f"{low:g} to {high:g}"] = {"n": len(band)} | share.named("accuracy")
    return found


def _seconds_of(rows: pd.DataFrame) -> dict[str, object]:
    seconds = rows["seconds"].dropna().to_numpy(float)
    if len(seconds) == 0:
        return {"seconds_mean": NAN, "seconds_median": NAN, "seconds_quartiles": [NAN, NAN]}
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return {
        "seconds_mean": float(seconds.mean()), "seconds_median": float(middle),
        "seconds_quartiles": [float(low), float(high)],
    }  # fmt: skip


def _auc(rows: pd.DataFrame) -> dict[str, object]:
    """Area under the ROC curve of answer and confidence together, where confidence was asked."""
    rated = rows[rows["confidence"].notna() & rows["truth"].isin(["real", "generated"])]
    if rated.empty:
        return {}
    sign = np.where(rated["answer"] == "generated", 1.0, -1.0)
    rating = sign * rated["confidence"].to_numpy(float)
    return {"auc": area(rating, (rated["truth"] == "generated").to_numpy())}


def _repeats(answers: Answers, level: float) -> dict[str, object]:
    """The same clip shown twice to one reader: how often the answer is the same."""
    table = answers.table[answers.table["answer"] != CANNOT]
    first = table[table["role"] == "main"]
    pairs = table[table["role"] == "repeat"].merge(first, on=["reader", "shown"])
    second, before = (np.asarray(pairs[f"answer_{side}"].isin(ONES), float) for side in "xy")
    same = int((second == before).sum())
    found: dict[str, object] = {"n": len(pairs), "cohens_kappa": cohen(before, second)}
    found |= detection.proportion(same, len(pairs), level).named("same")
    for reader in answers.asked:
        own = (pairs["reader"] == reader).to_numpy()
        share = detection.proportion(int((second == before)[own].sum()), int(own.sum()), level)
        found[reader] = {"n": int(own.sum())} | share.named("same")
    return found
