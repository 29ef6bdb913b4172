"""A finished stage leaves weights, configuration and a card that stand by themselves."""

import json

import pytest
import torch
from safetensors.torch import load_file

from echocascade.cascade.card import CARD, CONFIG, UNKNOWN_LICENCE, WEIGHTS, load_model
from echocascade.cascade.checkpoint import CheckpointError, latest_checkpoint
from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.synthesis import load_stage
from echocascade.cascade.training import train_stage
from echocascade.params import Params


@pytest.fixture(scope="module")
def checkpoints(tiny_params, tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for i, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, i, tiny_store, folder / stage.name)
    return folder


def test_the_weights_are_those_that_sample(checkpoints):
    ema = latest_checkpoint(checkpoints / "base")[0].weights("ema")
    left = load_file(checkpoints / "base" / "model" / WEIGHTS)
    assert left.keys() == ema.keys() and all(torch.equal(left[k], ema[k]) for k in ema)


@pytest.mark.parametrize("index", [0, 1])
def test_a_model_is_rebuilt_from_its_folder_alone(tiny_params, checkpoints, index):
    name = tiny_params.cascade.stages[index].name
    trained = load_stage(tiny_params, index, checkpoints)
    stage, denoiser = load_model(checkpoints / name / "model")
    assert stage == trained.stage
    size, frames = stage.params.size, stage.params.n_frames
    x, sigma = torch.randn(2, 1, frames, size, size), torch.tensor([0.5, 2.0])
    later = index > 0
    conditioning = Conditioning(
        torch.rand(2, 1), torch.rand(2, 1, size, size), torch.ones(2),
        torch.rand_like(x) if later else None, torch.rand(2) if later else None,
    )  # fmt: skip
    assert torch.equal(denoiser(x, sigma, conditioning), trained.denoiser(x, sigma, conditioning))


def test_the_card_states_data_steps_losses_use_limits_and_licence(tiny_store, checkpoints):
    card = (checkpoints / "tssr" / "model" / CARD).read_text()
    config = json.loads((checkpoints / "tssr" / "model" / CONFIG).read_text())
    counts = tiny_store.table["Split"].value_counts()
    assert f"{counts['TRAIN']} clips of split TRAIN" in card
    assert f"{config['parameters']} parameters. 6 steps of 4 clips" in card
    for entry in config["history"]:
        row = f"| {entry['step']:.0f} | {entry['training_loss']:.4f} |"
        assert f"{row} {entry['validation_loss']:.4f} |" in card
    for title in ("## Data", "## Network and training", "## Intended use", "## Limits"):
        assert title in card
    assert "EF (0 to 100), and from a clip of 4 frames of 8 pixels" in card
    assert tiny_store.manifest["sha256"]["frames.u8"] in card
    assert UNKNOWN_LICENCE in card and "forbids passing the clips on" in card


@pytest.mark.parametrize(
    ("root", "licence", "words"),
    [("phantom", "", "no patient is in them"), ("elsewhere", "CC BY 4.0, our clinic", "CC BY 4.0")],
)
def test_the_licence_is_that_of_the_data(
    tiny_params, tiny_store, checkpoints, tmp_path, root, licence, words
):
    from echocascade.cascade.card import model_config
    from echocascade.cascade.stage import Stage

    tree = tiny_params.model_dump()
    tree["data"]["root"], tree["card"]["data_licence"] = root, licence
    params = Params.model_validate(tree)
    checkpoint, _ = latest_checkpoint(checkpoints / "base")
    config = model_config(params, Stage.of(params, 0), tiny_store, checkpoint)
    assert words in config["data"]["licence"]


def test_no_path_of_the_machine_is_in_what_may_be_passed_on(checkpoints, pulsating_folder):
    for name in (CARD, CONFIG):
        assert str(pulsating_folder.parent) not in (checkpoints / "base/model" / name).read_text()


def test_a_folder_that_lost_a_file_is_completed_by_the_next_call_and_else_left(
    tiny_params, tiny_store, checkpoints
):
    folder = checkpoints / "base" / "model"
    written = (folder / WEIGHTS).stat().st_mtime_ns
    train_stage(tiny_params, 0, tiny_store, checkpoints / "base")
    assert (folder / WEIGHTS).stat().st_mtime_ns == written
    (folder / CONFIG).unlink()  # as a kill between the files leaves it
    with pytest.raises(CheckpointError, match="not a model folder"):
        load_model(folder)
    train_stage(tiny_params, 0, tiny_store, checkpoints / "base")
    load_model(folder)


def test_weights_of_another_conditioning_are_refused(tiny_params, checkpoints):
    tree = tiny_params.model_dump()
    tree["conditioning"]["scalars"] = [{"column": "EF", "range": (0, 90)}]
    with pytest.raises(CheckpointError, match=r"scalars EF 0\.\.100, this run has EF 0\.\.90"):
        load_stage(Params.model_validate(tree), 0, checkpoints)
