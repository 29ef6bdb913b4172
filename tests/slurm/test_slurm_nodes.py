"""One stage over two nodes of a real Slurm, one process on each: the training of one process.

    make test-slurm

The two nodes are two daemons on this machine, so what is not tested is a network between them.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from cluster import PROFILE, Cluster, missing

from echocascade.cascade.checkpoint import latest_checkpoint
from echocascade.cascade.claim import owner_of
from echocascade.cascade.training import train_stage
from echocascade.params import Params, load_params
from echocascade.report.runs import OUTPUTS, ROOT

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif("ECHOCASCADE_SLURM" not in os.environ, reason="make test-slurm runs it"),
]

LOSS_TOLERANCE = 1e-6  # as in tests/cascade/test_nodes.py: the same numbers, added in another order
STEPS = 8
TRAIN = """\
import sys
from pathlib import Path
from echocascade.cascade.launch import train_on_devices
from echocascade.data.clips import ClipStore
from echocascade.params import load_params
params, store, run = map(Path, sys.argv[1:])
train_on_devices(load_params(params), 0, ClipStore.open(store), run)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    problem = missing()
    if problem:
        pytest.skip(problem)
    slurm = Cluster(tmp_path_factory.mktemp("slurm"), cores=1, nodes=2)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture(autouse=True)
def nothing_left_running(cluster):
    """A test that failed must not keep the nodes from the next."""
    yield
    cluster.ask("scancel", "--user=root")


def with_training(params: Params, nodes: int, **training) -> Params:
    """A base on as many devices as nodes that saves every step."""
    tree = params.model_dump()
    tree["devices"] = tree["nodes"] = nodes
    tree["cascade"]["stages"][0]["training"].update(
        {"steps": STEPS, "validate_times": STEPS, "checkpoint_minutes": 1e-9, **training}
    )
    return Params.model_validate(tree)


