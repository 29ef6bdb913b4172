"""Distillation of a first stage: what it starts from, that it resumes, that guidance is in it."""

import os
import signal

import pytest
import torch

from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.distillation import distil_stage, distilled_sampler, load_distilled
from echocascade.cascade.signals import Interrupted
from echocascade.cascade.synthesis import load_stage
from echocascade.cascade.training import train_stage
from echocascade.params import Params


@pytest.fixture(scope="module")
def trained(tiny_params, tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    tree = tiny_params.model_dump()
    tree["sampling"]["distillation"] = {"steps": 5, "batch_size": 4, "levels": 4, "warmup_steps": 1}
    params = Params.model_validate(tree)
    train_stage(params, 0, tiny_store, folder / "base")
    return params, load_stage(params, 0, folder)


def state(stage):
    return stage.denoiser.state_dict()


def test_a_distillation_that_was_stopped_and_goes_on_ends_with_the_same_weights(
    trained, tiny_store, tmp_path
):
    params, teacher = trained
    straight = distil_stage(params, teacher, tiny_store, tmp_path / "a", 2.0)
    stopped = []

    def stop_once(done, total, note):
        if done == 2 and not stopped:
            stopped.append(done)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="step 2"):
        distil_stage(params, teacher, tiny_store, tmp_path / "b", 2.0, stop_once)
    with pytest.raises(CheckpointError, match="no finished distillation"):
        load_distilled(teacher, tmp_path / "b")
    resumed = distil_stage(params, teacher, tiny_store, tmp_path / "b", 2.0)
    for name, weight in state(straight).items():
        assert torch.equal(weight, state(resumed)[name]), name


def test_another_guidance_scale_gives_other_weights_and_the_old_ones_are_kept(
    trained, tiny_store, tmp_path
):
    params, teacher = trained
    first = distil_stage(params, teacher, tiny_store, tmp_path / "base-distilled", 1.0)
    second = distil_stage(params, teacher, tiny_store, tmp_path / "base-distilled", 3.0)
    assert any(not torch.equal(w, state(second)[k]) for k, w in state(first).items())
    assert len(list(tmp_path.iterdir())) == 2


def test_a_distilled_stage_samples_in_one_and_in_two_evaluations(trained, tiny_store, tmp_path):
    params, teacher = trained
    student = distil_stage(params, teacher, tiny_store, tmp_path / "d", 2.0)
    calls = []
    student.denoiser.register_forward_pre_hook(lambda *_: calls.append(1))
    for n in (1, 2):
        calls.clear()
        video = student.sample(
            torch.zeros(3, 1, 8, 8), torch.full((3, 1), 0.5), [1, 2, 3], seed=0,
            sampler=distilled_sampler(params, n),
        )  # fmt: skip
        assert len(calls) == n
        assert video.shape == (3, 1, 4, 8, 8)
        assert video.isfinite().all()


def test_only_one_or_two_evaluations_and_only_the_first_stage(trained, tiny_store, tmp_path):
    with pytest.raises(ValueError, match="allowed: 1 or 2"):
        distilled_sampler(trained[0], 3)
