"""The `ci` run through a real Slurm, disturbed on the way, ends with the numbers of a local run.

    make test-slurm

installs Slurm where it can, starts it on this machine, and runs this; elsewhere it is skipped.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import PROFILE, Cluster, missing

from undisturbed import assert_same_results

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif("ECHOCASCADE_SLURM" not in os.environ, reason="make test-slurm runs it"),
]

THREADS = """\
set-threads: {data_preparation: 1, lvef_regressor: 1, train_base: 1, train_super_resolution: 1,
  guidance: 1, sampling: 1, evaluation_chunk: 1, counterfactual_evaluation: 1,
  downstream_rebalancing: 1, overview: 1}
set-resources:
  train_base: {gpu: 1}
"""
CHANGES = ["--set", "cascade.stages.base.training.steps=150"]  # long enough to be disturbed


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    problem = missing()
    if problem:
        pytest.skip(problem)
    slurm = Cluster(tmp_path_factory.mktemp("slurm"), cores=2)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


class Disturbances:
    """What befalls the jobs while the run goes on; each once, when its job is under way."""

    def __init__(self, cluster: Cluster, run: Path) -> None:
        self.cluster, self.run = cluster, run
        self.left: dict[str, Callable[[str], None]] = {
            "lvef_regressor": self._restart_controller,
            "train_base": self._warn,
            "train_super_resolution": self._preempt,
            "evaluation_chunk": self._kill,
        }
        self.done: list[str] = []
        self.ended = threading.Event()

    def watch(self) -> None:
        while not self.ended.wait(0.5):
            for job, comment in self.cluster.jobs().items():
                rule = next((r for r in self.left if r in comment), None)
                if rule is not None and self._under_way(rule):
                    self.left.pop(rule)(job)
                    self.done.append(rule)

    def _under_way(self, rule: str) -> bool:
        """Whether the rule's notebook has told of progress, or a chunk has made something."""
        if rule == "evaluation_chunk":
            return any(self.run.glob("samples/evaluation/*/*"))
        names = {"lvef_regressor": "03", "train_base": "04", "train_super_resolution": "05"}
        return any(
            log.stat().st_size for log in self.run.glob(f"logs/{names[rule]}_*.progress.jsonl")
        )

    def _restart_controller(self, job: str) -> None:
        self.cluster.stop_controller()
        time.sleep(2)
        self.cluster.start_controller()

    def _warn(self, job: str) -> None:
        self.cluster.ask("scancel", "--signal=USR1", job)

    def _preempt(self, job: str) -> None:
        self.cluster.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null",
                         "--wrap=sleep 2")  # fmt: skip
        time.sleep(8)  # a requeued job would wait two minutes
        self.cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _kill(self, job: str) -> None:
        self.cluster.ask("scancel", "--signal=KILL", job)


def start(root: Path, outputs: Path, name: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "echocascade.cli", "run", str(root / "params/ci.yaml"), *CHANGES,
         "--name", name, *arguments],
        env={**os.environ, "ECHOCASCADE_OUTPUTS": str(outputs), "ECHOCASCADE_THREADS": "1",
             "OMP_NUM_THREADS": "1", **environment},
        cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_a_disturbed_run_on_slurm_ends_with_the_numbers_of_a_local_one(
    root, cluster, tmp_path_factory
):
    outputs = tmp_path_factory.mktemp("outputs")
    profile = tmp_path_factory.mktemp("profile")
    (profile / "config.yaml").write_text(PROFILE + THREADS)
    disturbances = Disturbances(cluster, outputs / "slurm")
    watcher = threading.Thread(target=disturbances.watch)
    watcher.start()
    try:
        start(
            root, outputs, "slurm", "--profile", str(profile), "--set", "evaluation.chunks=2",
            **cluster.environment,
        )  # fmt: skip
    finally:
        disturbances.ended.set()
        watcher.join()
    start(root, outputs, "local", "--cores", "1")
    assert sorted(disturbances.done) == [
        "evaluation_chunk", "lvef_regressor", "train_base", "train_super_resolution"
    ]  # fmt: skip
    assert_same_results(outputs / "slurm", outputs / "local")
