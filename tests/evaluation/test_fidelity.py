"""FID, KID, precision, recall and FVD through torch-fidelity, with small local networks."""

import hashlib

import numpy as np
import pytest
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from echocascade.evaluation.fidelity import (
    I3D,
    INCEPTION,
    Extractor,
    cache_name,
    frame_scores,
    video_scores,
)
from echocascade.evaluation.preparation import Frames, Windows, prepare
from echocascade.rng import numpy_generator

SMALL = "small-frames"


class Detector(torch.nn.Module):
    """The interface of the I3D file: (B, 3, T, H, W) in 0..255 -> (B, F)."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool):
        if not (rescale and resize and return_features):
            return x.flatten(1)
        x = x / 255
        change = (x[:, :, 1:] - x[:, :, :-1]).abs().mean([1, 2, 3, 4])
        return torch.stack([x.mean([1, 2, 3, 4]), change], 1)


class SmallFrames(FeatureExtractorBase):
    """The interface of Inception in torch-fidelity, in a file of a few numbers."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None, **_):
        super().__init__(name, features_list)
        weight = torch.load(feature_extractor_weights_path, weights_only=True)
        self.register_buffer("weight", weight)

    @staticmethod
    def get_provided_features_list():
        return ("pooled",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "pooled"

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        return (torch.nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1) @ self.weight,)


@pytest.fixture(scope="module", autouse=True)
def small_frames():
    register_feature_extractor(SMALL, SmallFrames)
    yield
    del FEATURE_EXTRACTORS_REGISTRY[SMALL]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    torch.save(torch.randn(12, 4, generator=generator) / 100, folder / "small.pt")
    torch.jit.script(Detector()).save(folder / "i3d.pt")
    return folder


def noisy_clips(n: int, level: float, seed: int, n_frames: int = 16, size: int = 14) -> np.ndarray:
    """Clips of one grey each, that differs from clip to clip, and a little noise."""
    rng = numpy_generator(seed, "clips", n)
    grey = rng.normal(level, 12, (n, 1, 1, 1, 1))
    noise = rng.normal(0, 5, (n, n_frames, size, size, 1))
    return (grey + noise).clip(0, 255).astype(np.uint8)


def names(n: int) -> list[str]:
    return [f"p{i}" for i in range(n)]


def both(n: int, mode: str = "clean", levels=(90, 110), **settings):
    return [prepare(noisy_clips(n, level, seed, **settings), names(n), mode)
            for seed, level in enumerate(levels)]  # fmt: skip


@pytest.fixture
def extractors(files, tmp_path):
    def of(kind: str, cache: str = "cache", batch_size: int = 16) -> Extractor:
        file = {SMALL: "small.pt", I3D: "i3d.pt"}[kind]
        return Extractor(kind, files / file, tmp_path / cache, batch_size)

    return of


def test_fvd_of_known_gaussians_is_its_closed_form(extractors):
    generated, real = both(400, levels=(90, 120))
    found = video_scores(generated, real, extractors(I3D))["FVD"]
    greys = [clips.videos.mean((1, 2, 3, 4)) / 255 for clips in (generated, real)]
    means, spreads = ([f(grey) for grey in greys] for f in (np.mean, np.std))
    closed_form = (means[0] - means[1]) ** 2 + (spreads[0] - spreads[1]) ** 2
    # the second feature, the change between frames, is of the same noise in both
    assert found.value == pytest.approx(closed_form, rel=0.02)
    assert (found.n_samples, found.n_patients) == (400, 400)
    assert found.interval.low < found.value < found.interval.high


@pytest.mark.parametrize("kind", [SMALL, I3D])
def test_a_set_with_itself_has_distance_zero_and_the_order_is_irrelevant(extractors, kind):
    generated, real = both(24)
    score, name = (video_scores, "FVD") if kind == I3D else (frame_scores, "FID")
    itself = score(real, real, extractors(kind))[name].value
    one, other = score(generated, real, extractors(kind)), score(real, generated, extractors(kind))
    # torch-fidelity takes eigenvalues of a product: its zero is a rounding error of its parts
    assert abs(itself) < 1e-4 * one[name].value
    assert other[name].value == pytest.approx(one[name].value, rel=1e-6)
    if kind == SMALL:
        assert other["KID"].value == pytest.approx(one["KID"].value)
        assert other["precision"].value == one["recall"].value
        assert score(real, real, extractors(kind))["precision"].value == 1


@pytest.mark.parametrize("kind", [SMALL, I3D])
def test_the_batch_size_is_irrelevant(extractors, kind):
    generated, real = both(13)
    score = video_scores if kind == I3D else frame_scores
    one = score(generated, real, extractors(kind, "a", 1))
    many = score(generated, real, extractors(kind, "b", 64))
    for name, measured in one.items():
        assert measured.value == pytest.approx(many[name].value, rel=1e-4), name


