"""A stage that trains on crops samples whole pictures."""

import pytest
import torch

from echocascade.cascade.examples import StageExamples
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import load_stage
from echocascade.cascade.training import train_stage
from echocascade.params import Params


@pytest.fixture(scope="module")
def cropped(tiny_params) -> Params:
    tree = tiny_params.model_dump()
    tree["cascade"]["stages"][1]["training"]["crop"] = 8
    return Params.model_validate(tree)


def test_the_same_square_is_cut_from_all_that_belongs_together(tiny_params, cropped, tiny_store):
    whole = StageExamples(tiny_params, Stage.of(tiny_params, 1), tiny_store)
    crops = StageExamples(cropped, Stage.of(cropped, 1), tiny_store)
    places = set()
    for n in range(0, 32, 4):
        big, small = whole.training_batch(n, n, 4), crops.training_batch(n, n, 4)
        for b in range(4):
            squares = {
                (i, j)
                for i in range(9)
                for j in range(9)
                if torch.equal(small.target[b], big.target[b, ..., i : i + 8, j : j + 8])
            }
            assert len(squares) == 1
            ((i, j),) = squares
            cut = (..., slice(i, i + 8), slice(j, j + 8))
            assert torch.equal(small.noise[b], big.noise[b][cut])
            assert torch.equal(small.conditioning.I_c[b], big.conditioning.I_c[b][cut])
            assert torch.equal(small.conditioning.lowres[b], big.conditioning.lowres[b][cut])
            places.add((i, j))
    assert len(places) > 16  # of 32 samples; a crop's place is its own


def test_a_stage_trained_on_crops_samples_at_its_whole_size(cropped, tiny_store, tmp_path):
    train_stage(cropped, 1, tiny_store, tmp_path / "tssr")
    stage = load_stage(cropped, 1, tmp_path)
    g = torch.Generator().manual_seed(0)
    lowres = torch.rand(2, 1, 4, 8, 8, generator=g) * 2 - 1
    video = stage.sample(
        torch.zeros(2, 1, 16, 16), torch.full((2, 1), 0.5), [1, 2], seed=0, lowres=lowres
    )
    assert video.shape == (2, 1, 8, 16, 16)
    assert video.isfinite().all()
