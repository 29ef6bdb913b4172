"""`echocascade study`: from a run to the readers' links, and back to numbers."""

import json
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from echocascade.cli import app
from echocascade.studies.expert.folder import load_study
from echocascade.studies.expert.simulate import SimulatedReader, simulate


@dataclass(frozen=True)
class Said:
    returncode: int
    stdout: str
    stderr: str


def study(*arguments: object, **environment: str) -> Said:
    """`echocascade study ...` in this process; what a process of its own does is in test_cli."""
    done = CliRunner().invoke(app, ["study", *map(str, arguments)], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def test_help_names_every_step():
    said = study("--help").stdout
    for command in ("create", "serve", "import", "analyse"):
        assert f" {command} " in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "no-such-run"), ("serve", "nowhere"), ("analyse", "nowhere"),
        ("import", "nowhere", "answers.json"), ("serve", ".."), ("analyse", "../.."),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments):
    done = study(*arguments, ECHOCASCADE_OUTPUTS=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.fixture
def project(study_run, tmp_path):
    """A project's folder with the run of rings in its outputs and its clips prepared."""
    run, data = study_run
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params").mkdir()
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "outputs" / "rings").mkdir(parents=True)
    for name in ("params.yaml", "tables", "samples"):
        (tmp_path / "outputs" / "rings" / name).symlink_to(run / name)
    return tmp_path


def test_from_a_run_to_numbers(project):
    where = {"ECHOCASCADE_ROOT": str(project)}
    few = ["--set", "study.trials=6", "--reader", "anna", "--reader", "ben"]
    made = study("create", "rings", *few, **where)
    assert made.returncode == 0, made.stderr
    assert "2 readers, 9 trials each" in made.stdout
    folder = project / "outputs/rings/study"
    assert {page.name for page in (folder / "files").iterdir()} == {"anna.html", "ben.html"}
    again = study("create", "rings", **where)
    assert again.returncode == 2 and "never changed" in again.stderr
    assert study("create", "rings", "--if-needed", **where).returncode == 0
    nobody = study("analyse", "rings", "--json", **where)
    assert nobody.returncode == 2 and "no answers yet" in nobody.stderr and nobody.stdout == ""

    simulate(load_study(folder), [SimulatedReader(0.0), SimulatedReader(3.0)], seed=0)
    done = study("analyse", folder, "--json", **where)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["simulated"] is True and set(found["readers"]) == {"anna", "ben"}
    assert found["paper"]["accuracy"] == 0.5433 and found["notes"]
    assert {"pooled", "agreement", "repeats"} <= set(found)
    plain = study("analyse", "rings", **where)
    assert "the paper: answers 300" in plain.stdout and "note: Simulated readers" in plain.stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--set", "seed=1"], "only study.KEY=VALUE"),
        (["--set", "study.trails=1"], "did you mean 'trials'"),
        (["--reader", "../x"], "1 to 32 letters"),
        (["--reader", "a", "--reader", "a"], "names that differ"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_left(project, arguments, said):
    done = study("create", "rings", *arguments, ECHOCASCADE_ROOT=str(project))
    assert done.returncode == 2 and said in done.stderr
    assert not any("study" in p.name for p in (project / "outputs/rings").iterdir())


def test_a_file_that_is_no_answers_is_one_line(project, tmp_path):
    where = {"ECHOCASCADE_ROOT": str(project)}
    study("create", "rings", "--set", "study.trials=2", "--reader", "a", **where)
    (tmp_path / "x.json").write_text("{}")
    done = study("import", "rings", tmp_path / "x.json", **where)
    assert done.returncode == 2 and "not a file of answers" in done.stderr
