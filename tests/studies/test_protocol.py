"""The counterfactual protocol: what is asked, of whom, and how the regressor sees it."""

import dataclasses

import numpy as np
import pytest
import torch

from echocascade.studies.protocol import Trained, for_regressor, requested_lvef, task_clips


def with_evaluation(trained: Trained, **changes) -> Trained:
    evaluation = trained.params.evaluation.model_copy(update=changes)
    return dataclasses.replace(
        trained, params=trained.params.model_copy(update={"evaluation": evaluation})
    )


def test_guidance_and_results_ask_for_different_lvefs(tiny_trained):
    clips = task_clips(tiny_trained, "VAL", 4, draws=1)
    asked = [requested_lvef(tiny_trained.params, clips, "generation", s) for s in ("VAL", "TEST")]
    assert not np.isclose(*asked).any()


def test_an_unknown_task_is_named(tiny_trained):
    clips = task_clips(tiny_trained, "VAL", 1, draws=1)
    with pytest.raises(ValueError, match=r"'factual'.*reconstruction, generation"):
        requested_lvef(tiny_trained.params, clips, "factual", "VAL")


@pytest.mark.parametrize("size, n_frames, fps", [(8, 4, 2), (16, 8, 4), (32, 16, 8), (8, 16, 8)])
def test_the_regressor_gets_clips_of_its_own_size_and_rate(size, n_frames, fps, tiny_trained):
    config = dataclasses.replace(tiny_trained.regressor.config, size=size, fps=fps)
    flat = torch.full((1, 1, 8, 16, 16), 0.25)
    seen = for_regressor(flat, 4, config)
    assert seen.shape == (1, 1, n_frames, size, size)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.25))


def test_a_reading_is_the_mean_over_as_many_views_as_the_parameters_say(tiny_trained):
    clips = task_clips(tiny_trained, "VAL", 4, draws=1)
    once, averaged = tiny_trained.read_lvef(clips.video), with_evaluation(tiny_trained, views=3)
    assert averaged.read_lvef(clips.video) == pytest.approx(once, abs=30)
    assert (averaged.read_lvef(clips.video) != once).any()
