"""Faults that are real: processes killed, disks filled, bits flipped; and a count of them."""

import multiprocessing
from collections import Counter
from collections.abc import Callable

import pytest

TALLY: Counter[str] = Counter()


@pytest.fixture
def tally() -> Counter[str]:
    """Count what was injected: tally["kills"] += 1; the last lines of the test run sum it up."""
    return TALLY


def pytest_terminal_summary(terminalreporter):
    if TALLY:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(TALLY.items()))
        terminalreporter.write_line(f"faults injected and survived: {counts}")


@pytest.fixture
def in_process():
    """Start a function in a process of its own (a fork: what is imported need not be again)."""
    started = []

    def start(work: Callable[..., None], *arguments: object) -> multiprocessing.Process:
        process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()
