"""The `ci` run, killed at random instants and started again, ends as an undisturbed one.

    make soak KILLS=20

Half of the kills take the whole run at once, as a node that fails does; half take the first process
alone, and what it started must go by itself. Skipped otherwise: it takes as long as several runs.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from undisturbed import assert_same_results

KILLS = int(os.environ.get("ECHOCASCADE_SOAK", "0"))
pytestmark = pytest.mark.skipif(KILLS == 0, reason="make soak runs it")

ORPHANS_GO_WITHIN_S = 60


def command(name: str) -> list[str]:
    return [sys.executable, "-m", "echocascade.cli", "run", "params/ci.yaml", "--name", name]


def environment(outputs: Path) -> dict[str, str]:
    return {**os.environ, "ECHOCASCADE_OUTPUTS": str(outputs)}


def to_the_end(root: Path, outputs: Path, name: str) -> float:
    """Seconds of a run that nothing disturbs."""
    started = time.monotonic()
    done = subprocess.run(
        command(name), cwd=root, env=environment(outputs), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return time.monotonic() - started


def kill_after(root: Path, outputs: Path, name: str, seconds: float, everything: bool) -> bool:
    """Start the run and kill it; whether it was still going on."""
    run = subprocess.Popen(
        command(name), cwd=root, env=environment(outputs), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        run.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        pass
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGKILL)
    if everything:
        for process in started:
            if process.is_running():
                process.kill()
    run.wait()
    _, left = psutil.wait_procs(started, timeout=ORPHANS_GO_WITHIN_S)
    assert left == [], f"still there after {ORPHANS_GO_WITHIN_S} s: {[p.cmdline() for p in left]}"
    return True


def test_runs_killed_again_and_again_end_as_an_undisturbed_one(root, tmp_path):
    chance = random.Random(20)
    whole = to_the_end(root, tmp_path, "undisturbed")
    killed, runs = 0, ["killed-1"]
    while killed < KILLS:
        # a few seconds, or as long as the run itself needs for two or three notebooks
        seconds = chance.uniform(2, max(whole / 4, 10))
        if kill_after(root, tmp_path, runs[-1], seconds, everything=killed % 2 == 0):
            killed += 1
        else:  # this run has come to its end; the next kills are another's
            runs.append(f"killed-{len(runs) + 1}")
    to_the_end(root, tmp_path, runs[-1])
    print(f"\n{killed} kills of {len(runs)} runs; undisturbed a run takes {whole:.0f} s")
    for name in runs:
        assert_same_results(tmp_path / name, tmp_path / "undisturbed")
