"""Distances between generated and real clips against closed forms and references."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage

from echocascade.evaluation.echo_distance import (
    flicker,
    frame_difference,
    frechet_distance,
    lpips_not_computed,
    lvef_feature_frechet_distance,
    ratio_to_real,
    ssim,
)
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are tiny; on a busy machine two threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def test_lpips_says_which_weights_it_lacks():
    assert lpips_not_computed(None).startswith("not computed: needs vgg16-397923af.pth")
    assert "not in weights" in lpips_not_computed(Path("weights"))


def test_frame_difference_and_flicker_of_a_ramp_and_of_an_alternation():
    time = torch.arange(8.0)
    ramp = (time / 8).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 2, 2)
    alternating = ((-1.0) ** time / 16).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 2, 2)
    both = torch.cat([ramp, alternating])
    assert frame_difference(both) == pytest.approx([1 / 8, 1 / 8])
    assert flicker(both) == pytest.approx([0, 1 / 4], abs=1e-7)


def test_too_few_frames_are_an_error():
    with pytest.raises(ValueError, match="more than 1 frames"):
        frame_difference(clips(frames=1))
    with pytest.raises(ValueError, match="more than 2 frames"):
        flicker(clips(frames=2))


def test_ratio_to_real_is_one_for_the_same_clips_and_lies_in_its_interval():
    real = frame_difference(clips(batch=30))
    ratio = ratio_to_real(1.2 * real, real)
    assert ratio_to_real(real, real).value == 1
    assert ratio.value == pytest.approx(1.2)
    assert ratio.interval.low < 1.2 < ratio.interval.high
    with pytest.raises(ValueError, match="generated must be at least 2"):
        ratio_to_real([0.1], real)
    with pytest.raises(ValueError, match="do not change"):
        ratio_to_real(real, [0.0, 0.0])


@pytest.fixture
def feature_sets():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    return rng.normal(size=(60, 5)), rng.normal(1, 2, (80, 5)) @ mixing


def test_frechet_distance_equals_the_matrix_square_root_formula(feature_sets):
    a, b = feature_sets
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_shifted_and_of_scaled_gaussians_in_closed_form(feature_sets):
    a = feature_sets[0]
    variance = a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, a + np.array([3, 0, 0, 4, 0])) == pytest.approx(25)
    centred = a - a.mean(axis=0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance)


def test_frechet_distance_is_zero_for_a_set_with_itself_and_symmetric(feature_sets):
    a, b = feature_sets
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a[:4], b[:3]) > 0  # fewer samples than features


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "N >= 2"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "counts differ: 3 and 2"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "finite"),
    ],
)
def test_features_that_fit_no_gaussian_are_an_error(a, b, word):
    with pytest.raises(ValueError, match=word):
        frechet_distance(a, b)


def test_lvef_feature_distance_does_not_depend_on_batch_or_order():
    torch.manual_seed(0)
    model = LVEFRegressor(RegressorConfig(preset="tiny", size=16, n_frames=8))
    real, other = clips(9, 8, 16, seed=1), 0.5 * clips(9, 8, 16, seed=2)
    distance = lvef_feature_frechet_distance(model, real, other, batch_size=2)
    assert distance > 0
    # float32 features; a distance is a difference of larger numbers
    approx = pytest.approx(distance, rel=1e-3)
    assert lvef_feature_frechet_distance(model, real.flip(0), other, batch_size=5) == approx
    assert lvef_feature_frechet_distance(model, other, real) == approx
    assert lvef_feature_frechet_distance(model, real, real) == pytest.approx(0, abs=1e-6)
