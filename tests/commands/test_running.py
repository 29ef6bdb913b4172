"""`echocascade run`: what it refuses, and what it hands to the workflow."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from echocascade.commands.running import RunError, prepare_run, slug
from echocascade.params import ParamsError

PARAMS = """\
name: tiny
title: A run for tests
regressor: {preset: tiny, size: 16, n_frames: 8, fps: 4, steps: 2}
cascade:
  stages:
    - {name: base, size: 8, n_frames: 4, fps: 2, training: {steps: 2},
       network: {channel_multipliers: [1, 2]}}
    - {name: tssr, size: 16, n_frames: 8, fps: 4, training: {steps: 2},
       network: {channel_multipliers: [1, 2]}}
"""
WITH_STAGE = ("04_train_base", "05_train_super_resolution")


@pytest.fixture
def project(tmp_path, root, monkeypatch) -> Path:
    """A project with the real workflow and notebooks that only record that they ran.

    The one step that is no notebook needs a trained cascade; here it does nothing.
    """
    shutil.copytree(root / "workflow", tmp_path / "workflow")
    snakefile = tmp_path / "workflow/Snakefile"
    steps = snakefile.read_text().split("{sys.executable} -m echocascade.cli guidance .")
    assert len(steps) == 2
    snakefile.write_text("true".join(steps))
    (tmp_path / "params").mkdir()
    (tmp_path / "params/tiny.yaml").write_text(PARAMS)
    (tmp_path / "notebooks").mkdir()
    for notebook in (root / "notebooks").glob("*.ipynb"):
        write_notebook(tmp_path, notebook.stem)
    monkeypatch.setenv("ECHOCASCADE_ROOT", str(tmp_path))
    monkeypatch.delenv("ECHOCASCADE_OUTPUTS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_notebook(project: Path, name: str, work: str = "pass") -> None:
    parameters = 'params_file = ""\nrun_name = ""\noverrides = []'
    start = (
        "from echocascade.report.runs import start_notebook\n"
        f"run = start_notebook(params_file, run_name, {name!r}, overrides"
    )
    if name in WITH_STAGE:
        parameters, start = parameters + '\nstage = ""', start + ", stage"
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"{start})\n{work}\nrun.record({{'ran': True}})"),
    ]
    nbformat.write(notebook, project / "notebooks" / f"{name}.ipynb")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "echocascade.cli", "run", "params/tiny.yaml", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def executed(output: str) -> list[str]:
    """Names of the notebooks that a run's output says were executed to their end."""
    return [line[1:].partition("]")[0] for line in output.splitlines() if " done in " in line]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"overrides": ["cascade.stages.base.training.step=5"]}, "did you mean 'steps'"),
        ({"overrides": ["regresor.steps=5"]}, "did you mean 'regressor'"),
        ({"profile": "slurmm"}, "there are default"),
        ({"data": Path("nowhere")}, "no FileList.csv"),
        ({"cores": 0}, "at least 1"),
        ({"name": "../x"}, "plain folder name"),
        ({"params_file": "params/tinny.yaml"}, r"params/tiny\.yaml"),
    ],
)
def test_a_mistake_stops_before_anything_is_written(project, arguments, complaint):
    with pytest.raises((ParamsError, RunError), match=complaint):
        prepare_run(**{"params_file": "params/tiny.yaml", **arguments})
    assert not (project / "outputs").exists()


def test_other_data_gets_a_run_folder_of_its_own(project):
    (project / "my hearts").mkdir()
    (project / "my hearts/FileList.csv").touch()
    prepared = prepare_run("params/tiny.yaml", data=Path("my hearts"))
    assert prepared.directory == project / "outputs" / "tiny_my-hearts"
    assert prepared.params.data.root == "my hearts"


@pytest.mark.parametrize(
    ("text", "short"), [("EchoNet-Dynamic", "EchoNet-Dynamic"), ("a b/ç", "a-b"), ("..", "data")]
)
def test_names_of_folders_become_names_of_runs(text, short):
    assert slug(text) == short


def test_a_typo_on_the_command_line_is_one_line_and_status_2(project):
    done = run("--set", "sed=3")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "did you mean 'seed'" in done.stderr


@pytest.mark.notebooks
def test_a_run_does_all_once_then_what_changed_then_says_what_failed(project):
    first = run("--cores", "2")
    assert first.returncode == 0, first.stderr
    assert len(executed(first.stdout)) == len(list((project / "notebooks").glob("*.ipynb")))
    assert "Report: outputs/tiny/report/index.html" in first.stdout.splitlines()[-1]
    assert (project / "outputs/tiny/report/index.html").exists()

    again = run("--cores", "2")
    assert again.returncode == 0 and executed(again.stdout) == []

    changed = run("--cores", "2", "--set", "cascade.stages.tssr.training.steps=3")
    assert sorted(executed(changed.stdout)) == [
        "00 overview",
        "05 train super resolution tssr",
        "06 sampling",
        "07 counterfactual evaluation",
        "08 expert study",
        "09 downstream rebalancing",
    ]

    write_notebook(project, "06_sampling", "values = []\nvalues[1]")
    failed = run("--cores", "2", "--set", "cascade.stages.tssr.training.steps=3")
    assert failed.returncode == 1
    assert "06_sampling.ipynb failed: IndexError" in failed.stderr
    assert "outputs/tiny/notebooks/06_sampling.partial.ipynb" in failed.stderr
    assert "Traceback (most recent call last)" not in failed.stderr.splitlines()[0]
    assert "Stopped: sampling." in (project / "outputs/tiny/report/index.html").read_text()


@pytest.mark.notebooks
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_behind_and_goes_on(project, signum):
    work = "import time\nrun.path('logs', 'busy').touch()\ntime.sleep(0 if {} else 60)"
    resumed = "run.path('logs', 'second').exists()"
    write_notebook(project, "02_edm_theory", work.format(resumed))
    command = [sys.executable, "-m", "echocascade.cli", "run", "params/tiny.yaml", "--cores", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    logs = project / "outputs/tiny/logs"
    deadline = time.monotonic() + 300
    while not (logs / "busy").exists():
        assert time.monotonic() < deadline, "the notebook did not start"
        time.sleep(0.2)
    second = run()
    assert second.returncode == 2 and "already going on" in second.stderr
    process.send_signal(signum)
    assert process.wait(120) in (130, -signal.SIGKILL)
    deadline = time.monotonic() + 60
    while still_running(project):
        assert time.monotonic() < deadline, "notebooks outlived their run"
        time.sleep(0.2)
    (logs / "second").touch()
    done = run("--cores", "2")
    assert done.returncode == 0, done.stderr
    assert "01 data preparation" not in executed(done.stdout)
    assert json.loads((project / "outputs/tiny/results.json").read_text())["theory.ran"] is True


def still_running(project: Path) -> bool:
    """Whether any process of this project's run is alive (Linux; elsewhere nothing is known)."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = entry.read_bytes()
        except OSError:
            continue
        ours = f"ECHOCASCADE_ROOT={project}".encode() in environment
        if ours and b"ECHOCASCADE_PARENT=" in environment:
            return True
    return False
