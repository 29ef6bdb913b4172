"""SSIM of clips as a tensor: per frame, averaged over frames."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from echocascade.evaluation.similarity import ssim


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    real = torch.rand((2, 1, 3, 24, 24), generator=generator) * 2 - 1
    noise = torch.randn(real.shape, generator=generator)
    return (real + 0.2 * noise).clamp(-1, 1), real


def test_identical_clips_score_one(clips):
    _, real = clips
    assert torch.allclose(ssim(real, real), torch.ones(2, dtype=torch.float64), atol=1e-6)


def test_it_is_the_mean_over_frames_of_the_measure_on_0_to_1(clips):
    generated, real = clips
    for i in range(2):
        per_frame = [
            structural_similarity_index_measure(
                (generated[i : i + 1, :, t] + 1) / 2,
                (real[i : i + 1, :, t] + 1) / 2,
                data_range=1.0,
            )
            for t in range(3)
        ]
        # Float32 sums over a frame's pixels agree to about 1e-6.
        assert ssim(generated, real)[i].item() == pytest.approx(
            torch.stack(per_frame).mean().item(), abs=1e-5
        )


def test_more_noise_scores_lower(clips):
    generated, real = clips
    worse = (real + 3 * (generated - real)).clamp(-1, 1)
    assert (ssim(worse, real) < ssim(generated, real)).all()


def test_clips_of_different_shape_are_refused(clips):
    generated, real = clips
    with pytest.raises(ValueError, match="shape"):
        ssim(generated[:, :, :2], real)
