"""Executing notebooks: what counts as success, and what is said when it is none."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from echocascade.report.notebooks import Execution, NotebookFailedError, execute, main
from echocascade.report.parameters import NotebookError, check_parameters, read_parameters


def run_of(project: Path) -> Path:
    return project / "outputs" / "tiny"


def start(project: Path, notebook: Path, **variables: str) -> subprocess.Popen:
    """The runner as a process of its own, as the workflow starts it."""
    command = [sys.executable, "-m", "echocascade.report.notebooks", str(notebook)]
    return subprocess.Popen(
        [*command, "--run", str(run_of(project))],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(file: Path, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} did not appear"
        time.sleep(0.1)


def test_a_notebook_runs_into_the_run_folder_with_its_stage(project, write_notebook):
    figure = "import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 2]))"
    notebook = write_notebook("05_train_super_resolution", figure, stage=True)
    target = execute(Execution(notebook, run_of(project), "tssr"))
    assert target == run_of(project) / "notebooks/05_train_super_resolution_tssr.ipynb"
    results = json.loads((run_of(project) / "results.json").read_text())
    assert results == {"train.tssr.answer": 42}
    text = target.read_text()
    assert "application/vnd.plotly.v1+json" in text and len(text) < 40_000
    assert str(project) not in text
    assert not list(target.parent.glob("*.partial.ipynb"))
    status = json.loads((run_of(project) / f"logs/{target.stem}.status.json").read_text())
    assert status["duration_s"] > 0


def test_the_kernel_is_this_python_whatever_the_user_has_set_up(
    project, write_notebook, tmp_path, monkeypatch
):
    home = tmp_path / "home"
    spec = home / ".local/share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "x"}))
    startup = home / ".ipython/profile_default/startup/00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("raise SystemExit(3)")
    for name, value in (("HOME", home), ("JUPYTER_PREFER_ENV_PATH", "0")):
        monkeypatch.setenv(name, str(value))
    notebook = write_notebook("06_sampling", "import sys", record="{'python': sys.executable}")
    execute(Execution(notebook, run_of(project)))
    results = json.loads((run_of(project) / "results.json").read_text())
    assert results["sampling.python"] == sys.executable


def test_an_exception_names_the_cell_and_keeps_the_earlier_result(project, write_notebook, capsys):
    good = write_notebook("06_sampling")
    assert main([str(good), "--run", str(run_of(project))]) == 0
    before = (run_of(project) / "notebooks/06_sampling.ipynb").read_text()
    bad = write_notebook("06_sampling", "values = [1, 2]\nvalues[5]")
    assert main([str(bad), "--run", str(run_of(project))]) == 1
    said = capsys.readouterr().err
    assert "06_sampling.ipynb failed: IndexError in cell [4]" in said
    assert "values[5]" in said and "outputs/tiny/notebooks/06_sampling.partial.ipynb" in said
    assert (run_of(project) / "notebooks/06_sampling.ipynb").read_text() == before
    failure = json.loads((run_of(project) / "logs/06_sampling.failure.json").read_text())
    assert failure["reason"].startswith("IndexError")


def test_p03_a_full_disk_under_the_output_keeps_the_earlier_result(
    project, write_notebook, small_disk, capsys
):
    notebooks = run_of(project) / "notebooks"
    notebooks.symlink_to(small_disk(400_000), target_is_directory=True)
    good = write_notebook("06_sampling")
    assert main([str(good), "--run", str(run_of(project))]) == 0
    before = (notebooks / "06_sampling.ipynb").read_bytes()
    bad = write_notebook("06_sampling", "print('x' * 1_000_000)")
    assert main([str(bad), "--run", str(run_of(project))]) == 1
    assert "No space left" in capsys.readouterr().err
    assert (notebooks / "06_sampling.ipynb").read_bytes() == before


def test_a_warning_does_not_tell_where_the_project_is(project, write_notebook):
    warn = "import tqdm.auto, warnings, inspect\nwarnings.warn(inspect.getfile(tqdm))"
    target = execute(Execution(write_notebook("06_sampling", warn), run_of(project)))
    text = target.read_text()
    assert "tqdm/__init__.py" in text
    assert sys.prefix not in text and str(project) not in text and "IProgress" not in text


def test_a_dead_kernel_is_a_failure(project, write_notebook):
    notebook = write_notebook("06_sampling", "import os\nos._exit(0)")
    with pytest.raises(NotebookFailedError, match=r"kernel died in cell \[4\]"):
        execute(Execution(notebook, run_of(project)))
    assert not (run_of(project) / "notebooks/06_sampling.ipynb").exists()


def test_a_notebook_that_records_nothing_is_a_failure(project, write_notebook):
    notebook = write_notebook("06_sampling", record="")
    with pytest.raises(NotebookFailedError, match=r"run\.record"):
        execute(Execution(notebook, run_of(project)))


def test_a_record_of_an_earlier_execution_does_not_count(project, write_notebook):
    execute(Execution(write_notebook("06_sampling"), run_of(project)))
    notebook = write_notebook("06_sampling", record="")
    with pytest.raises(NotebookFailedError, match=r"run\.record"):
        execute(Execution(notebook, run_of(project)))


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("run_nam", "x", "did you mean 'run_name'"),
        ("stage", "base", "no parameter 'stage'"),
        ("overrides", "seed=3", "'overrides' is a list"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_starts(
    write_notebook, name, value, complaint
):
    with pytest.raises(NotebookError, match=complaint):
        check_parameters(write_notebook("06_sampling"), {name: value})


def test_parameters_are_literals(project):
    notebook = nbformat.v4.new_notebook()
    source = "a: int = 1  # a number\nb = [1, 'x']\nc = None"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    notebook.cells = [cell]
    nbformat.write(notebook, project / "n.ipynb")
    assert read_parameters(project / "n.ipynb") == {"a": 1, "b": [1, "x"], "c": None}
    cell.source = "a = 1\nb = open('x')"
    nbformat.write(notebook, project / "n.ipynb")
    with pytest.raises(NotebookError, match="line 2 is not a literal"):
        read_parameters(project / "n.ipynb")


def test_two_executions_of_one_notebook_do_not_meet(project, write_notebook, capsys):
    notebook = write_notebook("06_sampling")
    (run_of(project) / "logs").mkdir()
    with FileLock(run_of(project) / "logs/06_sampling.lock"):
        assert main([str(notebook), "--run", str(run_of(project))]) == 2
    assert "already being executed" in capsys.readouterr().err


SLOW = """\
import time
run.path("logs", "busy").touch()
try:
    time.sleep(120)
