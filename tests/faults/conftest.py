"""Faults that are real: processes killed, disks filled, bits flipped; and a count of them."""

import multiprocessing
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

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


@pytest.fixture
def small_disk(tmp_path):
    """Make a real disk (tmpfs) of so many bytes, or a read-only one."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted: list[Path] = []

    def mount(size: int, read_only: bool = False) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        options = f"size={size}" + (",ro" if read_only else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
