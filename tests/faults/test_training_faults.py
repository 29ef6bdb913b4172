"""Training under faults: N01 to N03, C08, and a killed reader (D12). A bad number goes nowhere."""

import math
import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from echocascade.cascade.checkpoint import checkpoint_places, latest_checkpoint, sha256
from echocascade.cascade.examples import StageExamples
from echocascade.cascade.loader import LoaderError
from echocascade.cascade.outcome import DivergedError
from echocascade.cascade.trainer import StageTrainer
from echocascade.cascade.training import main, train_stage
from echocascade.params import Params

KILLED = -9


def changed(params: Params, **training) -> Params:
    tree = params.model_dump()
    tree["cascade"]["stages"][0]["training"].update(training)
    return Params.model_validate(tree)


def state(trainer: StageTrainer) -> dict[str, torch.Tensor]:
    """A copy of everything that a step changes: weights, their average, Adam's two averages."""
    parts = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    parts |= {f"ema.{k}": v for k, v in trainer.ema.items()}
    for i, moments in trainer.optimizer.state_dict()["state"].items():
        parts |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    return {name: value.detach().clone() for name, value in parts.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def finite(trainer: StageTrainer) -> bool:
    return all(bool(v.isfinite().all()) for v in state(trainer).values())


def poison(monkeypatch, value: float, steps, row: int = 1) -> None:
    """One pixel of one clip of some steps' batches becomes `value`."""
    real = StageExamples.training_batch

    def training_batch(self, step, first, count):
        batch = real(self, step, first, count)
        if step in steps:
            batch.target[row, 0, 0, 0, 0] = value
        return batch

    monkeypatch.setattr(StageExamples, "training_batch", training_batch)


def scale(monkeypatch, factor: float) -> None:
    """Every clip `factor` times as bright."""
    real = StageExamples.training_batch

    def training_batch(self, step, first, count):
        batch = real(self, step, first, count)
        batch.target.mul_(factor)
        return batch

    monkeypatch.setattr(StageExamples, "training_batch", training_batch)


# N01 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_n01_a_bad_pixel_changes_nothing_and_its_clip_is_named(
    tiny_params, tiny_store, tmp_path, monkeypatch, tally, value
):
    poison(monkeypatch, value, steps={2})
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path / "base")
    for _ in range(2):
        trainer.update()
    before = state(trainer)
    tally["numbers that are not finite"] += 1
    assert math.isnan(trainer.update().loss)
    assert same(before, state(trainer))
    (note,) = trainer.skipped
    assert note["step"] == 3 and note["clips"] == [trainer.examples.names(2)[1]]
    assert math.isfinite(trainer.update().loss) and not same(before, state(trainer))
    trainer.save(finished=False)
    again = StageTrainer(tiny_params, 0, tiny_store, tmp_path / "base")
    assert again.skipped == [note]
    assert "step 3 was not taken: the loss is nan" in again.result().warnings[0]
    assert note["clips"][0] in again.result().warnings[0]


def test_n01_so_many_in_a_row_end_the_training_and_leave_the_last_checkpoint(
    tiny_params, tiny_store, tmp_path, monkeypatch, capsys, tally
):
    poison(monkeypatch, math.nan, steps={1, 3, 4, 5})
    params = changed(tiny_params, steps=20, max_bad_steps=3, checkpoint_minutes=1e-9)
    (tmp_path / "params.yaml").write_text(params.dump_yaml())
    place = ["--run", str(tmp_path), "--store", str(tiny_store.directory)]
    tally["numbers that are not finite"] += 4
    assert main([str(tmp_path / "params.yaml"), "--stage", "base", *place]) == 2
    said = capsys.readouterr().err
    directory = tmp_path / "checkpoints" / "base"
    culprit = StageTrainer(params, 0, tiny_store, directory).examples.names(5)[1]
    assert "3 steps in a row" in said and "step 6: the loss is nan" in said and culprit in said
    assert len(said.strip().splitlines()) == 1
    checkpoint, damaged = latest_checkpoint(directory)
    assert checkpoint.step == 5 and damaged == []
    for kind in ("model", "ema"):
        assert all(bool(v.isfinite().all()) for v in checkpoint.weights(kind).values())
    # the last good update was step 3: what was saved since then has the same weights
    with pytest.raises(DivergedError):
        train_stage(params, 0, tiny_store, directory)
    assert latest_checkpoint(directory)[0].step == 5


@pytest.mark.parametrize("where", ["model", "ema"])
def test_n01_weights_that_are_not_finite_are_never_saved(
    tiny_params, tiny_store, tmp_path, tally, where
):
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    trainer.update()
    trainer.save(finished=False)
    trainer.update()
    values = trainer.model.state_dict() if where == "model" else trainer.ema
    name = next(k for k, v in values.items() if v.numel())
    values[name].view(-1)[0] = math.nan
    tally["numbers that are not finite"] += 1
    with pytest.raises(FloatingPointError, match=f"{name} of the .* is not finite"):
        trainer.save(finished=True)
    assert [place.step for place in checkpoint_places(tmp_path)] == [1]


