"""Readers of declared skill, to try the instrument: whatever they answer is labelled simulated.

A simulated reader hears a number for each clip, -d'/2 for a real one and d'/2 for a generated one
on average, with noise of unit variance, and says "generated" above the criterion. Part of the
noise belongs to the clip, and is the same for all readers, part to reader and clip, and is the same
when the clip is shown again: so readers agree, and repeat themselves, as people do.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echocascade.rng import numpy_generator
from echocascade.studies.expert.answers import Answer, AnswerStore
from echocascade.studies.expert.clips import RunClips
from echocascade.studies.expert.create import Progress, create_study
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.expert.folder import Study, load_key, load_study

SHARES = (0.2, 0.5, 0.3)  # variance of noise: of the clip, of reader and clip, of the moment


@dataclass(frozen=True)
class SimulatedReader:
    """Skill: d' (0 guesses), criterion (above 0 says "real" more readily), median seconds."""

    d_prime: float
    criterion: float = 0.0
    seconds: float = 12.0


def rehearse(source: RunClips, target: Path, progress: Progress | None = None) -> Study:
    """Make a study in `target` and have it answered by readers of the skill `study.rehearsal`.

    An earlier rehearsal is replaced; StudyError where a person has answered in that folder.
    """
    skills = [SimulatedReader(d_prime) for d_prime in source.params.study.rehearsal]
    names = [f"simulated-{i}" for i in range(1, len(skills) + 1)]
    if target.exists():
        _remove_rehearsal(target)
    create_study(source, names, target, {"rehearsal": True}, progress)
    study = load_study(target)
    simulate(study, skills, source.params.seed)
    return study


def _remove_rehearsal(target: Path) -> None:
    store = AnswerStore(load_study(target).answers_file)
    try:
        people = [row for row in store.rows() if row["source"] != "simulated"]
    finally:
        store.close()
    if people:
        raise StudyError(f"{target}: {len(people)} answers of people; a rehearsal goes elsewhere")
    shutil.rmtree(target)


def recovery(skills: Sequence[float], found: Mapping[str, Any]) -> pd.DataFrame:
    """Declared d' beside what `analysis.analyse` found, a row a simulated reader."""
    rows = []
    for declared, (name, scores) in zip(skills, found["readers"].items(), strict=True):
        low, high = scores["d_prime_interval"]
        rows.append(
            {
                "reader": name, "declared d'": declared, "found d'": scores["d_prime"],
                "low": low, "high": high, "within": bool(low <= declared <= high),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def simulate(study: Study, skills: Sequence[SimulatedReader], seed: int) -> None:
    """Answer a whole study, one skill a reader in order; every answer goes through the store."""
    trials = load_key(study.directory).trials
    store = AnswerStore(study.answers_file)
    try:
        for place, (reader, skill) in enumerate(zip(study.readers, skills, strict=True)):
            rows = trials[trials["reader"] == reader]
            for answer in answers_of(rows, skill, (seed, place), study.settings.confidence):
                store.save(answer)
    finally:
        store.close()


def answers_of(
    trials: pd.DataFrame, skill: SimulatedReader, address: tuple[int, int], confidence: bool = False
) -> list[Answer]:
    """The answers of one reader to rows of a study's key; `address`: the seed and the place."""
    seed, place = address
    found = []
    for row in trials.sort_values("position").to_dict("records"):
        position = int(row["position"])
        rng = numpy_generator(seed, "simulated moment", place, position)
        noise = [
            _noise(seed, "clip", row["shown"]),
            _noise(seed, f"reader {place}", row["shown"]),
            float(rng.standard_normal()),
        ]
        spread = float(np.sqrt(SHARES) @ noise)
        seconds = skill.seconds * float(np.exp(0.5 * rng.standard_normal()))
        found.append(
            Answer(
                str(row["reader"]), position, str(row["trial"]),
                _decide(row["truth"], spread, skill),
                hashlib.sha256(f"{row['trial']}".encode()).hexdigest()[:32],
                round(1000 * max(seconds, 1.0)), int(rng.integers(1, 6)) if confidence else None,
                source="simulated",
            )
        )  # fmt: skip
    return found


def _decide(truth: str, noise: float, skill: SimulatedReader) -> str:
    if truth in ("left", "right"):  # the difference of two clips: d' sqrt(2) apart
        other = {"left": "right", "right": "left"}[truth]
        return truth if skill.d_prime / np.sqrt(2) + noise > 0 else other
    middle = skill.d_prime / 2 * (1 if truth == "generated" else -1)
    return "generated" if middle + noise > skill.criterion else "real"


def _noise(seed: int, whose: str, files: str) -> float:
    """The same for the same clip."""
    return float(numpy_generator(seed, f"simulated {whose} {files}").standard_normal())
