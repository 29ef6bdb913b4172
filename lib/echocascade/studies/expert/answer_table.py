"""The answers of a study beside the truth, a row an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from echocascade.params import StudyParams
from echocascade.studies.expert.answers import FILE, AnswerStore
from echocascade.studies.expert.detection import NAN
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.expert.folder import Study, load_key

ONES = ("generated", "left")  # the answer that counts as 1 in a matrix of ratings
CANNOT = "cannot judge"


@dataclass(frozen=True)
class Answers:
    """The answers of a study beside the truth.

    `table`, a row an answer: reader, position, role, kind, truth, files, answer, correct (NaN for
    "cannot judge"), seconds, confidence, lvef_requested (of the generated clip), source. `asked`:
    trials a reader, practice left out. `params`: the study's own.
    """

    table: pd.DataFrame
    mode: str
    params: StudyParams
    asked: Mapping[str, int]
    seed: int
    phantom: bool

    @property
    def simulated(self) -> bool:
        """Whether any answer was given by a program."""
        return bool((self.table["source"] == "simulated").any())

    def main(self) -> pd.DataFrame:
        """Answers that count: no practice, no repeats, nothing that could not be judged."""
        rows = self.table[(self.table["role"] == "main") & (self.table["answer"] != CANNOT)]
        return rows.assign(correct=rows["correct"].astype(bool))


def load_answers(study: Study) -> Answers:
    """Answers, and the key, of a study's folder; StudyError where nobody has answered."""
    store = AnswerStore(study.answers_file)
    try:
        rows = store.rows()
    finally:
        store.close()
    if not rows:
        raise StudyError(f"{study.directory}: no answers yet")
    key = load_key(study.directory)
    generated = key.clips[key.clips["kind"] != "real"]
    requested = dict(zip(generated["file"], generated.get("lvef_requested", ()), strict=False))
    found = pd.DataFrame(rows)[["reader", "position", "answer", "confidence", "source"]]
    found = found.assign(seconds=[_seconds(row["response_ms"]) for row in rows])
    table = found.merge(key.trials, on=["reader", "position"], how="inner", validate="1:1")
    right = (table["answer"] == table["truth"]).astype(float)
    table["correct"] = right.where(table["answer"] != CANNOT)
    table["lvef_requested"] = [
        next((requested[name] for name in files.split() if name in requested), NAN)
        for files in table["files"]
    ]
    asked = key.trials[key.trials["role"] != "practice"].groupby("reader").size()
    design = key.design
    return Answers(
        table, study.settings.mode, StudyParams.model_validate(design["study"]),
        {str(name): int(n) for name, n in asked.items()}, int(str(design["seed"])),
        study.settings.phantom,
    )  # fmt: skip


def people_answered(directory: Path) -> bool:
    """Whether a folder holds a study that a person has answered in."""
    if not (directory / FILE).is_file():
        return False
    store = AnswerStore(directory / FILE)
    try:
        return any(row["source"] != "simulated" for row in store.rows())
    finally:
        store.close()


def _seconds(milliseconds: object) -> float:
    return float(milliseconds) / 1000 if isinstance(milliseconds, (int, float)) else NAN