finally:
    time.sleep(7)
    run.path("logs", "saved").touch()"""


@pytest.mark.parametrize("cause", ["SIGTERM", "SIGINT", "parent"])
def test_an_interrupted_notebook_gets_time_to_save(project, write_notebook, cause):
    """Seven seconds: longer than the five after which a kernel is killed by default."""
    notebook = write_notebook("06_sampling", SLOW)
    with subprocess.Popen(["sleep", "120"]) as parent:
        process = start(project, notebook, ECHOCASCADE_PARENT=str(parent.pid))
        wait_for(run_of(project) / "logs/busy")
        if cause == "parent":
            parent.kill()
            parent.wait()
        else:
            process.send_signal(getattr(signal, cause))
        output, complaints = process.communicate(timeout=120)
        parent.kill()
    assert process.returncode == 130
    assert "interrupted" in output and "Traceback" not in complaints
    assert (run_of(project) / "logs/saved").exists()
    nbformat.read(run_of(project) / "notebooks/06_sampling.partial.ipynb", as_version=4)


def test_progress_goes_to_the_console_and_not_into_the_notebook(project, write_notebook, capsys):
    work = "report = run.progress('sampling')\nreport(1, 2, 'a')\nreport(2, 2, 'b')"
    target = execute(Execution(write_notebook("06_sampling", work), run_of(project)))
    assert "[06 sampling] sampling ████████████████ 100 %  2/2" in capsys.readouterr().out
    cells = nbformat.read(target, as_version=4).cells
    assert [cell.outputs for cell in cells if cell.source == work] == [[]]


def test_an_execution_leaves_no_file_beside_the_notebook(project, write_notebook):
    notebook = write_notebook("06_sampling")
    execute(Execution(notebook, run_of(project)))
    assert list(notebook.parent.iterdir()) == [notebook]
