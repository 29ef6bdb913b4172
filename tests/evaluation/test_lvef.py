"""The LVEF regressor: it learns a known EF, survives a file, and fails with clear words."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from echocascade.evaluation.augmentation import _at_half_the_rate, shift_randomly
from echocascade.evaluation.lvef import (
    LVEFRegressor,
    RegressorConfig,
    predict_lvef,
)
from echocascade.evaluation.lvef_training import (
    evaluate_regressor,
    fit_regressor,
    learning_rate_factor,
)

SIZE, FRAMES = 16, 8
TINY = RegressorConfig(preset="tiny", size=SIZE, n_frames=FRAMES, fps=8, steps=110, batch_size=16)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are tiny; on a busy machine two threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pulsating_discs(n, seed):
    """Bright discs whose volume follows one to two beats; LVEF is known exactly."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand((n, *shape), generator=generator)

    lvef = uniform(15, 85)
    time = torch.arange(FRAMES) / 8
    angle = 2 * math.pi * (uniform(1, 2, 1) * time + uniform(0, 1, 1))
    volume = 1 - lvef[:, None] / 100 * (1 - torch.cos(angle)) / 2
    radius = uniform(0.3, 0.45, 1) * SIZE * volume ** (1 / 2)
    center = uniform(0.45, 0.55, 2) * SIZE
    axis = torch.arange(SIZE) + 0.5
    distance = torch.hypot(axis - center[:, :1], torch.zeros(SIZE))[:, None]
    squared = distance**2 + ((axis - center[:, 1:]) ** 2)[:, :, None]
    edge = radius[:, :, None, None] - squared.sqrt()[:, None]
    video = 1.4 * torch.sigmoid(2 * edge) - 0.8
    noise = 0.05 * torch.randn(video.shape, generator=generator)
    return (video + noise)[:, None].clamp(-1, 1), lvef


@pytest.fixture(scope="module")
def train():
    return pulsating_discs(512, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return pulsating_discs(96, seed=1)


def batches_of(clips):
    def next_batch(step):
        chosen = torch.randint(0, 512, (16,), generator=torch.Generator().manual_seed(step))
        return clips[0][chosen], clips[1][chosen]

    return next_batch


@pytest.fixture(scope="module")
def fitted(train, held_out):
    def validate(model):
        return {"loss": abs(predict_lvef(model, held_out[0]) - held_out[1].numpy()).mean()}

    return fit_regressor(TINY, batches_of(train), seed=0, validate=validate)


def test_a_tiny_regressor_learns_the_ejection_fraction_of_a_pulsating_disc(fitted, held_out):
    report = evaluate_regressor(fitted.model, *held_out)
    assert report.scores["R2"] > 0.8
    low, high = report.scores["R2_interval"]
    assert low < report.scores["R2"] < high
    assert report.scores["n"] == 96 and report.scores["level"] == 0.95
    assert report.lvef_percent.shape == (96,)


def test_muon_learns_more_than_adam_in_so_few_steps(train, held_out):
    error = {}
    for optimizer in ("adamw", "muon"):
        config = replace(TINY, steps=40, optimizer=optimizer)
        model = fit_regressor(config, batches_of(train), seed=0).model
        error[optimizer] = abs(predict_lvef(model, held_out[0]) - held_out[1].numpy()).mean()
    assert error["muon"] < error["adamw"]


def test_history_has_training_and_validation_apart_and_a_rate_that_ends_at_zero(fitted):
    first, last = fitted.history[0], fitted.history[-1]
    assert last["step"] == TINY.steps
    assert last["loss"] < 0.3 * first["loss"]
    assert last["learning_rate"] < 0.01 * TINY.learning_rate
    validated = [record["valid_loss"] for record in fitted.history if "valid_loss" in record]
    assert 8 <= len(validated) <= 10 and validated[-1] == last["valid_loss"]
    assert validated[-1] != pytest.approx(last["loss"])


def test_predictions_do_not_depend_on_the_batch_size(fitted, held_out):
    alone, together = (predict_lvef(fitted.model, held_out[0], n) for n in (1, 32))
    assert alone == pytest.approx(together, abs=1e-3)  # points; float32 sums in another order


def test_same_seed_same_regressor_and_another_seed_another(train):
    short = RegressorConfig(preset="tiny", size=SIZE, n_frames=FRAMES, steps=3, precision="fp32")
    one, same, other = (
        predict_lvef(fit_regressor(short, batches_of(train), seed=s).model, train[0][:4])
        for s in (1, 1, 2)
    )
    assert (one == same).all() and (one != other).any()


def test_a_killed_training_continues_to_the_same_regressor(train, tmp_path):
    config = RegressorConfig(preset="tiny", size=SIZE, n_frames=FRAMES, steps=16, precision="fp32")
    whole = fit_regressor(config, batches_of(train), seed=1)

    class KilledError(Exception):
        pass

    def killed_at_ten(step):
        if step == 10:
            raise KilledError
        return batches_of(train)(step)

    checkpoint = tmp_path / "regressor.training.pt"
    with pytest.raises(KilledError):
        fit_regressor(config, killed_at_ten, seed=1, checkpoint=checkpoint)
    resumed = fit_regressor(config, batches_of(train), seed=1, checkpoint=checkpoint)
    assert resumed.history[-1]["step"] == whole.history[-1]["step"] == 16
    assert resumed.history[-1]["loss"] == whole.history[-1]["loss"]
    found, expected = (predict_lvef(f.model, train[0][:8]) for f in (resumed, whole))
    assert (found == expected).all()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a checkpoint of this regressor's training"):
        fit_regressor(config, batches_of(train), seed=1, checkpoint=checkpoint)


def test_a_saved_regressor_predicts_the_same(fitted, held_out, tmp_path):
    path = tmp_path / "judge" / "regressor.safetensors"
    fitted.model.save(path)
    loaded = LVEFRegressor.load(path)
    assert loaded.config == TINY
    assert (predict_lvef(loaded, held_out[0]) == predict_lvef(fitted.model, held_out[0])).all()
    assert '"preset": "tiny"' in path.with_suffix(".json").read_text()
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "regressor.json",
        "regressor.safetensors",
    ]


