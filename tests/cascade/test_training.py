"""Training: what a step sees, and that a run survives being cut."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from echocascade.cascade.checkpoint import CheckpointError, latest_checkpoint
from echocascade.cascade.examples import StageExamples
from echocascade.cascade.identity import INTERPOLATION, check_interpolation
from echocascade.cascade.loader import Share
from echocascade.cascade.schedule import ema_decay, learning_rate
from echocascade.cascade.signals import Interrupted
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import load_stage
from echocascade.cascade.trainer import StageTrainer, motion_of
from echocascade.cascade.training import run_to_end, train_stage
from echocascade.data.video import enlarge
from echocascade.params import Params, ParamsError


def changed(params: Params, stage: int, **training) -> Params:
    tree = params.model_dump()
    tree["cascade"]["stages"][stage]["training"].update(training)
    return Params.model_validate(tree)


@pytest.fixture
def trained(tiny_params, tiny_store, tmp_path):
    for i, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, i, tiny_store, tmp_path / stage.name)
    return tmp_path


def shares(params: Params, world: int, stage: int = 1) -> list[Share]:
    training = params.cascade.stages[stage].training
    return [Share.of(training, rank, world) for rank in range(world)]


def test_a_batch_is_the_same_samples_however_it_is_split(tiny_params, tiny_store):
    params = changed(tiny_params, 1, device_batch=1)
    examples = StageExamples(params, Stage.of(params, 1), tiny_store)
    whole = examples.training_batch(3, 12, 4)
    parts = [
        examples.training_batch(3, share.first(3, part), share.micro)
        for part in range(2)
        for share in shares(params, world=2)
    ]
    for name in ("target", "noise", "level"):
        split = torch.cat([getattr(p, name) for p in parts])
        assert torch.equal(getattr(whole, name), split)
    lowres = torch.cat([p.conditioning.lowres for p in parts])
    assert torch.equal(whole.conditioning.lowres, lowres)
    assert {p.conditioning.time_aware for p in parts} == {whole.conditioning.time_aware}


@pytest.mark.parametrize(
    ("device_batch", "world", "parts", "micro"),
    [(None, 1, 1, 12), (12, 1, 1, 12), (5, 1, 3, 4), (4, 3, 1, 4), (5, 2, 2, 3), (1, 4, 3, 1)],
)
def test_a_device_adds_up_as_few_parts_as_fit(tiny_params, device_batch, world, parts, micro):
    params = changed(tiny_params, 1, batch_size=12, device_batch=device_batch)
    for share in shares(params, world):
        assert (share.parts, share.micro) == (parts, micro)


def test_noise_levels_are_normal_and_one_of_a_step_lies_in_every_quantile_range(
    tiny_params, tiny_store
):
    examples = StageExamples(tiny_params, Stage.of(tiny_params, 1), tiny_store)
    batches = [examples.training_batch(step, 4 * step, 4).level for step in range(500)]
    for level in batches[:50]:
        quantiles = torch.special.ndtr(level.double()).sort().values
        gaps = torch.diff(quantiles, append=quantiles[:1] + 1)
        torch.testing.assert_close(gaps, torch.full_like(gaps, 0.25), atol=1e-5, rtol=0)
    every = torch.special.ndtr(torch.cat(batches).double()).sort().values
    even = (torch.arange(2000) + 0.5) / 2000
    # Kolmogorov's bound for 500 independent draws at 0.1 %: steps are, levels within one are not
    assert (every - even).abs().max() < 1.95 / 500**0.5
    assert len({round(float(level[0]), 6) for level in batches}) == 500


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tiny_params):
    with pytest.raises(ParamsError, match="batch_size 4 cannot be shared by 3 processes"):
        shares(tiny_params, world=3)


def test_image_only_batches_and_dropped_conditions_are_drawn_as_often_as_asked(
    tiny_params, tiny_store
):
    params = changed(tiny_params, 0, image_only=0.25, drop_condition=0.1)
    examples = StageExamples(params, Stage.of(params, 0), tiny_store)
    batches = [examples.training_batch(step, 4 * step, 4) for step in range(400)]
    image_only = sum(not b.conditioning.time_aware for b in batches) / 400
    dropped = 1 - torch.cat([b.conditioning.given for b in batches]).mean()
    # Four standard errors of 400 and 1600 draws.
    assert abs(image_only - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    assert abs(dropped - 0.1) < 4 * (0.1 * 0.9 / 1600) ** 0.5
    runs = [b.conditioning.time_aware for b in batches]
    assert any(a == b == c is False for a, b, c in zip(runs, runs[1:], runs[2:], strict=False))


def test_the_residual_target_plus_the_enlarged_video_is_the_video(tiny_params, tiny_store):
    stage = Stage.of(tiny_params, 1)
    video = torch.rand(2, 1, 8, 16, 16) * 2 - 1
    restored = stage.video_of(stage.target(video), stage.lowres_of(video))
    torch.testing.assert_close(restored, video, atol=1e-6, rtol=0)


def test_a_residual_of_zero_leaves_the_low_resolution_as_it_is(tiny_params):
    residual = tiny_params.cascade.stages[1].model_copy(update={"target": "residual"})
    stage = replace(Stage.of(tiny_params, 1), params=residual)
    lowres = torch.rand(2, 1, 4, 8, 8) * 1.4 - 0.7  # a cubic may overshoot by a quarter
    enlarged = stage.enlarged(lowres)
    by_cubic = enlarge(lowres, 16, 8, cubic=True)
    torch.testing.assert_close(enlarged, by_cubic, atol=0, rtol=0)
    torch.testing.assert_close(stage.video_of(torch.zeros_like(enlarged), lowres), enlarged)


def test_a_stage_without_residual_is_enlarged_linearly(tiny_params):
    plain = tiny_params.cascade.stages[1].model_copy(update={"target": "video"})
    stage = replace(Stage.of(tiny_params, 1), params=plain)
    lowres = torch.rand(2, 1, 4, 8, 8)
    torch.testing.assert_close(stage.enlarged(lowres), enlarge(lowres, 16, 8), atol=0, rtol=0)


def test_sigma_data_auto_is_the_standard_deviation_of_the_targets(tiny_params, tiny_store):
    examples = StageExamples(tiny_params, Stage.of(tiny_params, 0), tiny_store)
    batches = [examples.training_batch(step, 4 * step, 4).target for step in range(64)]
    measured = examples.statistics()
    assert measured.sigma_data == pytest.approx(float(torch.cat(batches).std()), rel=0.02)
    assert measured.mean == pytest.approx(float(torch.cat(batches).mean()), abs=0.02)


def test_a_run_that_is_cut_and_resumed_ends_with_the_same_weights(
    tiny_params, tiny_store, tmp_path
):
    train_stage(tiny_params, 0, tiny_store, tmp_path / "straight")
    cut = StageTrainer(tiny_params, 0, tiny_store, tmp_path / "cut")
    for _ in range(3):
        cut.update()
    cut.save(finished=False)
    resumed = StageTrainer(tiny_params, 0, tiny_store, tmp_path / "cut")
    assert resumed.step == 3
    run_to_end(resumed)
    straight, _ = latest_checkpoint(tmp_path / "straight")
    joined, _ = latest_checkpoint(tmp_path / "cut")
    for kind in ("model", "ema"):
        a, b = straight.weights(kind), joined.weights(kind)
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops_and_the_same_call_goes_on(
    tiny_params, tiny_store, tmp_path, number
):
    def interrupt(done: int, total: int, note: str) -> None:
        if done == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="step 2, saved"):
        train_stage(tiny_params, 0, tiny_store, tmp_path, interrupt)
    assert latest_checkpoint(tmp_path)[0].step == 2
    assert train_stage(tiny_params, 0, tiny_store, tmp_path).step == 6


def test_a_finished_stage_is_not_trained_again(tiny_params, tiny_store, trained):
    before = (trained / "base" / "step-00000006" / "meta.json").stat().st_mtime_ns
    again = train_stage(tiny_params, 0, tiny_store, trained / "base")
    assert again.step == 6
    assert (trained / "base" / "step-00000006" / "meta.json").stat().st_mtime_ns == before


def test_history_holds_training_and_validation_loss(trained):
    checkpoint, _ = latest_checkpoint(trained / "base")
    assert [h["step"] for h in checkpoint.history] == [3, 6]
    for entry in checkpoint.history:
        assert entry["training_loss"] > 0
        assert entry["validation_loss"] != entry["training_loss"]


def test_training_lowers_the_validation_loss(tiny_params, tiny_store, tmp_path):
    params = changed(tiny_params, 0, steps=90, batch_size=8, validate_times=9)
    history = train_stage(params, 0, tiny_store, tmp_path / "base").history
    assert history[-1]["validation_loss"] < 0.8 * history[0]["validation_loss"]


def test_motion_is_what_differs_from_the_mean_over_time():
    still, moving = torch.rand(2, 1, 1, 8, 8), torch.randn(2, 1, 4, 8, 8)
    moving = moving - moving.mean(2, keepdim=True)
    torch.testing.assert_close(motion_of(still + moving), moving)
    assert motion_of(still.expand(2, 1, 4, 8, 8)).abs().max() < 1e-6


def test_the_weight_of_motion_is_that_of_the_gradient_and_of_no_reported_loss(
    tiny_params, tiny_store, tmp_path
):
    """One step's gradient, against the loss of Karras22 and the motion's share written out."""

    def gradient(weight: float) -> tuple[torch.Tensor, float]:
        params = changed(tiny_params, 0, motion_weight=weight, image_only=0.0, gradient_clip=1e9)
        trainer = StageTrainer(params, 0, tiny_store, tmp_path / f"{weight}")
        seen: list[torch.Tensor] = []
        step = trainer.optimizer.step
        trainer.optimizer.step = lambda: (
            seen.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()])), step()
        )  # fmt: skip
        return (trainer.update().loss, seen[0])[::-1]

    plain, weighted, doubled = gradient(0.0), gradient(3.0), gradient(6.0)
    assert plain[1] == weighted[1] == doubled[1]
    motion = weighted[0] - plain[0]
    assert motion.norm() > 0.1 * plain[0].norm()
    torch.testing.assert_close(doubled[0] - plain[0], 2 * motion, rtol=1e-3, atol=1e-5)


def test_image_only_batches_have_no_motion(tiny_params, tiny_store, tmp_path):
    weights = []
    for weight in (0.0, 5.0):
        params = changed(tiny_params, 0, motion_weight=weight, image_only=1.0)
        trainer = StageTrainer(params, 0, tiny_store, tmp_path / f"{weight}")
        trainer.update()
        weights.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*weights)


def test_a_checkpoint_from_before_the_weight_of_motion_is_gone_on_with(tiny_params, trained):
    checkpoint, _ = latest_checkpoint(trained / "base")
    assert not any("motion_weight" in key for key in checkpoint.meta["facts"])


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    tiny_params, tiny_store, tmp_path
):
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    for _ in range(2):
        trainer.update()
        trainer.save(finished=False)
    weights = tmp_path / "step-00000002" / "ema.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1  # one flipped bit in a tensor
    weights.write_bytes(content)
    checkpoint, damaged = latest_checkpoint(tmp_path)
    assert checkpoint.step == 1
    assert "ema.safetensors is damaged" in damaged[0]
    (tmp_path / "step-00000001" / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        latest_checkpoint(tmp_path)


def test_changed_parameters_train_anew_and_keep_the_old_checkpoints(
    tiny_params, tiny_store, trained
):
    params = changed(tiny_params, 0, learning_rate=1e-3)
    result = train_stage(params, 0, tiny_store, trained / "base")
    assert "moved to base.made-with-" in result.warnings[0]
    (aside,) = trained.glob("base.made-with-*")
    assert latest_checkpoint(aside)[0].step == 6
    fresh = train_stage(params, 0, tiny_store, trained / "fresh")
    new, _ = latest_checkpoint(trained / "base")
    expected, _ = latest_checkpoint(fresh.directory)
    assert all(torch.equal(v, expected.weights()[k]) for k, v in new.weights().items())


def test_how_often_is_saved_does_not_make_another_model(tiny_params, tiny_store, trained):
    params = changed(tiny_params, 0, checkpoint_minutes=1.0, max_minutes=60.0)
    assert train_stage(params, 0, tiny_store, trained / "base").warnings == []


def test_weights_of_another_architecture_are_refused(tiny_params, trained):
    tree = tiny_params.model_dump()
    tree["cascade"]["stages"][0]["network"]["base_channels"] = 16
    with pytest.raises(CheckpointError, match="another architecture"):
        load_stage(Params.model_validate(tree), 0, trained)


def test_weights_for_another_enlargement_are_refused(tiny_params, trained):
    """The two of a residual and of none have the same shapes: only the checkpoint can tell."""
    load_stage(tiny_params, 1, trained)
    tree = tiny_params.model_dump()
    tree["cascade"]["stages"][1]["target"] = "video"
    with pytest.raises(CheckpointError, match="cubic in time, and stage tssr is now given linear"):
        load_stage(Params.model_validate(tree), 1, trained)


def test_a_checkpoint_from_before_the_cubic_counts_as_linear(tiny_params, trained):
    checkpoint, _ = latest_checkpoint(trained / "tssr")
    stage = Stage.of(tiny_params, 1)
    check_interpolation(checkpoint, stage)
    facts = {k: v for k, v in checkpoint.meta["facts"].items() if k != INTERPOLATION}
    before = replace(checkpoint, meta={**checkpoint.meta, "facts": facts})
    with pytest.raises(CheckpointError, match="linear in time, and stage tssr is now given cubic"):
        check_interpolation(before, stage)


def test_a_checkpoint_holds_nothing_that_needs_unpickling(trained):
    folder = trained / "base" / "step-00000006"
    torch.load(folder / "training.pt", weights_only=True)
    assert json.loads((folder / "meta.json").read_text())["finished"] is True


@pytest.mark.parametrize(("precision", "same_as_fp32"), [("tf32", True), ("bf16", False)])
def test_precision_is_that_of_the_products_and_weights_stay_float32(
    tiny_params, tiny_store, tmp_path, precision, same_as_fp32
):
    """TF32 is a GPU's: elsewhere it is float32. bfloat16 has 8 bits: a loss agrees to a percent."""
    losses = []
    for name in ("fp32", precision):
        params = changed(tiny_params, 0, precision=name)
        trainer = StageTrainer(params, 0, tiny_store, tmp_path / name)
        losses.append([trainer.update().loss for _ in range(3)])
        assert {v.dtype for v in trainer.model.state_dict().values()} == {torch.float32}
        assert {v.dtype for v in trainer.ema.values()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert (losses[1] == losses[0]) is same_as_fp32


def test_a_training_ends_by_hours_as_it_does_by_steps(tiny_params, tiny_store, tmp_path):
    params = changed(tiny_params, 0, steps=1_000_000, max_hours=1 / 3600, validate_times=1)
    trained = train_stage(params, 0, tiny_store, tmp_path)
    assert 0 < trained.step < 1_000_000
    assert 1 <= trained.history[-1]["seconds"] < 30
    assert latest_checkpoint(tmp_path)[0].finished
    with pytest.raises(ValueError, match="max_minutes or max_hours, not both"):
        changed(params, 0, max_minutes=1.0)


def test_a_training_that_was_stopped_at_its_very_end_is_finished_by_the_next_call(
    tiny_params, tiny_store, tmp_path
):
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path)
    for _ in range(6):
        trainer.update()
    trainer.save(finished=False)
    assert train_stage(tiny_params, 0, tiny_store, tmp_path).step == 6
    assert latest_checkpoint(tmp_path)[0].finished and (tmp_path / "model").is_dir()


def test_learning_rate_warms_up_and_decays(tiny_params):
    t = tiny_params.cascade.stages[0].training.model_copy(
        update={"learning_rate": 1.0, "warmup_steps": 9, "decay_from": 0.5}
    )
    assert learning_rate(t, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(t, 50, 0.5) == 1.0
    assert learning_rate(t, 75, 0.75) == pytest.approx(0.5)
    assert learning_rate(t, 99, 1.0) == 0.0


def test_the_average_forgets_by_a_power_of_time():
    # The weight left from update k after n updates is (k/n)^(gamma + 1), Karras24 Eq. 4.
    share = 1.0
    for step in range(51, 101):
        share *= ema_decay(step, 2.0)
    assert share == pytest.approx((51 / 101) ** 3, rel=1e-9)
