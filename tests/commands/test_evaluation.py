"""`echocascade evaluate` and `weights`: shares, a killed process, and files that are not there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from echocascade.cli import app


class Run:
    """A run folder with everything that `evaluate` needs, under a root of its own."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.directory = root / "outputs" / name
        self.samples = self.directory / "samples" / "evaluation"
        self.environment = {
            **os.environ, "ECHOCASCADE_ROOT": str(root), "OMP_NUM_THREADS": "1",
            "ECHOCASCADE_OUTPUTS": str(root / "outputs"), "TORCH_HOME": str(root / "no-cache"),
        }  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "echocascade.cli", *arguments]

    def cli(self, *arguments: str) -> Result:
        """The command line in this process: starting another takes most of a test's time."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("ECHOCASCADE_ROOT", "ECHOCASCADE_OUTPUTS", "TORCH_HOME"):
                patch.setenv(name, self.environment[name])
            patch.setattr(torch.hub, "_hub_dir", None)
            return CliRunner().invoke(app, list(arguments))

    def evaluate(self, *arguments: str) -> Result:
        return self.cli("evaluate", self.name, *arguments)

    def units(self) -> dict[str, tuple[int, int]]:
        """Every finished file of the samples with its inode and time: another one was made anew."""
        found = [
            *self.samples.glob("*/[!.]*.npz"),
            *self.samples.glob("*/measured-*/[!.]*-draw*.csv"),
        ]
        return {
            str(path.relative_to(self.samples)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in found
        }

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.directory / "tables" / "scores.csv")


@pytest.fixture(scope="module")
def trained_root(tiny_params, tmp_path_factory):
    """Params, prepared clips and checkpoints of the pulsating rings."""
    from echocascade.cascade.training import train_stage
    from echocascade.data.prepare import prepare_data
    from echocascade.evaluation.judge import train_judge

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("root")
    for name in ("params", "notebooks"):
        (root / name).mkdir()
    evaluation = tiny_params.evaluation.model_copy(update={"batch_size": 2, "bootstrap": 50})
    regressor = tiny_params.regressor.model_copy(update={"steps": 4, "preset": "tiny"})
    params = tiny_params.model_copy(update={"evaluation": evaluation, "regressor": regressor})
    store = prepare_data(params, root / "data")
    for index, stage in enumerate(params.cascade.stages):
        train_stage(params, index, store, root / "checkpoints" / stage.name)
    train_judge(params, store, root / "checkpoints" / "regressor")
    (root / "params.yaml").write_text(params.dump_yaml())
    return root


@pytest.fixture
def new_run(trained_root):
    """A function that makes a run of that root, not evaluated yet."""

    def make(name: str) -> Run:
        run = Run(trained_root, name)
        (run.directory / "tables").mkdir(parents=True)
        (run.directory / "params.yaml").write_text((trained_root / "params.yaml").read_text())
        (run.directory / "checkpoints").symlink_to(trained_root / "checkpoints")
        guidance = pd.DataFrame({"scale": [1.0, 1.5], "chosen": [False, True]})
        guidance.to_csv(run.directory / "tables" / "guidance.csv", index=False)
        return run

    return make


@pytest.fixture(scope="module")
def undisturbed(trained_root):
    """The table of a run that nothing disturbed; made once."""
    made: list[pd.DataFrame] = []

    def table(new_run) -> pd.DataFrame:
        if not made:
            run = new_run("undisturbed")
            done = run.evaluate()
            assert done.exit_code == 0, done.stderr
            made.append(run.table)
        return made[0]

    return table


def test_a_killed_evaluation_goes_on_without_repeating_or_losing_a_sample(new_run, undisturbed):
    run = new_run("killed")
    killed: list[dict[str, tuple[int, int]]] = []
    for wanted in (3, 9):  # files that must be there before the next SIGKILL
        process = subprocess.Popen(
            run.command("evaluate", run.name), env=run.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while len(run.units()) < wanted and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed.append(run.units())
    assert not (run.directory / "tables" / "scores.csv").exists()
    done = run.evaluate("--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["units"], found["missing"]) == (12, 0)
    for before in killed:  # what was finished is the same file
        assert before.items() <= run.units().items()
    assert len(run.units()) == 24  # videos and a table each
    assert list(run.samples.rglob(".*")) == []  # no leftovers of the writers that were killed
    pd.testing.assert_frame_equal(run.table, undisturbed(new_run))
    counts = run.table.groupby(["task", "FileName", "draw"]).size()
    assert (counts == 1).all() and len(counts) == 2 * 4 * 3


def test_chunks_in_any_order_merge_to_the_same_table(new_run, undisturbed):
    run = new_run("chunked")
    for share, missing in ((2, 8), (3, 4)):
        done = run.evaluate("--chunk", f"{share}/3", "--json")
        found = json.loads(done.stdout)
        assert (found["units"], found["missing"], found["scores"]) == (12, missing, {})
    last = run.evaluate("--chunk", "1/3", "--json")
    found = json.loads(last.stdout)
    assert (found["done"], found["missing"]) == (12, 0)
    assert set(found["scores"]) == {"generation", "reconstruction"}
    assert found["scores"]["generation"]["regressor"]["rules"]["single"]["N"] == 4
    pd.testing.assert_frame_equal(run.table, undisturbed(new_run))


def test_a_second_evaluation_makes_nothing_again(new_run):
    run = new_run("twice")
    assert run.evaluate("--task", "generation").exit_code == 0
    before = run.units()
    again = run.evaluate("--task", "generation")
    assert again.exit_code == 0 and run.units() == before
    assert "6 of 6 units are made and measured" in again.stdout
    assert set(run.table.task) == {"generation"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--chunk", "4/3"), "1/n to n/n"),
        (("--chunk", "half"), "1/n to n/n"),
        (("--task", "factual"), "allowed are reconstruction, generation"),
    ],
)
def test_bad_shares_and_tasks_are_one_line_and_status_2(new_run, arguments, word):
    run = new_run(f"bad-{arguments[1].replace('/', '-')}")
    done = run.evaluate(*arguments)
    assert done.exit_code == 2 and done.stdout == ""
    assert word in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_guidance_is_chosen_once_and_told_in_words_and_in_json(new_run):
    run = new_run("guided")
    path = run.directory / "tables" / "guidance.csv"
    path.unlink()
    first = run.cli("guidance", run.name)
    assert first.exit_code == 0, first.stderr
    assert first.stdout.count("on 4 VAL clips") == 2 and first.stdout.count(", chosen") == 1
    kept = path.read_bytes()
    again = run.cli("guidance", run.name, "--json")
    assert again.exit_code == 0 and path.read_bytes() == kept  # its times, too: not made again
    scales = json.loads(again.stdout)["scales"]
    assert [row["scale"] for row in scales] == [1.0, 1.5]
    assert sum(row["chosen"] for row in scales) == 1
    unknown = run.cli("guidance", "no-such-run")
    assert unknown.exit_code == 2 and len(unknown.stderr.strip().splitlines()) == 1


def test_weights_check_names_what_is_missing_and_refuses_another_file(trained_root, tmp_path):
    run = Run(trained_root, "weights")

    def check(*arguments: str) -> Result:
        return run.cli("weights", "check", str(tmp_path), *arguments)

    nothing = check()
    assert nothing.exit_code == 0
    assert nothing.stdout.count("missing") == 5 and "i3d_torchscript.pt: FVD" in nothing.stdout
    (tmp_path / "i3d_torchscript.pt").write_bytes(np.arange(9).tobytes())
    (tmp_path / "r2plus1d_18_32_2_pretrained.pt").write_bytes(b"of no known digest")
    wrong = check("--json")
    assert wrong.exit_code == 2 and "not the published file: i3d_torchscript.pt" in wrong.stderr
    states = {f["name"]: f["state"] for f in json.loads(wrong.stdout)["files"]}
    assert states["i3d"] == "different" and states["echonet"] == "present"
    assert states["vgg16"] == "missing"
