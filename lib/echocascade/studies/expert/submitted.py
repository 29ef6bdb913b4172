"""An answer as a page sends it, checked field by field."""

import re
from collections.abc import Mapping

from echocascade.studies.expert.answers import Answer
from echocascade.studies.expert.folder import Study

FIELDS = {"trial", "answer", "attempt", "response_ms", "confidence", "detail"}
DETAILS = {"plays", "pauses", "hidden_ms", "first_frame_ms", "width", "height", "page"}
CONFIDENCE = range(1, 6)
DAY_MS = 24 * 3600 * 1000
_ATTEMPT = re.compile(r"[0-9a-f]{16,64}")


class SubmissionError(ValueError):
    """An answer that is not one; the message says which field, not what was in it."""


def read_submission(
    body: Mapping[str, object], study: Study, reader: str, position: int, source: str = "room"
) -> Answer:
    """The answer in a JSON object that a page sent for a reader's trial at `position`.

    Raises:
        SubmissionError: a field is missing, unknown or not what it may be.
    """
    if not set(body) <= FIELDS:
        raise SubmissionError("a field that no answer has")
    trial, answer, attempt = body.get("trial"), body.get("answer"), body.get("attempt")
    if trial != study.readers[reader].trials[position].id:
        raise SubmissionError("trial: not the one at this position")
    if answer not in study.allowed_answers():
        raise SubmissionError(f"answer: allowed are {', '.join(study.allowed_answers())}")
    if not isinstance(attempt, str) or not _ATTEMPT.fullmatch(attempt):
        raise SubmissionError("attempt: 16 to 64 hexadecimal digits")
    response_ms = _number(body.get("response_ms"), "response_ms", 0, DAY_MS)
    confidence = body.get("confidence")
    if confidence is not None and (type(confidence) is not int or confidence not in CONFIDENCE):
        raise SubmissionError("confidence: 1 to 5")
    if confidence is None and study.settings.confidence and answer != "cannot judge":
        raise SubmissionError("confidence: this study asks for it, 1 to 5")
    return Answer(
        reader, position, str(trial), str(answer), attempt, response_ms,
        confidence if study.settings.confidence else None, _detail(body.get("detail")), source,
    )  # fmt: skip


def _detail(found: object) -> dict[str, object]:
    """What the page noted: known names, numbers."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not set(found) <= DETAILS:
        raise SubmissionError("detail: an object with known names")
    return {name: _number(value, f"detail.{name}", 0, DAY_MS) for name, value in found.items()}


def _number(value: object, name: str, low: float, high: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SubmissionError(f"{name}: a number")
    if not low <= value <= high:  # NaN is not, and a huge integer never becomes a float
        raise SubmissionError(f"{name}: {low:g} to {high:g}")
    return float(value)
