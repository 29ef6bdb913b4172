"""A request to stop, from a person or a scheduler, as a flag that training looks at."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

WARNINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(RuntimeError):  # noqa: N818
    """Training was asked to stop; it has saved a checkpoint, and the same call goes on."""


class StopSignal:
    """Turns SIGINT, SIGTERM and SIGUSR1 (a scheduler's warning) into a flag inside the block.

    `then` is called at once, from the signal handler, the first time.
    """

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.received = False
        self._then = then
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        for number in WARNINGS:
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                return self
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.received = not self.received, True
        if first and self._then is not None:
            self._then()

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