class Submitted:
    """A job that trains the base of `params` in `run`."""

    def __init__(self, cluster: Cluster, params: Params, store: Path, run: Path) -> None:
        self.cluster, self.run, self.output = cluster, run, run / "job.txt"
        (run / "params.yaml").write_text(params.dump_yaml())
        (run / "train.py").write_text(TRAIN)
        command = f"{sys.executable} {run}/train.py {run}/params.yaml {store} {run}"
        done = subprocess.run(
            ["sbatch", "--parsable", f"--nodes={params.nodes}", f"--ntasks={params.nodes}",
             "--gres=gpu:1", "--mem=2000", "--no-requeue", f"--output={self.output}",
             f"--wrap={command}"],
            env={**cluster.environment, "ECHOCASCADE_THREADS": "1", "OMP_NUM_THREADS": "1"},
            text=True, capture_output=True, check=True,
        )  # fmt: skip
        self.number = done.stdout.strip()

    def state(self) -> str:
        return re.search(
            r"JobState=(\S+)", self.cluster.ask("scontrol", "show", "job", self.number)
        )[1]

    def wait(self, patience_s: float = 240) -> str:
        """The job's last state."""
        self._wait_for(lambda: self.state() not in ("PENDING", "RUNNING", "COMPLETING"), patience_s)
        return self.state()

    def wait_for_checkpoint(self, patience_s: float = 240) -> None:
        base = self.run / "checkpoints" / "base"
        self._wait_for(lambda: any(base.glob("step-*")), patience_s)

    def _wait_for(self, what, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        while not what():
            assert time.monotonic() < until, self.said()
            time.sleep(0.5)

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else "nothing"


def test_two_nodes_give_the_loss_curve_of_one_process(cluster, tiny_params, tiny_store, tmp_path):
    job = Submitted(cluster, with_training(tiny_params, 2), tiny_store.directory, tmp_path)
    assert job.wait() == "COMPLETED", job.said()
    alone = train_stage(with_training(tiny_params, 1), 0, tiny_store, tmp_path / "alone")
    together, warnings = latest_checkpoint(tmp_path / "checkpoints" / "base")
    assert together.finished and together.meta["processes"] == 2 and warnings == []
    for what in ("training_loss", "validation_loss"):
        expected = pytest.approx([entry[what] for entry in alone.history], rel=LOSS_TOLERANCE)
        assert [entry[what] for entry in together.history] == expected
    assert len(together.history) == STEPS
    for node in cluster.nodes:  # one task on each
        daemon = (cluster.folder / "log" / f"slurmd-{node}.log").read_text()
        assert f"launch task StepId={job.number}.0" in daemon


@pytest.mark.parametrize("how", ["warned", "preempted"])
def test_what_reaches_the_job_stops_all_nodes_with_everything_saved(
    cluster, tiny_params, tiny_store, tmp_path, how
):
    """A warning before the time limit (SIGUSR1) reaches the step alone; a preemption all of it."""
    params = with_training(tiny_params, 2, steps=100_000)
    job = Submitted(cluster, params, tiny_store.directory, tmp_path)
    job.wait_for_checkpoint()
    if how == "warned":
        cluster.ask("scancel", "--signal=USR1", job.number)
    else:
        cluster.ask("sbatch", "--partition=urgent", "--nodes=2", "--exclusive",
                    "--output=/dev/null", "--wrap=sleep 2")  # fmt: skip
    job.wait()
    stopped = re.search(r"Interrupted: stage base stopped at step (\d+), saved", job.said())
    assert stopped is not None, job.said()
    directory = tmp_path / "checkpoints" / "base"
    checkpoint, _ = latest_checkpoint(directory)
    assert checkpoint.step == int(stopped[1]) and not checkpoint.finished
    assert owner_of(directory) is None


def test_a_process_that_dies_on_one_node_ends_the_training_on_both(
    cluster, tiny_params, tiny_store, tmp_path
):
    """Within seconds, and not when a collective operation has waited long enough."""
    params = with_training(tiny_params, 2, steps=100_000)
    job = Submitted(cluster, params, tiny_store.directory, tmp_path)
    job.wait_for_checkpoint()
    trainer = trainer_on_node(1)
    assert trainer is not None
    os.kill(trainer, signal.SIGKILL)
    killed = time.monotonic()
    assert job.wait() == "FAILED"
    assert time.monotonic() - killed < 60
    assert "LaunchError: training failed" in job.said()
    assert trainer_on_node(0) is None


def trainer_on_node(number: int) -> int | None:
    """The process of a step that trains there."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if environment.get("SLURM_NODEID") == str(number) and "LOCAL_RANK" in environment:
                return process.pid
    return None


THREADS = """\
set-threads: {data_preparation: 1, train_base: 1}
"""
CHANGES = ["devices=2", "nodes=2", "cascade.stages.base.training.checkpoint_minutes=1e-9"]


def test_the_workflow_asks_for_the_nodes_of_the_parameters(root, cluster, tmp_path):
    """The base's notebook is warned on the way and submitted again."""
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(PROFILE + THREADS)
    run = tmp_path / "outputs" / "two"
    run.mkdir(parents=True)
    params = load_params(root / "params" / "ci.yaml", CHANGES)
    (run / "params.yaml").write_text(params.dump_yaml())
    (run / "provenance.json").write_text("{}")
    watching = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--snakefile", str(root / "workflow" / "Snakefile"),
         "--directory", str(run), "--workflow-profile", str(tmp_path / "profile"),
         "results/04_train_base.json"],
        env={**cluster.environment, ROOT: str(root), OUTPUTS: str(run.parent),
             "ECHOCASCADE_THREADS": "1", "OMP_NUM_THREADS": "1"},
        cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    asked = None
    while watching.poll() is None and asked is None:
        training = [job for job, rule in cluster.jobs().items() if "train_base" in rule]
        if training and any((run / "checkpoints" / "base").glob("step-*")):
            asked = cluster.ask("scontrol", "--detail", "show", "job", training[0])
            cluster.ask("scancel", "--signal=USR1", training[0])
        time.sleep(0.2)
    said, _ = watching.communicate()
    assert watching.returncode == 0, said[-4000:]
    assert asked is not None and "NumNodes=2" in asked and "TresPerNode=gres:gpu:1" in asked, asked
    checkpoint, _ = latest_checkpoint(run / "checkpoints" / "base")
    assert checkpoint.finished and checkpoint.meta["processes"] == 2
