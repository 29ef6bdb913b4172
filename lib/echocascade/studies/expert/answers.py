"""The answers of a study on disk: one row a trial, the first one counts, none is confirmed early.

SQLite with a write-ahead log and ``synchronous = FULL``: when `save` has returned, the answer
survives a killed process and a power cut.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "answers.sqlite"
BUSY_SECONDS = 2.0
MAX_EVENTS = 5000  # a reader's; more is noise, and the file may not grow without end
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    reader TEXT NOT NULL,
    position INTEGER NOT NULL,
    trial TEXT NOT NULL,
    answer TEXT NOT NULL,
    confidence INTEGER,
    response_ms REAL,
    detail TEXT NOT NULL,
    attempt TEXT NOT NULL,
    source TEXT NOT NULL,
    received TEXT NOT NULL,
    PRIMARY KEY (reader, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    reader TEXT NOT NULL,
    received TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
"""


class NotSavedError(RuntimeError):
    """An answer that is not on disk: the disk is full, the file is locked or damaged."""


@dataclass(frozen=True)
class Answer:
    """One answer: `attempt` names the click, so that the same click sent twice is known.

    response_ms: from the first frame that could be seen to the answer. detail: what else the page
    noted (plays, pauses, seconds hidden, screen). source: "room", "file" or "simulated".
    """

    reader: str
    position: int
    trial: str
    answer: str
    attempt: str
    response_ms: float | None = None
    confidence: int | None = None
    detail: Mapping[str, object] | None = None
    source: str = "room"


class AnswerStore:
    """The answers of one study; safe to use from several threads and processes."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open `path`; without `create` a missing file is NotSavedError, not an empty study."""
        self.path = path
        self._lock = threading.Lock()
        if not create and not path.is_file():
            raise NotSavedError(f"{path.name}: no such file")
        self._connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        with self._failing_clearly():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            if create:
                path.chmod(0o600)
            self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def save(self, answer: Answer) -> bool:
        """Write an answer unless its trial has one; True if what is on disk now is this click's.

        Raises NotSavedError, and then nothing was written.
        """
        row = (
            answer.reader, answer.position, answer.trial, answer.answer, answer.confidence,
            answer.response_ms, json.dumps(answer.detail or {}, sort_keys=True), answer.attempt,
            answer.source, now(),
        )  # fmt: skip
        with self._failing_clearly():
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT OR IGNORE INTO answers VALUES ({marks})", row)
            found = self._connection.execute(
                "SELECT attempt FROM answers WHERE reader = ? AND position = ?", row[:2]
            ).fetchone()
        return bool(found[0] == answer.attempt)

    def note(self, reader: str, what: str, detail: str = "") -> None:
        """Keep that something happened, with the time; the oldest are not replaced."""
        with self._failing_clearly():
            self._connection.execute(
                "INSERT INTO events SELECT ?, ?, ?, ? WHERE"
                " (SELECT count(*) FROM events WHERE reader = ?) < ?",
                (reader, now(), what, detail[:200], reader, MAX_EVENTS),
            )

    def answered(self, reader: str) -> set[int]:
        """Positions of the trials that a reader has answered."""
        with self._failing_clearly():
            rows = self._connection.execute(
                "SELECT position FROM answers WHERE reader = ?", (reader,)
            ).fetchall()
        return {int(position) for (position,) in rows}

    def rows(self) -> list[dict[str, object]]:
        """All answers, by reader and position, a column each; `detail` is parsed."""
        names = [*asdict(Answer("", 0, "", "", "")), "received"]
        with self._failing_clearly():
            found = self._connection.execute(
                f"SELECT {', '.join(names)} FROM answers ORDER BY reader, position"
            ).fetchall()
        table = [dict(zip(names, row, strict=True)) for row in found]
        return [row | {"detail": json.loads(str(row["detail"]))} for row in table]

    def events(self) -> list[tuple[str, str, str]]:
        """Reader, what happened, detail, in order."""
        with self._failing_clearly():
            return self._connection.execute(
                "SELECT reader, what, detail FROM events ORDER BY rowid"
            ).fetchall()

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise NotSavedError(f"{self.path.name}: {error}") from error


def stamp(study: Path) -> str:
    """A short hash of the answers in a study folder, empty where there is none: for a workflow."""
    path = study / FILE
    if not path.is_file():
        return ""
    store = AnswerStore(path)
    try:
        facts = json.dumps([[r["reader"], r["position"], r["attempt"]] for r in store.rows()])
    finally:
        store.close()
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