def test_frame_scores_are_those_of_torch_fidelity_itself(extractors, files):
    generated, real = both(12)
    found = frame_scores(generated, real, extractors(SMALL))
    theirs = torch_fidelity.calculate_metrics(
        input1=Frames(generated), input2=Frames(real), feature_extractor=SMALL,
        feature_extractor_weights_path=str(files / "small.pt"), fid=True, kid=True, prc=True,
        kid_subset_size=192, kid_subsets=1, cuda=False, verbose=False, save_cpu_ram=True,
    )  # fmt: skip
    assert found["FID"].value == pytest.approx(theirs["frechet_inception_distance"])
    kid = theirs["kernel_inception_distance_mean"]  # summed in float32, unlike ours
    assert found["KID"].value == pytest.approx(kid, rel=1e-5)
    assert found["precision"].value == pytest.approx(theirs["precision"])
    assert found["recall"].value == pytest.approx(theirs["recall"])
    for measured in found.values():
        assert (measured.n_samples, measured.n_patients) == (192, 12)


def test_the_fid_network_itself_goes_the_whole_way(tmp_path, monkeypatch):
    """torch-fidelity's Inception with random weights: 0 for a set with itself, above 0 else."""
    with monkeypatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
                      lambda *_, **__: {})  # fmt: skip
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        state = FeatureExtractorInceptionV3(INCEPTION, ["2048"], verbose=False).state_dict()
    torch.save(state, tmp_path / "inception.pth")
    extractor = Extractor(INCEPTION, tmp_path / "inception.pth", tmp_path / "cache")
    generated, real = both(3, n_frames=2)
    found = frame_scores(generated, real, extractor)
    assert found["FID"].value > 0 and np.isnan(found["FID"].interval.low)
    assert abs(frame_scores(real, real, extractor)["FID"].value) < 1e-3 * found["FID"].value


def test_modes_are_never_mixed(extractors):
    videos = noisy_clips(4, 100, 0)
    clean, paper = (prepare(videos, names(4), mode) for mode in ("clean", "paper"))
    for score, kind in ((frame_scores, SMALL), (video_scores, I3D)):
        with pytest.raises(ValueError, match="mode clean, real ones in paper"):
            score(clean, paper, extractors(kind))
    with pytest.raises(ValueError, match="allowed are clean, paper"):
        prepare(videos, names(4), "both")


def test_paper_mode_pads_112_to_128_with_black_and_compresses():
    frame = numpy_generator(0, "speckle").integers(0, 256, (1, 1, 112, 112, 1), dtype=np.uint8)
    paper = prepare(frame, ["p"], "paper").videos
    assert paper.shape == (1, 1, 128, 128, 3)
    inside = paper[0, 0, 8:120, 8:120].astype(int)
    assert 0.5 < np.abs(inside - frame[0, 0]).mean() < 15  # lossy, and the same picture
    assert paper[0, 0, :4].max() < 40 and paper[0, 0, :, -4:].max() < 40  # black but for ringing
    assert (prepare(frame, ["p"], "clean").videos == frame).all()
    assert prepare(np.zeros((1, 1, 56, 56, 1), np.uint8), ["p"], "paper").videos.shape[2] == 64


def test_fvd_takes_sixteen_consecutive_frames_at_a_place_that_the_patient_alone_decides():
    counting = np.arange(40, dtype=np.uint8)[None, :, None, None, None]
    videos = np.broadcast_to(counting, (5, 40, 2, 2, 1)).copy()
    windows = Windows(prepare(videos, names(5), "clean"), seed=1)
    starts = []
    for i in range(5):
        frames = windows[i][0, :, 0, 0].tolist()
        assert frames == list(range(frames[0], frames[0] + 16))
        starts.append(frames[0])
    assert len(set(starts)) > 1
    alone = Windows(prepare(videos[3:4], ["p3"], "clean"), seed=1)
    assert alone[0][0, 0, 0, 0] == starts[3]
    with pytest.raises(ValueError, match="clips have 8 frames, FVD needs at least 16"):
        Windows(prepare(videos[:, :8], names(5), "clean"), seed=1)


def test_the_cache_knows_the_weights_the_number_and_the_preparation(files, tmp_path):
    weights = files / "small.pt"
    other = tmp_path / "small.pt"
    torch.save(torch.zeros(12, 4), other)
    clean, paper = (prepare(noisy_clips(4, 100, 0), names(4), m) for m in ("clean", "paper"))
    fewer = prepare(noisy_clips(4, 100, 0)[:3], names(3), "clean")
    same = cache_name(clean, "frames", 64, weights)
    assert same == cache_name(clean, "frames", 64, weights)
    changed = {
        cache_name(clean, "frames", 64, other), cache_name(paper, "frames", 64, weights),
        cache_name(fewer, "frames", 48, weights), cache_name(clean, "windows0", 4, weights),
    }  # fmt: skip
    assert same not in changed and len(changed) == 4
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    assert digest in same and "n64" in same and "clean" in same


def test_features_are_read_again_from_the_cache(extractors, tmp_path, monkeypatch):
    generated, real = both(6)
    first = frame_scores(generated, real, extractors(SMALL))["FID"].value
    assert len(list((tmp_path / "cache").glob("frames-*.pt"))) == 2

    def fail(self, x):
        raise AssertionError("computed again")

    monkeypatch.setattr(SmallFrames, "forward", fail)
    assert frame_scores(generated, real, extractors(SMALL))["FID"].value == first
