"""``echocascade rebalance`` as scripts and clusters call it."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from echocascade.commands import rebalancing
from echocascade.data.echonet import COLUMNS
from echocascade.studies.rebalancing.folder import GenerationError
from echocascade.studies.rebalancing.generate import ChunkError


def echocascade(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "echocascade.cli", "rebalance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def file_list(tmp_path_factory):
    """Twelve TRAIN clips around 60 %, and one of each other split."""
    rows = [(f"c{i}", 55 + i, 40, 100, 112, 112, 50, 150, "TRAIN") for i in range(12)]
    rows += [
        ("v", 20, 80, 100, 112, 112, 50, 150, "VAL"),
        ("t", 80, 20, 100, 112, 112, 50, 9, "TEST"),
    ]
    path = tmp_path_factory.mktemp("data") / "FileList.csv"
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False)
    return path


def test_a_plan_is_one_json_object_and_a_file(file_list, tmp_path):
    options = ["--per-bin", "4", "--bin-width", "10", "--low", "10", "--high", "90"]
    done = echocascade("plan", str(file_list), *options, "--out", str(tmp_path / "p.csv"), "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["n_real"] == 12 and len(plan["bins"]) == 8
    assert plan["bins"][4] == {"low": 50.0, "high": 60.0, "real": 5, "generate": 0}
    assert plan["n_generate"] == sum(b["generate"] for b in plan["bins"]) == 6 * 4
    assert len(pd.read_csv(tmp_path / "p.csv")) == 24


@pytest.mark.parametrize(
    ("options", "n"),
    [
        (["--uniform", "--bin-width", "40"], 12),
        (["--per-bin", "2", "--bin-width", "10", "--most", "5"], 5),
        (["--histogram", "HISTOGRAM"], 3),
    ],
)
def test_a_target_can_be_told_in_several_ways(file_list, tmp_path, options, n):
    (tmp_path / "h.csv").write_text("low,high,count\n20,30,3\n50,60,5\n")
    given = [str(tmp_path / "h.csv") if o == "HISTOGRAM" else o for o in options]
    done = echocascade("plan", str(file_list), *given, "--json")
    assert json.loads(done.stdout)["n_generate"] == n


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "nowhere/FileList.csv"], "cannot be read"),
        (["plan", "FILE", "--bin-width", "7"], "whole number of bins"),
        (["plan", "FILE", "--pairing", "lucky"], "'random' or 'nearest'"),
        (["plan", "FILE", "--cap", "1"], "cap 1"),
        (["plan", "FILE", "--low", "-5"], "--low"),
        (["generate", "quick", "nowhere.csv", "--out", "x"], "no such plan"),
        (["label", "nowhere"], "no generated data set"),
        (["experiment", "no-such-run"], "no run 'no-such-run'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(file_list, root, monkeypatch, arguments, says):
    monkeypatch.chdir(root)
    done = echocascade(*(str(file_list) if a == "FILE" else a for a in arguments))
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def run(tiny_params, pulsating_folder, tmp_path_factory):
    """A finished run of the rings in an outputs folder: stages, judge, guidance, data."""
    from echocascade.cascade.training import train_stage
    from echocascade.data.prepare import prepare_data
    from echocascade.evaluation.judge import train_judge

    regressor = {
        "preset": "mini", "size": 8, "n_frames": 4, "fps": 2, "steps": 2, "batch_size": 4,
        "precision": "fp32",
    }  # fmt: skip
    tree = tiny_params.model_dump(mode="json")
    tree["regressor"] |= {"steps": 2, "preset": "mini"}
    tree["rebalancing"] = {
        "plan": {"per_bin": 6, "bin_width": 20},
        "generation": {"draws": 1, "tolerance": None, "refuse_memorised": False, "block": 4},
        "experiment": {"sizes": [6], "shares": [0.5], "seeds": 1, "regressor": regressor},
    }
    params = type(tiny_params).model_validate(tree)
    base = tmp_path_factory.mktemp("project")
    for name in ("params", "notebooks"):
        (base / name).mkdir()
    directory = base / "outputs" / "rings"
    store = prepare_data(params, base / "data")
    for index, stage in enumerate(params.cascade.stages):
        train_stage(params, index, store, directory / "checkpoints" / stage.name)
    train_judge(params, store, directory / "checkpoints" / "regressor")
    (directory / "tables").mkdir()
    (directory / "tables" / "guidance.csv").write_text("scale,chosen\n1.0,True\n")
    (directory / "params.yaml").write_text(params.dump_yaml())
    return directory


@pytest.fixture
def project(run, monkeypatch):
    monkeypatch.setenv("ECHOCASCADE_ROOT", str(run.parents[1]))
    monkeypatch.setenv("ECHOCASCADE_OUTPUTS", str(run.parent))
    return run


def test_from_a_file_list_to_a_compared_data_set(project, pulsating_folder, tmp_path):
    """plan, generate in two chunks, label, experiment: the whole way of a user on a cluster."""
    table, plan, out = pulsating_folder / "FileList.csv", tmp_path / "plan.csv", tmp_path / "made"
    wanted = {"per_bin": 8, "bin_width": 20.0}
    planned = rebalancing.plan(table, wanted, 0, plan)
    assert "to generate" in rebalancing.describe_plan(planned, plan)
    first = rebalancing.generate("rings", plan, out, "2/2", [])
    assert first["missing_blocks"] == -(-first["n_blocks"] // 2)
    assert "still to be made" in rebalancing.describe_generation(first)
    made = rebalancing.generate("rings", plan, out, None, [])
    assert made["missing_blocks"] == 0 and 0 < made["n_kept"] <= made["n_targets"]
    assert f"{made['n_kept']} clips" in rebalancing.describe_generation(made)
    assert rebalancing.label(out, "estimated") == made["n_kept"]

    part = rebalancing.experiment("rings", out, "1/2", [])
    assert part["missing"] > 0 and "left to other chunks" in rebalancing.describe_experiment(part)
    compared = rebalancing.experiment("rings", out, "2/2", [])
    wanted = {"size_6.real.R2", "size_all.generated_added.requested.gain", "verdict"}
    assert wanted <= set(compared) and "headline.gain" in compared
    assert "size_6.real: R2" in rebalancing.describe_experiment(compared)
    json.dumps(compared, allow_nan=False)
    shutil.rmtree(out)


def test_a_missing_step_is_named(project, tmp_path):
    with pytest.raises(GenerationError, match="run notebook 09"):
        rebalancing.experiment("rings", None, None, [])
    with pytest.raises(ChunkError, match="1/n to n/n"):
        rebalancing.experiment("rings", None, "3/2", [])
