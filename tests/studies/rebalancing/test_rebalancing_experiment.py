"""The experiment: every training kept by digest, the same answers in any order, real test clips."""

import dataclasses

import numpy as np
import pytest
import torch

from echocascade.params import ExperimentParams, KeepParams, PlanParams, RebalancingParams
from echocascade.studies.rebalancing import trainings
from echocascade.studies.rebalancing.experiment import (
    n_missing,
    plan_experiment,
    run_experiment,
    set_table,
)
from echocascade.studies.rebalancing.generate import Chunk, begin_generation, generate
from echocascade.studies.rebalancing.plan import make_plan
from echocascade.studies.rebalancing.sets import TrainingSet
from echocascade.studies.rebalancing.trainings import Batches, train_all, train_one

REGRESSOR = {
    "preset": "mini", "size": 8, "n_frames": 4, "fps": 2, "steps": 3, "batch_size": 4,
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_trained):
    wanted = RebalancingParams(
        plan=PlanParams(per_bin=8, bin_width=20),
        generation=KeepParams(draws=1, tolerance=None, refuse_memorised=False, block=8),
        experiment=ExperimentParams.model_validate(
            {"sizes": [8], "shares": [0.5], "seeds": 2, "regressor": REGRESSOR, "bootstrap": 20}
        ),
    )
    params = tiny_trained.params.model_copy(update={"rebalancing": wanted})
    return dataclasses.replace(tiny_trained, params=params)


@pytest.fixture(scope="module")
def generated(trained, tmp_path_factory):
    targets = make_plan(trained.store.table, trained.params.rebalancing.plan, 0).targets
    folder = begin_generation(trained, targets, 1.0, tmp_path_factory.mktemp("made") / "clips")
    assert generate(trained, folder) == []
    return folder


@pytest.fixture(scope="module")
def experiment(trained, generated, tmp_path_factory):
    stores = tmp_path_factory.mktemp("stores")
    return plan_experiment(trained.params, trained.store, generated, stores)


