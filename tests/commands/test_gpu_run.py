"""A cascade from nothing to scores without notebooks, at its smallest size on this processor."""

import json

import cv2
import pytest

from echocascade.commands.gpu_run import SHARE_FOR_TRAINING, budgeted, main
from echocascade.params import load_params
from echocascade.report.runs import RunError

FACTS = (
    "commit", "device", "data", "guidance_scale", "precision.base", "batch.tssr",
    "minutes.data", "minutes.regressor", "minutes.base", "minutes.tssr", "stages.tssr.steps",
    "regressor.MAE", "sampling.batch", "sampling.seconds_per_video", "sampling.peak_memory_bytes",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu_run")


@pytest.fixture(scope="module")
def arguments(root, place):
    file = root / "params" / "2scm_phantom_ci.yaml"
    return [str(file), "--minutes", "5", "--out", str(place / "out"), "--data", str(place / "data")]


@pytest.fixture(scope="module")
def results(arguments, place):
    assert main(arguments) == 0
    return json.loads((place / "out" / "run.json").read_text())


def test_everything_that_a_record_needs_is_there(results):
    assert [fact for fact in FACTS if results.get(fact) is None] == []
    assert results["sampling.seconds_per_video"] > 0
    assert results["sampling.peak_memory_bytes"] > 1e8  # the process holds PyTorch at least
    assert "phantom" in results["data"]


def test_both_tasks_are_scored_by_every_draw_and_by_the_best_of_three(results):
    for task in ("generation", "reconstruction"):
        assert results[f"{task}.regressor.n_draws"] == 3
        for rule in ("single", "best_of_k", "paper"):
            for score in ("R2", "MAE", "RMSE"):
                assert isinstance(results[f"{task}.regressor.{rule}.{score}"], float)
        single, best = (results[f"{task}.regressor.{r}.MAE"] for r in ("single", "best_of_k"))
        assert best <= single


def test_the_summary_says_phantom_and_stands_beside_the_papers_row(results, place):
    text = (place / "out" / "summary.md").read_text()
    assert "These numbers come from a phantom" in text
    assert "| generation, the paper's 2SCM, best of 3 | 0.89 | 4.81 | 6.69 | 146 |" in text
    assert f"{results['generation.regressor.single.MAE']:.2f}" in text


def test_frames_are_left_to_be_looked_at(results, place):
    picture = cv2.imread(str(place / "out" / "strips.png"))
    assert picture.shape == (2 * 3 * 2 * 56, 9 * 2 * 56, 3)  # three patients, two rows each


def test_the_same_command_goes_on_and_ends_with_the_same_scores(results, arguments, place):
    before = {p: p.stat().st_mtime_ns for p in (place / "out" / "checkpoints").rglob("ema.*")}
    assert main(arguments) == 0
    again = json.loads((place / "out" / "run.json").read_text())
    after = {p: p.stat().st_mtime_ns for p in before}
    assert before == after
    scores = [k for k in results if k.startswith(("generation", "reconstruction", "regressor"))]
    assert len(scores) > 100
    assert all(again[k] == results[k] for k in scores)


def test_other_parameters_do_not_go_into_the_same_folder(results, arguments, capsys):
    assert main([*arguments, "--set", "cascade.stages.base.training.steps=7"]) == 2
    assert "a run with other parameters" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_exit_status_2(capsys):
    assert main(["params/no-such.yaml"]) == 2
    assert "no parameters file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["2scm_phantom", "4scm_phantom"])
def test_stages_share_the_minutes_as_their_own_limits_are_to_each_other(root, tmp_path, name):
    params = load_params(root / "params" / f"{name}.yaml")
    shared = budgeted(params, tmp_path / "params.yaml", 10.0)
    own = [s.training.max_minutes for s in params.cascade.stages]
    got = [s.training.max_minutes for s in shared.cascade.stages]
    assert sum(got) == pytest.approx(10 * SHARE_FOR_TRAINING)
    assert [g / got[0] for g in got] == pytest.approx([o / own[0] for o in own])
    assert budgeted(params, tmp_path / "params.yaml", 3.0) == shared  # it goes on with the first


def test_no_time_left_for_the_stages_is_said(root, tmp_path):
    params = load_params(root / "params" / "2scm_phantom.yaml")
    with pytest.raises(RunError, match="give more --minutes"):
        budgeted(params, tmp_path / "params.yaml", -1.0)
