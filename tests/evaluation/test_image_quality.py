"""SSIM against the published formula, LPIPS through its whole path with local weights."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.models import vgg16

from echocascade.evaluation.image_quality import Lpips, ssim
from echocascade.evaluation.weights import MANIFEST


def clips(batch=3, frames=4, size=24, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, channels, frames, size, size), generator=generator) * 2 - 1


def ssim_of_frame(a, b):
    """Wang et al. 2004 on one frame in [0, 1]: Gaussian window, sigma 1.5, 11 pixels, reflected."""

    def blur(x):
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5, mode="mirror")

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean()


def test_ssim_is_the_mean_over_frames_of_the_published_formula():
    real, noise = clips(seed=1), clips(seed=2)
    generated = 0.7 * real + 0.3 * noise
    expected = [
        np.mean([ssim_of_frame(*((x[0, t].numpy() + 1) / 2 for x in pair)) for t in range(4)])
        for pair in zip(generated.double(), real.double(), strict=True)
    ]
    assert ssim(generated, real) == pytest.approx(expected, abs=1e-4)  # float32 variances


def test_ssim_of_a_clip_with_itself_is_one_and_falls_with_noise():
    real = clips(channels=3)
    assert ssim(real, real) == pytest.approx(1)
    little, much = (ssim(real + s * clips(seed=5, channels=3), real) for s in (0.1, 0.5))
    assert (little > much).all()


@pytest.mark.parametrize(
    ("generated", "real", "word"),
    [
        (clips(2), clips(3), "one shape"),
        (clips(2)[0], clips(2)[0], "one shape"),
        (clips(size=10), clips(size=10), "at least 11 pixels"),
    ],
)
def test_ssim_of_unlike_or_tiny_clips_is_an_error(generated, real, word):
    with pytest.raises(ValueError, match=word):
        ssim(generated, real)


@pytest.fixture(scope="module")
def lpips(tmp_path_factory):
    """A VGG16 of random features; of its classifier, which LPIPS never uses, only the shapes."""
    with torch.device("meta"):
        shapes = vgg16().state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in shapes.items():
        weight = torch.zeros(()).expand(value.shape)
        if name.startswith("features") and value.ndim > 1:
            scale = (2 / value[0].numel()) ** 0.5
            weight = scale * torch.randn(value.shape, generator=generator)
        state[name] = weight
    path = tmp_path_factory.mktemp("weights") / MANIFEST["vgg16"].file
    torch.save(state, path)
    before = torch.hub.get_dir()
    made = Lpips(path, torch.device("cpu"))
    assert torch.hub.get_dir() == before
    return made


def test_lpips_is_zero_for_equal_clips_and_rises_with_noise(lpips):
    real = clips(2, 2, 32)
    assert lpips(real, real) == pytest.approx([0, 0], abs=1e-6)
    little, much = (lpips((real + s * clips(2, 2, 32, seed=5)).clamp(-1, 1), real)
                    for s in (0.1, 0.5))  # fmt: skip
    assert (little > 0).all() and (little < much).all()


def test_lpips_is_the_mean_over_frames_and_the_same_in_any_batch_and_order(lpips):
    a, b = clips(2, 3, 16), clips(2, 3, 16, seed=1)
    together = lpips(a, b)
    frames = [lpips(a[:1, :, t : t + 1], b[:1, :, t : t + 1])[0] for t in range(3)]
    assert together[0] == pytest.approx(np.mean(frames), rel=1e-5)
    assert lpips(a[1:], b[1:])[0] == pytest.approx(together[1], rel=1e-5)
    assert lpips(b, a) == pytest.approx(together, rel=1e-5)


def test_lpips_takes_a_grey_clip_as_a_colour_clip_of_three_equal_channels(lpips):
    a, b = clips(1, 2, 16), clips(1, 2, 16, seed=1)
    colour = lpips(a.expand(1, 3, 2, 16, 16), b.expand(1, 3, 2, 16, 16))
    assert lpips(a, b) == pytest.approx(colour)
    with pytest.raises(ValueError, match="at least 16 pixels"):
        lpips(clips(size=12), clips(size=12))