@pytest.fixture(scope="module")
def answered(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainings")
    return run_experiment(experiment, folder), folder


def test_every_arm_is_answered_in_every_repetition(experiment, answered):
    answers, _ = answered
    assert [each.arm for each in answers] == experiment.arms
    shape = (experiment.wanted.seeds, len(experiment.held_out.rows))
    assert all(each.lvef_percent.shape == shape for each in answers)
    assert all(np.isfinite(each.lvef_percent).all() for each in answers)


def test_it_is_measured_on_real_clips_that_nothing_was_trained_on(experiment):
    table = experiment.sources.real.table
    assert set(table["Split"].iloc[experiment.held_out.rows]) <= {"VAL", "TEST"}
    trained_on = np.concatenate(
        [experiment.training_set(arm, r).real for arm in experiment.arms for r in range(2)]
    )
    assert set(table["Split"].iloc[trained_on]) == {"TRAIN"}


def test_generated_clips_are_read_from_their_folder(experiment, generated):
    made = experiment.sources.generated
    kept = generated.provenance().query("kept").set_index("FileName")
    assert set(made.table["FileName"]) == set(kept.index)
    requested = kept.loc[made.table["FileName"], "lvef_requested"].to_numpy()
    assert (experiment.pool.generated_lvef["requested"] == requested).all()


def test_finished_trainings_are_not_repeated(experiment, answered, monkeypatch):
    answers, folder = answered
    monkeypatch.setattr(trainings, "train_one", None)
    again = run_experiment(experiment, folder)
    for before, after in zip(answers, again, strict=True):
        assert np.array_equal(before.lvef_percent, after.lvef_percent)


def test_chunks_by_several_processes_give_the_same_answers(experiment, answered, tmp_path):
    answers, _ = answered
    assert run_experiment(experiment, tmp_path, chunk=Chunk(2, 2)) == []
    half = n_missing(experiment, tmp_path)
    assert 0 < half < len(answers) * 2
    found = run_experiment(experiment, tmp_path, chunk=Chunk(1, 2))
    for one, other in zip(answers, found, strict=True):
        np.testing.assert_allclose(one.lvef_percent, other.lvef_percent, atol=1e-4)


def test_a_killed_experiment_goes_on_where_it_was(experiment, answered, tmp_path, monkeypatch):
    real = trainings.train_one
    done = []

    def killed_after_three(training, sources, path):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(path)
        return real(training, sources, path)

    monkeypatch.setattr(trainings, "train_one", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, tmp_path)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.json"))) == 3
    found = run_experiment(experiment, tmp_path)
    for one, other in zip(answered[0], found, strict=True):
        np.testing.assert_allclose(one.lvef_percent, other.lvef_percent, atol=1e-4)


def test_the_digest_follows_all_that_the_answers_depend_on(experiment):
    arm = experiment.arms[0]
    training, sources = experiment.training(arm, 0), experiment.sources
    same = training.digest(sources)
    weighted = dataclasses.replace(training.data, weight=np.ones(len(training.data)))
    other_label = dataclasses.replace(training.data, lvef_percent=training.data.lvef_percent + 1)
    config = dataclasses.replace(training.config, steps=4)
    others = [
        experiment.training(arm, 1).digest(sources),
        dataclasses.replace(training, seed=training.seed + 1).digest(sources),
        dataclasses.replace(training, data=weighted).digest(sources),
        dataclasses.replace(training, data=other_label).digest(sources),
        dataclasses.replace(training, config=config).digest(sources),
        training.digest(dataclasses.replace(sources, held_out=sources.held_out[1:])),
        training.digest(dataclasses.replace(sources, generated=None)),
    ]
    assert len({same, *others}) == 1 + len(others)
    assert experiment.training(arm, 0).digest(sources) == same


def test_processes_give_the_answers_of_one(experiment, answered, tmp_path, monkeypatch):
    """Four trainings by two processes; what a worker returns is what this process computes."""
    monkeypatch.setattr(trainings, "POOL_FROM", 0)
    some = [experiment.training(arm, 0) for arm in experiment.arms[:2]]
    found = train_all(some, experiment.sources, tmp_path, workers=2)
    for one, each in zip(found, answered[0], strict=False):
        np.testing.assert_allclose(one, each.lvef_percent[0], atol=1e-4)


def batches_of(experiment, data: TrainingSet) -> Batches:
    training = experiment.training(experiment.arms[0], 0)
    return Batches(dataclasses.replace(training, data=data), experiment.sources)


def test_an_epoch_sees_every_clip_once(experiment):
    lvef = np.arange(8.0)
    rows = experiment.pool.real[:8]
    batches = batches_of(experiment, TrainingSet(rows, np.empty(0, np.int64), lvef))
    seen = [np.sort(torch.cat([batches(2 * e)[1], batches(2 * e + 1)[1]])) for e in range(3)]
    assert all((epoch == lvef).all() for epoch in seen)
    again = batches(3)
    assert torch.equal(again[0], batches(3)[0]) and again[0].shape == (4, 1, 4, 8, 8)


def test_oversampling_draws_by_probability_and_weights_come_with_their_clips(experiment):
    rows, none = experiment.pool.real[:4], np.empty(0, np.int64)
    lvef, p = np.arange(4.0), np.array([0.7, 0.1, 0.1, 0.1])
    batches = batches_of(experiment, TrainingSet(rows, none, lvef, probability=p))
    drawn = torch.cat([batches(step)[1] for step in range(100)])
    assert abs(float((drawn == 0).float().mean()) - 0.7) < 0.08
    weighted = batches_of(experiment, TrainingSet(rows, none, lvef, weight=lvef + 1))
    _, label, weight = weighted(0)
    assert torch.equal(weight, label + 1)


def test_real_and_generated_clips_come_from_their_own_stores(experiment):
    sources = experiment.sources
    data = TrainingSet(np.array([3]), np.array([1]), np.array([10.0, 20.0]))
    video, label, *_ = batches_of(experiment, data)(0)
    made = torch.from_numpy(np.array(sources.generated.window(1, 4, 0))).float() / 127.5 - 1
    (place,) = [i for i in range(2) if label[i] == 20.0][:1]
    torch.testing.assert_close(video[place, 0], made[..., 0])


def test_a_long_training_saves_itself_on_the_way(experiment, tmp_path, monkeypatch):
    """From CHECKPOINT_FROM steps on a kill costs an eighth of a training at most."""
    training = experiment.training(experiment.arms[0], 0)
    seen = []
    fit = trainings.fit_regressor

    def watched(*arguments, **named):
        seen.append(named["checkpoint"])
        return fit(*arguments, **named)

    monkeypatch.setattr(trainings, "fit_regressor", watched)
    monkeypatch.setattr(trainings, "CHECKPOINT_FROM", 3)
    train_one(training, experiment.sources, tmp_path / "a.json")
    assert seen == [tmp_path / "a.pt"] and not seen[0].exists()


def test_weights_are_kept_when_asked(experiment, tmp_path):
    from echocascade.evaluation.lvef import LVEFRegressor

    training = dataclasses.replace(experiment.training(experiment.arms[0], 0), keep_weights=True)
    train_one(training, experiment.sources, tmp_path / "a.json")
    model = LVEFRegressor.load(tmp_path / "a.safetensors")
    clips = torch.from_numpy(np.array(experiment.sources.real.window(0, 4, 0))[None]).float()
    assert torch.isfinite(model(clips.movedim(-1, 1) / 127.5 - 1)).all()


def test_the_sets_are_told_before_the_results(experiment):
    table = set_table(experiment)
    assert (table["real"] + table["generated"] == table["size"]).all()
    assert table["evenness"].between(0, 1).all()


def test_without_generated_clips_the_baselines_remain(trained, generated, tmp_path):
    """A cascade whose clips were all refused still gives an experiment, and says what it lacks."""

    class Nothing(type(generated)):
        def provenance(self):
            return super().provenance().assign(kept=False)

    nothing = Nothing(generated.root, generated.facts)
    experiment = plan_experiment(trained.params, trained.store, nothing, tmp_path)
    assert {arm.method for arm in experiment.arms} == {"real", "oversampled", "weighted"}
    assert any("0 were kept" in text for text in experiment.left_out)
