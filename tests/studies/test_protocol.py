"""The counterfactual protocol: what is asked, what is judged, and what is found again on disk."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.evaluation.counterfactual import check_score_table
from echocascade.studies import protocol
from echocascade.studies.protocol import (
    TASKS,
    Trained,
    for_regressor,
    judge_task,
    read_samples,
    requested_lvef,
    task_clips,
)


@pytest.fixture(scope="module")
def judged(tiny_trained, tmp_path_factory):
    """Both tasks of the toy cascade, and the folder of their samples."""
    folder = tmp_path_factory.mktemp("samples")
    parts = [judge_task(tiny_trained, task, 1.5, folder) for task in TASKS]
    return pd.concat(parts, ignore_index=True), folder


def counting(trained: Trained) -> tuple[Trained, list[int]]:
    """The same, with a list that grows with every call of the cascade."""
    calls: list[int] = []

    class Counting(type(trained.cascade)):
        def sample(self, *args, **kwargs):
            calls.append(1)
            return super().sample(*args, **kwargs)

    cascade = Counting(trained.cascade.params, trained.cascade.stages)
    return dataclasses.replace(trained, cascade=cascade), calls


def with_evaluation(trained: Trained, **changes) -> Trained:
    evaluation = trained.params.evaluation.model_copy(update=changes)
    return dataclasses.replace(
        trained, params=trained.params.model_copy(update={"evaluation": evaluation})
    )


def test_every_clip_has_every_draw_of_both_tasks(judged, tiny_params):
    table, _ = judged
    e = tiny_params.evaluation
    counts = table.groupby(["task", "FileName"]).draw.nunique()
    assert (counts == e.draws).all()
    assert len(counts) == 2 * e.clips


def test_reconstruction_asks_for_the_clips_own_lvef_and_generation_does_not(judged):
    table, _ = judged
    own = table.lvef_requested == table.lvef_true
    assert own[table.task == "reconstruction"].all()
    assert not own[table.task == "generation"].any()


def test_all_draws_of_a_patient_are_asked_for_the_same_lvef(judged):
    table, _ = judged
    assert (table.groupby(["task", "FileName"]).lvef_requested.nunique() == 1).all()


def test_the_table_is_one_that_score_reads(judged):
    table, _ = judged
    check_score_table(table[table.task == "generation"])


def test_guidance_and_results_ask_for_different_lvefs(tiny_trained):
    clips = task_clips(tiny_trained, "VAL", 4, draws=1)
    asked = [requested_lvef(tiny_trained.params, clips, "generation", s) for s in ("VAL", "TEST")]
    assert not np.isclose(*asked).any()


def test_an_unknown_task_is_named(tiny_trained):
    clips = task_clips(tiny_trained, "VAL", 1, draws=1)
    with pytest.raises(ValueError, match=r"'factual'.*reconstruction, generation"):
        requested_lvef(tiny_trained.params, clips, "factual", "VAL")


def test_finished_chunks_are_found_again(judged, tiny_trained):
    table, folder = judged
    trained, calls = counting(tiny_trained)
    again = judge_task(trained, "generation", 1.5, folder)
    assert calls == []
    pd.testing.assert_frame_equal(again, table[table.task == "generation"].reset_index(drop=True))


def test_a_lost_chunk_alone_is_made_again_with_the_same_numbers(judged, tiny_trained):
    table, folder = judged
    trained, calls = counting(tiny_trained)
    (folder / table.chunk.iloc[-1]).unlink()
    again = judge_task(trained, "generation", 1.5, folder)
    assert len(calls) == 1
    pd.testing.assert_frame_equal(again, table[table.task == "generation"].reset_index(drop=True))


@pytest.mark.parametrize("changed", ["scale", "sampler", "weights", "request", "clips"])
def test_chunks_of_other_settings_are_not_used(judged, tiny_trained, changed):
    table, folder = judged
    trained, scale = tiny_trained, 1.5
    if changed == "scale":
        scale = 1.25
    if changed == "sampler":
        stages = list(trained.params.cascade.stages)
        sampler = stages[0].sampler.model_copy(update={"S_churn": 1.0})
        stages[0] = stages[0].model_copy(update={"sampler": sampler})
        cascade = trained.params.cascade.model_copy(update={"stages": tuple(stages)})
        params = trained.params.model_copy(update={"cascade": cascade})
        trained = dataclasses.replace(trained, params=params)
    if changed == "weights":
        torch.manual_seed(1)
        other = type(trained.regressor)(trained.regressor.config).eval()
        trained = dataclasses.replace(trained, regressor=other)
    if changed == "request":
        trained = with_evaluation(trained, lvef_percent=(20.0, 80.0))
    if changed == "clips":
        trained = with_evaluation(trained, clips=3)
    clips = task_clips(trained, "TEST", trained.params.evaluation.clips, 3)
    found = protocol.samples_folder(trained, clips, scale, folder)
    assert found.name not in set(table.chunk.str.split("/").str[0])


def test_samples_are_read_back_row_by_row(judged, tiny_trained):
    table, folder = judged
    picked = table.sample(5, random_state=0)
    videos = read_samples(picked, folder)
    assert videos.dtype == np.uint8 and videos.shape == (5, 8, 16, 16, 1)
    np.testing.assert_allclose(tiny_trained.read_lvef(videos), picked.lvef_measured)


def test_a_stick_that_reads_nothing_leaves_empty_cells(tiny_trained, tmp_path, no_stick):
    table = judge_task(with_evaluation(tiny_trained, clips=2), "generation", 1.0, tmp_path)
    assert table.lvef_stick.isna().all() and table.lvef_measured.notna().all()


def test_more_clips_than_the_split_has_means_all_of_them(tiny_trained, tmp_path):
    trained = with_evaluation(tiny_trained, clips=1000, draws=1)
    assert len(judge_task(trained, "reconstruction", 1.0, tmp_path)) == 6


@pytest.mark.parametrize("size, n_frames, fps", [(8, 4, 2), (16, 8, 4), (32, 16, 8), (8, 16, 8)])
def test_the_regressor_gets_clips_of_its_own_size_and_rate(size, n_frames, fps, tiny_trained):
    config = dataclasses.replace(tiny_trained.regressor.config, size=size, fps=fps)
    flat = torch.full((1, 1, 8, 16, 16), 0.25)
    seen = for_regressor(flat, 4, config)
    assert seen.shape == (1, 1, n_frames, size, size)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.25))
