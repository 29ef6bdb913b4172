"""FID, KID, precision, recall and FVD of a task's generated clips, or why there is no number.

The generated set is the first draw of every patient, as the paper's was; the real set is the same
patients' clips. A missing network makes the number read "not computed: file, source", everywhere.
"""

from pathlib import Path

import pandas as pd

from echocascade.evaluation.distance import Measured
from echocascade.evaluation.fidelity import I3D, INCEPTION, Extractor, frame_scores, video_scores
from echocascade.evaluation.preparation import CLIP_FRAMES, Mode, Prepared, prepare
from echocascade.evaluation.weights import MANIFEST, Found, find, not_computed
from echocascade.studies.chunks import Samples
from echocascade.studies.protocol import read_samples

FRAME_SCORES = ("FID", "KID", "precision", "recall")
COLUMNS = ("task", "mode", "score", "value", "low", "high", "clips", "samples", "note")
CACHE = "torch-fidelity"
Row = dict[str, object]


def image_quality(samples: Samples, table: pd.DataFrame, task: str) -> pd.DataFrame:
    """A row a mode and score: COLUMNS. value is NaN where `note` says why it is not computed."""
    rows = table[(table["task"] == task) & (table["draw"] == 0)]
    patients = rows["FileName"].tolist()
    made = read_samples(rows, samples.directory)
    places = [samples.clips.file_name.index(name) for name in patients]
    real = samples.clips.video[places]
    found = []
    for mode in samples.trained.params.evaluation.modes:
        sets = prepare(made, patients, mode), prepare(real, patients, mode)
        found += _frame_rows(samples, sets, mode) + _video_rows(samples, sets, mode)
    return pd.DataFrame([{"task": task} | row for row in found], columns=list(COLUMNS))


def task_results(
    table: pd.DataFrame, task: str, weights_dir: Path | None
) -> dict[str, dict[str, object] | str]:
    """A task's rows of `image_quality` as mode -> score -> value, interval and N, or the reason.

    And LPIPS, which is in the sample table where it is computed, by its reason where it is not.
    """
    results: dict[str, dict[str, object] | str] = {}
    for mode, rows in table[table["task"] == task].groupby("mode", sort=False):
        scores: dict[str, object] = {}
        for row in rows.to_dict("records"):
            name = row["score"]
            scores[name] = row["note"] or row["value"]
            if not row["note"]:
                scores[f"{name}_interval"] = [row["low"], row["high"]]
                scores[f"{name}_N"] = row["clips"]
        results[str(mode)] = scores
    reason = not_computed("LPIPS", weights_dir)
    return results | ({"LPIPS": reason} if reason else {})


def _frame_rows(samples: Samples, sets: tuple[Prepared, Prepared], mode: Mode) -> list[Row]:
    weights = find(MANIFEST["inception"], samples.weights_dir)
    if weights.usable is None:
        return [_absent(mode, score, weights.reason) for score in FRAME_SCORES]
    extractor = _extractor(samples, INCEPTION, weights)
    e, seed = samples.trained.params.evaluation, samples.trained.params.seed
    found = frame_scores(*sets, extractor, level=e.level, seed=seed)
    return [_row(mode, score, found[score], len(sets[0].videos)) for score in FRAME_SCORES]


def _video_rows(samples: Samples, sets: tuple[Prepared, Prepared], mode: Mode) -> list[Row]:
    weights, n_frames = find(MANIFEST["i3d"], samples.weights_dir), sets[0].videos.shape[1]
    if weights.usable is None:
        return [_absent(mode, "FVD", weights.reason)]
    if n_frames < CLIP_FRAMES:
        why = f"not computed: clips of {n_frames} frames, {CLIP_FRAMES} are needed"
        return [_absent(mode, "FVD", why)]
    extractor = _extractor(samples, I3D, weights)
    e, seed = samples.trained.params.evaluation, samples.trained.params.seed
    found = video_scores(*sets, extractor, level=e.level, seed=seed)
    return [_row(mode, "FVD", found["FVD"], len(sets[0].videos))]


def _extractor(samples: Samples, name: str, weights: Found) -> Extractor:
    assert weights.usable is not None  # the caller has looked
    batch_size = samples.trained.params.evaluation.batch_size
    return Extractor(name, weights.usable, samples.directory / CACHE, batch_size)


def _row(mode: Mode, score: str, found: Measured, clips: int) -> Row:
    return {
        "mode": mode, "score": score, "value": found.value, "low": found.interval.low,
        "high": found.interval.high, "clips": clips, "samples": found.n_samples, "note": "",
    }  # fmt: skip


def _absent(mode: Mode, score: str, reason: str) -> Row:
    empty = {"value": float("nan"), "low": float("nan"), "high": float("nan"), "clips": None}
    return {"mode": mode, "score": score, **empty, "samples": None, "note": reason}
