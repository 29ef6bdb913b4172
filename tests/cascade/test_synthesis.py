"""Sampling a cascade: every clip stands alone."""

import pytest
import torch

from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.cascade.trainer import StageTrainer
from echocascade.cascade.training import train_stage


@pytest.fixture(scope="module")
def cascade(tiny_params, tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for i, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, i, tiny_store, folder / stage.name)
    loaded = Cascade.load(tiny_params, folder)
    for stage in loaded.stages:  # six steps leave some layers at their zero start
        for p in stage.denoiser.parameters():
            p.data += 0.05 * torch.randn(
                p.shape, generator=torch.Generator().manual_seed(p.numel())
            )
    return loaded


def request(n=3):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 16, 16, generator=g) * 2 - 1, torch.linspace(0.2, 0.8, n)[:, None]


def test_every_stage_gives_its_size_and_range(cascade):
    videos = cascade.sample(*request(), seeds=[1, 2, 3])
    assert [tuple(v.shape) for v in videos] == [(3, 1, 4, 8, 8), (3, 1, 8, 16, 16)]
    assert all(v.abs().max() <= 1 for v in videos)


def test_same_seed_same_clip_in_any_batch(cascade):
    I_c, lambda_c = request()
    guidance = Guidance(2.0)
    together = cascade.sample(I_c, lambda_c, [7, 8, 9], guidance=guidance)
    alone = cascade.sample(I_c[1:2], lambda_c[1:2], [8], guidance=guidance)
    chunked = cascade.sample(I_c, lambda_c, [7, 8, 9], guidance=guidance, batch_size=2)
    for a, b, c in zip(together, alone, chunked, strict=True):
        # float32 convolutions of another batch size may sum in another order
        torch.testing.assert_close(a[1:2], b, atol=1e-3, rtol=0)
        torch.testing.assert_close(a, c, atol=1e-3, rtol=0)


def test_seed_lvef_and_guidance_each_change_the_clip(cascade):
    I_c, lambda_c = request(1)
    plain = cascade.sample(I_c, lambda_c, [7])[-1]
    assert not torch.allclose(plain, cascade.sample(I_c, lambda_c, [8])[-1], atol=1e-2)
    assert not torch.equal(plain, cascade.sample(I_c, lambda_c + 0.4, [7])[-1])
    assert not torch.equal(plain, cascade.sample(I_c, lambda_c, [7], guidance=Guidance(3.0))[-1])


def test_guidance_is_for_the_first_stage_unless_told_otherwise(cascade):
    tssr = cascade.stages[1]
    I_c, lambda_c = request(1)
    lowres = torch.zeros(1, 1, 4, 8, 8)
    one = tssr.sample(I_c, lambda_c, [1], seed=0, lowres=lowres)
    same = tssr.sample(I_c, lambda_c, [1], seed=0, lowres=lowres, guidance=Guidance(3.0))
    other = tssr.sample(
        I_c, lambda_c, [1], seed=0, lowres=lowres, guidance=Guidance(3.0, all_stages=True)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_rows_that_disagree_are_refused(cascade):
    with pytest.raises(ValueError, match="must agree"):
        cascade.sample(*request(2), seeds=[1])


def test_a_stage_that_is_not_finished_is_named(tiny_params, tiny_store, tmp_path):
    trainer = StageTrainer(tiny_params, 0, tiny_store, tmp_path / "base")
    trainer.update()
    trainer.save(finished=False)
    with pytest.raises(CheckpointError, match="stage base is only at step 1"):
        Cascade.load(tiny_params, tmp_path)
