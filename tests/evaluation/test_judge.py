"""The run's judge: trained once, resumed where it stopped, and never taken for another's."""

import json
from dataclasses import replace

import pytest
import torch

from echocascade.data.clips import ClipStore
from echocascade.evaluation import judge
from echocascade.evaluation.judge import (
    JudgeError,
    judge_report,
    judged_view,
    load_judge,
    regressor_config,
    train_judge,
)


def changed(params, **regressor):
    """The parameters with other values of the regressor."""
    return params.model_copy(update={"regressor": params.regressor.model_copy(update=regressor)})


@pytest.fixture(scope="module")
def params(tiny_params):
    return changed(tiny_params, preset="tiny", steps=80, batch_size=8, precision="fp32")


@pytest.fixture(scope="module")
def short(params):
    return changed(params, steps=6)


@pytest.fixture(scope="module")
def folder(params, tiny_store, tmp_path_factory):
    torch.set_num_threads(1)  # two threads on busy cores are far slower than one
    directory = tmp_path_factory.mktemp("judge")
    train_judge(params, tiny_store, directory)
    return directory


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_it_reads_the_ejection_fraction_of_clips_it_never_saw(params, tiny_store, folder):
    report = judge_report(load_judge(params, folder), tiny_store, "TEST")
    # 18 TRAIN clips and 80 steps: far from perfect, yet far from the mean's R2 of 0
    assert report.scores["r"] > 0.7
    assert report.scores["n"] == len(report.table) == len(tiny_store.indices("TEST"))
    low, high = report.scores["MAE_interval"]
    assert low <= report.scores["MAE"] <= high
    assert report.scores["MAE"] <= report.scores["error_p90"]


def test_a_finished_training_is_not_repeated(params, tiny_store, folder, monkeypatch):
    def fail(*_arguments, **_settings):
        raise AssertionError("trained again")

    monkeypatch.setattr(judge, "fit_regressor", fail)
    again = train_judge(params, tiny_store, folder)
    assert torch.equal(weights(again.model), weights(load_judge(params, folder)))
    assert again.history[-1]["step"] == params.regressor.steps
    assert again.history[-1]["seconds"] > 0


def test_a_training_cut_off_ends_like_one_that_was_not(short, tiny_store, tmp_path, monkeypatch):
    whole = train_judge(short, tiny_store, tmp_path / "whole")

    class CutOffError(Exception):
        """The process ends here."""

    def stop(done, _total, _note):
        if done == 3:
            raise CutOffError

    # validating at every step saves at every step
    with pytest.raises(CutOffError):
        train_judge(short, tiny_store, tmp_path / "cut", stop)
    assert not (tmp_path / "cut" / "judge.json").exists()
    with pytest.raises(JudgeError, match="notebook 03"):
        load_judge(short, tmp_path / "cut")

    steps = []
    resumed = train_judge(
        short, tiny_store, tmp_path / "cut", lambda done, _total, _note: steps.append(done)
    )
    assert min(steps) > 1
    assert torch.equal(weights(resumed.model), weights(whole.model))


def test_other_regressor_parameters_train_again(short, tiny_store, tmp_path):
    first = train_judge(short, tiny_store, tmp_path)
    slower = changed(short, learning_rate=1e-4)
    with pytest.raises(JudgeError, match="other parameters"):
        load_judge(slower, tmp_path)
    second = train_judge(slower, tiny_store, tmp_path)
    assert not torch.equal(weights(first.model), weights(second.model))
    assert torch.equal(weights(load_judge(slower, tmp_path)), weights(second.model))


def test_other_data_under_the_same_parameters_train_again(short, tiny_store, tmp_path):
    train_judge(short, tiny_store, tmp_path)
    other = ClipStore(tiny_store.directory, tiny_store.manifest | {"sha256": {}}, tiny_store.pad)
    steps = []
    train_judge(short, other, tmp_path, lambda done, _total, _note: steps.append(done))
    assert steps


def test_parameters_that_do_not_concern_it_leave_it_alone(params, folder):
    other = params.model_copy(update={"workers": 7, "title": "another"})
    assert load_judge(other, folder)


def test_a_judge_that_is_not_there_says_what_to_run(params, tmp_path):
    with pytest.raises(JudgeError, match="run notebook 03"):
        load_judge(params, tmp_path / "nowhere")


def test_no_validation_clips_no_validation(short, tiny_store, tmp_path, monkeypatch):
    table = tiny_store.table.assign(Split="TRAIN")
    store = ClipStore.open(tiny_store.directory)
    monkeypatch.setattr(store, "table", table)
    history = train_judge(short, store, tmp_path).history
    assert history and not any("valid_loss" in record for record in history)


def test_the_head_starts_at_the_mean_of_the_training_clips(short, tiny_store, tmp_path):
    train_judge(short, tiny_store, tmp_path)
    config = json.loads((tmp_path / "regressor.json").read_text())
    train = tiny_store.table["EF"].to_numpy()[tiny_store.indices("TRAIN")]
    assert config["mean_lvef_percent"] == pytest.approx(train.mean())


def test_the_configuration_is_that_of_the_parameters(params):
    config = regressor_config(params)
    assert (config.size, config.n_frames, config.fps) == (16, 8, 4)
    assert config.channels == params.data.channels


def test_a_larger_and_faster_clip_is_judged_by_picked_frames_and_mean_pixels(params):
    config = replace(regressor_config(params), size=2, fps=4, n_frames=4)
    video = torch.arange(16.0).reshape(1, 1, 16, 1, 1).expand(1, 1, 16, 4, 4)
    seen = judged_view(video, 16, config)
    assert seen.shape == (1, 1, 4, 2, 2)
    assert seen[0, 0, :, 0, 0].tolist() == [0, 4, 8, 12]


@pytest.mark.parametrize("fps", [2, 6])
def test_a_frame_rate_that_is_no_multiple_is_refused(params, fps):
    with pytest.raises(ValueError, match="whole multiple of 4"):
        judged_view(torch.zeros(1, 1, 8, 16, 16), fps, regressor_config(params))
