"""Samples are made once, found again, shared by processes and merged to one table."""

import dataclasses
import threading

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.evaluation.score_table import check_score_table
from echocascade.studies.chunks import MissingSamplesError, Samples, judge_task
from echocascade.studies.protocol import TASKS, Trained, read_samples

JUDGED_ALONE = ("weights of the judge", "views")


@pytest.fixture(scope="module")
def judged(tiny_trained, tmp_path_factory):
    """Both tasks of the toy cascade, and the folder of their samples."""
    folder = tmp_path_factory.mktemp("samples")
    parts = [judge_task(tiny_trained, task, 1.5, folder) for task in TASKS]
    return pd.concat(parts, ignore_index=True), folder


def of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    return table[table.task == task].reset_index(drop=True)


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


def test_the_table_is_one_that_score_reads_with_every_measure(judged):
    table, _ = judged
    check_score_table(of_task(table, "generation"))
    measures = ["period_s", "repetition", "phase_shift_s", "rank", "rank_real", "flicker", "SSIM"]
    assert set(measures) <= set(table.columns) and "LPIPS" not in table
    assert table["rank"].between(0, 3).all() and (table["flicker"] > 0).all()


def test_finished_units_are_found_again(judged, tiny_trained):
    table, folder = judged
    trained, calls = counting(tiny_trained)
    again = judge_task(trained, "generation", 1.5, folder)
    assert calls == []
    pd.testing.assert_frame_equal(again, of_task(table, "generation"))


def test_lost_videos_alone_are_made_again_with_the_same_numbers(judged, tiny_trained):
    table, folder = judged
    trained, calls = counting(tiny_trained)
    (folder / table.chunk.iloc[-1]).unlink()
    again = judge_task(trained, "generation", 1.5, folder)
    assert len(calls) == 1
    pd.testing.assert_frame_equal(again, of_task(table, "generation"))


def test_a_lost_table_is_read_from_its_videos_again(judged, tiny_trained):
    table, folder = judged
    trained, calls = counting(tiny_trained)
    for path in Samples(tiny_trained, 1.5, folder).measured.glob("generation*.csv"):
        path.unlink()
    again = judge_task(trained, "generation", 1.5, folder)
    assert calls == []
    pd.testing.assert_frame_equal(again, of_task(table, "generation"))


@pytest.mark.parametrize("draws", [2, 3])
def test_any_number_of_shares_merges_to_the_same_table(judged, tiny_trained, tmp_path, draws):
    expected = of_task(judged[0], "generation")
    trained, calls = counting(tiny_trained)
    samples = Samples(trained, 1.5, tmp_path)
    units = samples.units(("generation",))
    for share in reversed(range(draws)):
        with pytest.raises(MissingSamplesError, match=r"generation: \d of 3 units are missing"):
            samples.table("generation")
        samples.make(units[share::draws])
    assert len(calls) == len(units)
    pd.testing.assert_frame_equal(samples.table("generation"), expected)


def test_two_at_once_make_no_unit_twice(judged, tiny_trained, tmp_path):
    trained, calls = counting(tiny_trained)
    samples = [Samples(trained, 1.5, tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=s.make, args=(s.units(),)) for s in samples]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == len(samples[0].units())
    pd.testing.assert_frame_equal(samples[0].table("generation"), of_task(judged[0], "generation"))


@pytest.mark.parametrize(
    "changed", ["scale", "sampler", "weights", "request", "clips", *JUDGED_ALONE]
)
def test_units_of_other_settings_are_not_used(judged, tiny_trained, changed):
    _, folder = judged
    before = Samples(tiny_trained, 1.5, folder)
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
        stage = trained.cascade.stages[0]
        other = type(stage)(stage.stage, stage.stage.build().eval())
        cascade = type(trained.cascade)(trained.params, [other, *trained.cascade.stages[1:]])
        trained = dataclasses.replace(trained, cascade=cascade)
    if changed == "weights of the judge":
        torch.manual_seed(1)
        other_judge = type(trained.regressor)(trained.regressor.config).eval()
        trained = dataclasses.replace(trained, regressor=other_judge)
    if changed == "request":
        trained = with_evaluation(trained, lvef_percent=(20.0, 80.0))
    if changed == "clips":
        trained = with_evaluation(trained, clips=3)
    if changed == "views":
        trained = with_evaluation(trained, views=2)
    after = Samples(trained, scale, folder)
    assert after.measured != before.measured
    # another judge reads the clips that are there
    assert (after.folder == before.folder) == (changed in JUDGED_ALONE)


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