# N02 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_n02_a_bad_gradient_under_a_good_loss_changes_nothing(
    tiny_params, tiny_store, tmp_path, tally, value
):
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    trainer.update()
    before = state(trainer)
    weight = next(iter(trainer.model.parameters()))
    hook = weight.register_hook(lambda gradient: gradient * 0 + value)
    tally["numbers that are not finite"] += 1
    assert math.isnan(trainer.update().loss)
    hook.remove()
    assert same(before, state(trainer))
    (note,) = trainer.skipped
    assert "gradient's norm" in note["problem"] and note["clips"] == trainer.examples.names(1)
    assert math.isfinite(trainer.update().loss)


# N03 ---------------------------------------------------------------------------------------------


def test_n03_an_exploding_loss_moves_the_weights_no_further_than_any_other(
    tiny_params, tiny_store, tmp_path, monkeypatch, tally
):
    scale(monkeypatch, 1e6)
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    assert trainer.training.gradient_clip == 1
    norms = []
    monkeypatch.setattr(
        trainer.optimizer, "step",
        spied(trainer.optimizer.step, lambda: norms.append(gradient_norm(trainer))),
    )  # fmt: skip
    before = state(trainer)
    tally["exploding losses"] += 1
    losses = [trainer.update().loss for _ in range(5)]
    assert min(losses) > 1e6 and trainer.skipped == []
    assert len(norms) == 5 and max(norms) <= 1 + 1e-4
    assert finite(trainer)
    moved = [(state(trainer)[k] - before[k]).abs().max() for k in before if k.startswith("model")]
    # Adam's step is at most a few learning rates a weight
    assert 0 < float(max(moved)) < 5 * 5 * trainer.training.learning_rate


def test_n03_a_loss_that_overflows_is_not_taken(
    tiny_params, tiny_store, tmp_path, monkeypatch, tally
):
    scale(monkeypatch, 1e25)
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    before = state(trainer)
    tally["exploding losses"] += 1
    trainer.update()
    assert [note["step"] for note in trainer.skipped] == [1] and same(before, state(trainer))


def spied(function, first):
    def call(*arguments):
        first()
        return function(*arguments)

    return call


def gradient_norm(trainer: StageTrainer) -> float:
    gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return float(torch.cat(gradients).norm())


# C08 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tiny_params, tiny_store, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "base"
    train_stage(changed(tiny_params, steps=12, validate_times=3), 0, tiny_store, directory)
    return latest_checkpoint(directory)[0]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kills", [1, 3])
def test_c08_killed_and_resumed_is_bit_for_bit_the_undisturbed_training(
    tiny_params, tiny_store, tmp_path, undisturbed, in_process, tally, workers, kills
):
    """SIGKILL between any two steps; training goes on from the last checkpoint in a new process."""
    params = changed(
        tiny_params, steps=12, validate_times=3, workers=workers, checkpoint_minutes=1e-9
    )
    directory, steps = tmp_path / "base", tmp_path / "steps"

    def train() -> None:
        def log(done: int, total: int, note: str) -> None:
            steps.write_text(str(done))

        train_stage(params, 0, tiny_store, directory, log)

    for kill in range(kills):
        process = in_process(train)
        wait_for(lambda goal=2 + 3 * kill: int(steps.read_text() or 0) >= goal, steps)
        process.kill()
        process.join()
        assert process.exitcode == KILLED
        tally["kills"] += 1
    assert latest_checkpoint(directory)[0].step < 12
    assert train_stage(params, 0, tiny_store, directory).step == 12
    resumed, _ = latest_checkpoint(directory)
    for kind in ("model", "ema"):
        assert same(undisturbed.weights(kind), resumed.weights(kind))
    without_time = [
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in checkpoint.history]
        for checkpoint in (undisturbed, resumed)
    ]
    assert without_time[0] == without_time[1]
    assert sha256(undisturbed.directory / "model.safetensors") == sha256(
        resumed.directory / "model.safetensors"
    )


def wait_for(ready, file: Path, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not (file.exists() and ready()):
        assert time.monotonic() < deadline, "the training does not come so far"
        time.sleep(0.002)


# D12 ---------------------------------------------------------------------------------------------


def test_d12_a_killed_reader_ends_the_training_with_a_message_and_no_hang(
    tiny_params, tiny_store, tmp_path, tally
):
    before = set(multiprocessing.active_children())
    killed_at = []

    def kill_a_reader(done: int, total: int, note: str) -> None:
        if not killed_at:
            readers = set(multiprocessing.active_children()) - before
            assert len(readers) == 2
            readers.pop().kill()
            killed_at.append(time.monotonic())
            tally["kills"] += 1

    params = changed(tiny_params, workers=2, steps=100_000)
    with pytest.raises(LoaderError, match=r"stage base was killed.*training\.workers: 0"):
        train_stage(params, 0, tiny_store, tmp_path / "base", kill_a_reader)
    assert time.monotonic() - killed_at[0] < 60
