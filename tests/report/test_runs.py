"""Run folders: found from anywhere, filled whole, silent about the machine."""

import getpass
import json
import platform
from pathlib import Path

import pytest

from echocascade.report import provenance
from echocascade.report.runs import RunError, run_folder, run_is_phantom, start_notebook


@pytest.mark.parametrize("folder", [".", "notebooks", "outputs/tiny"])
def test_a_notebook_starts_from_any_working_folder(project, monkeypatch, folder):
    monkeypatch.chdir(project / folder)
    run = start_notebook("params/tiny.yaml", "", "01_data_preparation")
    assert run.directory == project / "outputs" / "tiny"
    assert (run.directory / "params.yaml").exists()


def test_results_get_the_notebooks_subject_and_are_merged(project):
    start_notebook("params/tiny.yaml", "", "03_lvef_regressor").record({"test": {"R2": 0.9}})
    tssr = start_notebook("params/tiny.yaml", "", "05_train_super_resolution", stage="tssr")
    tssr.record({"loss": 0.1})
    merged = json.loads((project / "outputs/tiny/results.json").read_text())
    assert merged == {"regressor.test.R2": 0.9, "train.tssr.loss": 0.1}
    assert (project / "outputs/tiny/results/05_train_super_resolution_tssr.json").exists()


def test_recorded_numbers_are_shown_as_an_escaped_table(project):
    run = start_notebook("params/tiny.yaml", "", "06_sampling")
    shown = run.record({"time_s": 0.123456, "note": "<b>"})._repr_html_()
    assert "0.1235" in shown and "&lt;b&gt;" in shown and "2 numbers recorded" in shown


def test_recording_again_replaces_what_was_recorded(project):
    run = start_notebook("params/tiny.yaml", "", "06_sampling")
    run.record({"old": 1})
    run.record({"new": 2})
    assert json.loads((run.directory / "results.json").read_text()) == {"sampling.new": 2}


def test_overrides_reach_the_resolved_parameters(project):
    run = start_notebook("params/tiny.yaml", "other", "06_sampling", {"seed": 7})
    assert run.params.seed == 7
    assert "seed: 7" in (project / "outputs/other/params.yaml").read_text()


def test_an_unknown_stage_is_refused_with_the_known_ones(project):
    with pytest.raises(RunError, match=r"\['base', 'tssr'\]"):
        start_notebook("params/tiny.yaml", "", "04_train_base", stage="bass")


def test_a_missing_parameters_file_names_those_there_are(project):
    with pytest.raises(RunError, match=r"params/tiny\.yaml"):
        start_notebook("params/tinny.yaml", "", "01_data_preparation")


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden"])
def test_a_run_name_stays_inside_outputs(project, name):
    with pytest.raises(RunError, match="plain folder name"):
        run_folder(name, project)


def test_a_path_stays_inside_the_run_folder(project):
    run = start_notebook("params/tiny.yaml", "", "06_sampling")
    assert run.path("samples", "hero.npz").parent.is_dir()
    with pytest.raises(ValueError, match="leaves the run folder"):
        run.path("..", "elsewhere.npz")


def test_a_phantom_run_is_known_as_one_and_real_data_is_not(project):
    run = start_notebook("params/tiny.yaml", "", "01_data_preparation")
    assert "come from a phantom" in run.banner()
    run.record({"a": 1})
    assert run_is_phantom(run.directory)
    real = start_notebook("params/tiny.yaml", "real", "01_data_preparation", {"data.root": "data"})
    real.record({"a": 1})
    assert real.banner() == "" and not run_is_phantom(real.directory)


def test_a_folder_that_a_phantom_was_drawn_into_is_a_phantom(project):
    (project / "drawn").mkdir()
    (project / "drawn" / "phantom.json").write_text("{}")
    run = start_notebook("params/tiny.yaml", "", "01_data_preparation", {"data.root": "drawn"})
    assert run.is_phantom


def test_provenance_says_what_and_never_who_or_where(project):
    command = ["echocascade", "run", str(project / "params/tiny.yaml"), "--data", "/data/secret/X"]
    found = provenance.collect(project, command)
    assert found["command"] == "echocascade run params/tiny.yaml --data X"
    assert {"commit", "dirty", "packages", "processor", "cores", "device"} <= found.keys()
    text = json.dumps(found)
    for private in (str(project), str(Path.home()), platform.node(), "secret"):
        assert private not in text
    assert getpass.getuser() not in json.dumps({**found, "packages": None})


def test_a_path_behind_an_equals_sign_is_cut_too(project):
    assert provenance.clean_command(project, ["--set", "data.root=/data/secret/X"]) == (
        "--set data.root=X"
    )
