"""Weights that others trained: three formats, their normalisations, and nothing executed."""

import math
import os
import sys
import types

import numpy as np
import pytest
import torch
from torchvision.models.video import r2plus1d_18

from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig
from echocascade.evaluation.lvef_training import fit_regressor
from echocascade.evaluation.lvef_weights import load_foreign_weights

BIG = RegressorConfig(preset="r2plus1d_18", size=32)
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
INPUT = {"torchvision": KINETICS, "echonet": ((0.128,) * 3, (0.196,) * 3), "lightning": (0.0, 1.0)}


@pytest.fixture(scope="module")
def kinetics_state():
    torch.manual_seed(0)
    return r2plus1d_18(weights=None).state_dict()


def wrapped_in(state, wrapper):
    """Weights as torchvision, EchoNet-Dynamic's training or the authors' Lightning write them."""
    if wrapper == "torchvision":
        return state
    lvef = {**state, "fc.weight": state["fc.weight"][:1], "fc.bias": torch.tensor([55.6])}
    if wrapper == "echonet":
        return {
            "epoch": 3, "state_dict": {"module." + name: value for name, value in lvef.items()},
            "period": 2, "frames": 32, "best_loss": math.inf, "loss": 30.1,
            "r2": np.float64(0.81), "opt_dict": {"state": {}}, "scheduler_dict": {"last_epoch": 3},
        }  # fmt: skip
    return {
        "epoch": 3, "global_step": 100, "pytorch-lightning_version": "1.8.6",
        "state_dict": {"model.model." + name: value for name, value in lvef.items()},
        "loops": {"fit_loop": {}}, "callbacks": {"ModelCheckpoint": {"mode": "min"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def untrained():
    return LVEFRegressor(BIG).eval()  # some seconds each; every test loads all of its weights


@pytest.fixture
def loaded(untrained):
    def load(path) -> LVEFRegressor:
        load_foreign_weights(untrained, path)
        return untrained

    return load


@pytest.fixture(scope="module")
def reference(kinetics_state):
    model = r2plus1d_18(weights=None).eval()
    model.load_state_dict(kinetics_state)
    model.fc = torch.nn.Identity()
    return model


@pytest.mark.parametrize(
    ("wrapper", "legacy"),
    [
        ("torchvision", False),
        ("echonet", False),
        ("echonet", True),  # the release is from before torch 1.6
        ("lightning", False),
    ],
)
def test_weights_of_others_load_into_r2plus1d_18(
    kinetics_state, reference, loaded, tmp_path, wrapper, legacy
):
    path = tmp_path / "weights.pt"
    content = wrapped_in(kinetics_state, wrapper)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    model = loaded(path)
    clip = torch.rand(1, 1, 8, 32, 32) * 2 - 1
    mean, std = map(torch.tensor, INPUT[wrapper])
    rgb = ((clip.expand(1, 3, 8, 32, 32) + 1) / 2).permute(0, 2, 3, 4, 1)
    expected = reference(((rgb - mean) / std).permute(0, 4, 1, 2, 3))
    assert torch.allclose(model.features(clip), expected, rtol=1e-4, atol=1e-5)
    assert model.head.bias.item() == pytest.approx(55.6)  # mean LVEF, or the trained last layer
    if wrapper != "torchvision":
        assert torch.equal(model.head.weight.data, kinetics_state["fc.weight"][:1])


def test_the_normalisation_of_the_weights_survives_a_file(kinetics_state, loaded, tmp_path):
    torch.save(wrapped_in(kinetics_state, "lightning"), tmp_path / "weights.ckpt")
    model = loaded(tmp_path / "weights.ckpt")
    model.save(tmp_path / "regressor.safetensors")
    again = LVEFRegressor.load(tmp_path / "regressor.safetensors")
    assert again.config.normalisation == "unit"
    clip = torch.rand(1, 1, 8, 32, 32) * 2 - 1
    assert torch.equal(again(clip), model(clip))


def test_weights_that_judge_as_they_are_need_no_training(kinetics_state, tmp_path):
    torch.save(wrapped_in(kinetics_state, "echonet"), tmp_path / "weights.pt")
    as_it_is = RegressorConfig(preset="r2plus1d_18", size=32, steps=0, precision="fp32")

    def no_batch(step):
        raise AssertionError(f"trained at step {step}")

    fitted = fit_regressor(
        as_it_is, no_batch, seed=0, weights=tmp_path / "weights.pt",
        validate=lambda model: {"loss": 0.25},
    )  # fmt: skip
    assert fitted.history == [{"step": 0, "loss": 0.25, "learning_rate": 0.0, "valid_loss": 0.25}]
    assert torch.equal(fitted.model.head.weight.data, kinetics_state["fc.weight"][:1])


def test_weights_that_do_not_fit_are_an_error(kinetics_state, loaded, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match="no such weights file"):
        loaded(path)
    torch.save({**kinetics_state, "stem.0.weight": torch.zeros(45, 1, 1, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"another architecture.*\(45, 1, 1, 7, 7\) instead of"):
        loaded(path)
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="is missing"):
        loaded(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match="not a whole file of plain weights"):
        loaded(path)
    with pytest.raises(ValueError, match="are for preset r2plus1d_18, not tiny"):
        load_foreign_weights(LVEFRegressor(RegressorConfig(preset="tiny")), path)


class Trap:
    """An object whose unpickling would create a file."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("kind", ["object", "os.system", "eval", "os.mkdir"])
def test_weights_that_would_run_code_are_refused(loaded, tmp_path, kind):
    path, victim = tmp_path / "weights.pth", tmp_path / "created"
    trap = {
        "object": RegressorConfig(),
        "os.system": Trap(os.system, f"touch {victim}"),
        "eval": Trap(eval, f"__import__('os').mkdir({str(victim)!r})"),
        "os.mkdir": Trap(os.mkdir, str(victim)),
    }[kind]
    torch.save({"state_dict": {"module.w": torch.zeros(2)}, "extra": trap}, path)
    with pytest.raises(ValueError, match="plain weights"):
        loaded(path)
    assert not victim.exists()


def test_a_configuration_object_beside_the_weights_is_read_as_nothing(
    kinetics_state, loaded, tmp_path, monkeypatch
):
    module = types.ModuleType("omegaconf")

    class DictConfig:
        def __setstate__(self, state):
            raise AssertionError("a class of the checkpoint was used")

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf", "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", module)
    config = DictConfig()
    config.lr = 1e-4
    content = wrapped_in(kinetics_state, "lightning") | {"hyper_parameters": {"config": config}}
    torch.save(content, tmp_path / "weights.ckpt")
    assert loaded(tmp_path / "weights.ckpt").config.normalisation == "unit"
