"""Answers that come back as a file: checked, then merged into the study's own."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from echocascade.studies.expert.answers import Answer, AnswerStore
from echocascade.studies.expert.folder import Link, Study
from echocascade.studies.expert.submitted import SubmissionError, read_submission

FORMAT = 1
MAX_BYTES = 8 * 2**20


class ImportFileError(ValueError):
    """A file of answers that is not taken; the message says what is wrong with it."""


@dataclass(frozen=True)
class Imported:
    """What became of a file: answers that are new, that were there, that came second."""

    reader: str
    new: int
    known: int
    second: int


def import_file(
    path: Path, study: Study, links: Mapping[str, Link], store: AnswerStore
) -> Imported:
    """Merge one signed file; nothing is written unless all of it is in order.

    The first answer to a trial counts: where the study has another already, it stays.

    Raises:
        ImportFileError: no such file, of another study, a wrong signature, an answer that is none.
        NotSavedError: the study's own file could not be written.
    """
    answers = read_file(path, study, links)
    before = {(row["reader"], row["position"]): row["attempt"] for row in store.rows()}
    counts = {"new": 0, "known": 0, "second": 0}
    for answer in answers:
        first = store.save(answer)
        if (answer.reader, answer.position) not in before:
            counts["new"] += 1
        else:
            counts["known" if first else "second"] += 1
    return Imported(answers[0].reader, **counts)


def read_file(path: Path, study: Study, links: Mapping[str, Link]) -> list[Answer]:
    """The answers of a signed file, checked against the study."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImportFileError(f"{path}: more than {MAX_BYTES} bytes")
        outer = json.loads(path.read_bytes())
        payload, signature = outer["payload"], outer["signature"]
        content = json.loads(payload)
        reader, found = content["reader"], content["answers"]
        if not isinstance(reader, str) or not isinstance(payload, str):
            raise TypeError("texts are wanted")
        made_for = (content["format"], content["study"], content["digest"])
    except OSError as error:
        raise ImportFileError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ImportFileError(f"{path}: not a file of answers") from None
    if reader not in links or reader not in study.readers:
        raise ImportFileError(f"{path}: a reader that this study does not have")
    if not isinstance(signature, str) or not _signed(payload, signature, links[reader]):
        raise ImportFileError(
            f"{path}: the signature does not hold; the file was changed or damaged on its way, or "
            "belongs to another study"
        )
    if made_for != (FORMAT, study.settings.study, study.digest()):
        raise ImportFileError(f"{path}: made for another study than the one in this folder")
    if not isinstance(found, list) or not found:
        raise ImportFileError(f"{path}: no answer in it")
    return [_answer(path, entry, i, study, reader) for i, entry in enumerate(found)]


def sign(payload: str, link: Link) -> str:
    """HMAC-SHA-256 of a payload with a reader's key, as the page computes it."""
    return hmac.new(link.signing_key.encode(), payload.encode(), hashlib.sha256).hexdigest()


def _signed(payload: str, signature: str, link: Link) -> bool:
    return hmac.compare_digest(sign(payload, link).encode(), signature.encode())


def _answer(path: Path, entry: object, number: int, study: Study, reader: str) -> Answer:
    places = {trial.id: i for i, trial in enumerate(study.readers[reader].trials)}
    trial = entry.get("trial") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(trial, str) or trial not in places:
        raise ImportFileError(f"{path}: answer {number + 1} is to no trial of {reader}")
    try:
        return read_submission(entry, study, reader, places[trial], "file")
    except SubmissionError as error:
        raise ImportFileError(f"{path}: answer {number + 1}: {error}") from None