def test_a_file_that_is_no_whole_regressor_is_an_error(fitted, tmp_path):
    path = tmp_path / "regressor.safetensors"
    with pytest.raises(ValueError, match="no such regressor checkpoint"):
        LVEFRegressor.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not an LVEF regressor"):
        LVEFRegressor.load(path)
    fitted.model.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        LVEFRegressor.load(path)


def test_whole_clips_are_the_mean_over_windows_that_overlap_by_half(fitted, held_out):
    clip = torch.cat([held_out[0][0], held_out[0][1], held_out[0][2][:, :3]], dim=1)
    starts = (0, 4, 8, 11)  # 19 frames, windows of 8, the last one at the end
    windows = [clip[:, start : start + FRAMES] for start in starts]
    short = held_out[0][3][:, :5]
    found = predict_lvef(fitted.model, (c for c in (clip, short)), batch_size=3)
    assert found[0] == pytest.approx(predict_lvef(fitted.model, windows).mean(), abs=1e-3)
    assert found[1] == pytest.approx(predict_lvef(fitted.model, [short])[0], abs=1e-3)


@pytest.mark.parametrize("shape", [(2, 3, 8, 16, 16), (2, 1, 8, 20, 20), (2, 1, 8, 16)])
def test_clips_of_another_shape_are_an_error(fitted, shape):
    with pytest.raises(ValueError, match=r"takes clips \(B, 1, T, 16, 16\), found"):
        fitted.model(torch.zeros(shape))


def test_no_clips_are_an_error(fitted):
    with pytest.raises(ValueError, match="no clips"):
        predict_lvef(fitted.model, [])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"preset": "huge"}, "preset is 'huge', allowed are r2plus1d_18, small, tiny"),
        ({"channels": 2}, "channels is 2, allowed are 1 and 3"),
        ({"steps": -1}, "steps is -1, must be at least 0"),
        ({"normalisation": "imagenet"}, "allowed are kinetics, echonet, unit"),
    ],
)
def test_a_bad_configuration_is_an_error(change, word):
    with pytest.raises(ValueError, match=word):
        RegressorConfig(**change)


def test_shifted_clips_keep_their_content_and_are_black_where_nothing_was():
    video = torch.zeros(32, 1, 2, 28, 28)
    video[..., 14, 14] = 1
    moved = shift_randomly(video, torch.Generator().manual_seed(0))
    bright = (moved[:, 0] == 1).nonzero()
    assert len(bright) == 64  # one pixel a frame, the same in both frames of a clip
    assert (bright[0::2, 2:] == bright[1::2, 2:]).all()
    assert (bright[:, 2:].min(), bright[:, 2:].max()) == (12, 16)
    assert set(moved.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_roughening_keeps_what_is_linear_in_time_and_halves_the_rate_of_what_is_not():
    t = torch.arange(9.0)
    ramp = (t / 10 - 0.4).expand(1, 1, 1, 1, 9).movedim(-1, 2)
    torch.testing.assert_close(_at_half_the_rate(ramp), ramp)
    flicker = (t % 2).expand(1, 1, 1, 1, 9).movedim(-1, 2)
    assert _at_half_the_rate(flicker).abs().max() == 0


def test_learning_rate_warms_up_and_falls_to_zero():
    factors = np.array([learning_rate_factor(step, 200) for step in range(200)])
    assert factors.argmax() in (9, 10) and factors.max() == 1
    assert (np.diff(factors[10:]) < 0).all() and factors[-1] < 1e-3
