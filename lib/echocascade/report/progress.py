"""Progress of long work: reported by a callback, written to a file, drawn on the console.

The library calls ``progress(done, total, note)`` and never prints. In an interactive session the
callback draws a text bar. Under the notebook runner it appends to the file that
``ECHOCASCADE_PROGRESS`` names, and the runner draws it, so that executed notebooks stay clean.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

PROGRESS_FILE = "ECHOCASCADE_PROGRESS"

Progress = Callable[[int, int, str], None]


def format_duration(seconds: float) -> str:
    """A duration in words: "45 s", "1 min 20 s", "2 h 05 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def progress_callback(label: str) -> Progress:
    """The callback for work called `label`: a file under the runner, a text bar otherwise."""
    path = os.environ.get(PROGRESS_FILE)
    return ProgressFile(Path(path), label) if path else TextBar(label)


class TextBar:
    """A tqdm text bar (no widgets: they stay blank in an exported page)."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label = label
        self._stream = stream
        self._bar: tqdm | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total, initial=done, desc=self._label, file=self._stream, mininterval=0.5
            )
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


class ProgressFile:
    """Appends one JSON line per half second, and always the last one."""

    def __init__(self, path: Path, label: str, interval_s: float = 0.5) -> None:
        self._path = path
        self._label = label
        self._interval_s = interval_s
        self._written_at = float("-inf")

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.time()
        if done < total and now - self._written_at < self._interval_s:
            return
        self._written_at = now
        event = {"label": self._label, "done": done, "total": total, "note": note, "time": now}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")


class ProgressConsole:
    """Follows a progress file in a thread and draws it.

    On a terminal one line is redrawn twice a second; elsewhere (a log, CI) a line is printed
    every `interval_s` seconds and when a piece of work ends.
    """

    def __init__(
        self, path: Path, title: str, stream: TextIO | None = None, interval_s: float = 10.0
    ) -> None:
        self._path = path
        self._title = title
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty()
        self._interval_s = 0.5 if self._tty else interval_s
        self._started: dict[str, tuple[float, int]] = {}
        self._drawn_at = time.time() if not self._tty else float("-inf")
        self._offset = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "ProgressConsole":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.poll()

    def _follow(self) -> None:
        while not self._stop.wait(0.25):
            self.poll()

    def poll(self) -> None:
        """Read what was appended since the last call and draw the newest state."""
        newest: dict[str, object] | None = None
        for event in self._new_events():
            label = str(event["label"])
            first = label not in self._started
            if first:
                self._started[label] = (float(event["time"]), int(event["done"]))
            newest = event
            if event["done"] >= event["total"]:
                self._draw(event, final=True)
                del self._started[label]
                newest = None
        if newest is not None and time.time() - self._drawn_at >= self._interval_s:
            self._draw(newest, final=False)

    def _new_events(self) -> list[dict]:
        if not self._path.exists():
            return []
        with self._path.open(encoding="utf-8") as stream:
            stream.seek(self._offset)
            text = stream.read()
        complete, newline, _ = text.rpartition("\n")
        self._offset += len((complete + newline).encode())
        return [json.loads(line) for line in complete.splitlines()]

    def _draw(self, event: dict, final: bool) -> None:
        self._drawn_at = time.time()
        line = f"[{self._title}] {describe(event, *self._started[str(event['label'])])}"
        if self._tty:
            self._stream.write(f"\r\x1b[2K{line}" + ("\n" if final else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def describe(event: dict, started_at: float, started_from: int) -> str:
    """One line for a progress event: label, bar, percentage, counts, note, time left or taken.

    The rate counts only what was done since `started_at`, so a resumed training is not flattered
    by the steps of its first life.
    """
    done, total = int(event["done"]), max(1, int(event["total"]))
    share = min(1.0, done / total)
    filled = round(16 * share)
    bar = "█" * filled + "·" * (16 - filled)
    parts = [f"{event['label']} {bar} {100 * share:3.0f} %  {done}/{total}"]
    if event["note"]:
        parts.append(str(event["note"]))
    elapsed = float(event["time"]) - started_at
    if done >= total:
        parts.append(f"took {format_duration(elapsed)}")
    elif done > started_from and elapsed > 0:
        left = (total - done) * elapsed / (done - started_from)
        parts.append(f"{format_duration(left)} left")
    return "  ".join(parts)
