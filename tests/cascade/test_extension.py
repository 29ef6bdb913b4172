"""A longer clip goes on where the short one ended, at its pace and without a seam.

The clips come from a first stage whose perfect denoiser is known: a Gaussian mixture of beating
rings at all phases and at several rates. What is wrong in a longer clip is then the extension's.
"""

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from echocascade.cascade.extension import Request, beat_frames, extend, going_on, windows_for
from echocascade.cascade.stage import Stage, Statistics
from echocascade.cascade.synthesis import Cascade, LoadedStage
from echocascade.diffusion import GaussianMixture
from echocascade.params import Params

FPS, FRAMES, SIZE = 8, 16, 16
RATES_HZ = (0.8, 1.0, 1.25, 1.5)
GRAIN = 0.06


def rings(rate_hz: float, phase: float, n_frames: int = FRAMES) -> Tensor:
    """A ring (T, H, W) in [-1, 1] whose hole beats."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    distance = torch.hypot(y - 7.5, x - 7.5)
    t = torch.arange(n_frames) / FPS
    hole = 4 + 1.6 * torch.cos(2 * torch.pi * (rate_hz * t + phase))
    bright = torch.sigmoid(2 * (distance - rearrange(hole, "t -> t 1 1"))) * (distance < 7)
    return 1.6 * bright - 0.8


class PerfectDenoiser(nn.Module):
    """E[clean | noisy] of the mixture; conditions do not matter to it."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        clips = [rings(rate, i / 24) for rate in RATES_HZ for i in range(24)]
        means = torch.stack(clips).flatten(1) - mean
        self.mixture = GaussianMixture(means, torch.full((len(means),), 1 / len(means)), GRAIN)

    def forward(self, x: Tensor, sigma: Tensor, _: object) -> Tensor:
        flat = self.mixture.denoise(rearrange(x, "b 1 t h w -> b (t h w)"), sigma)
        return rearrange(flat, "b (t h w) -> b 1 t h w", t=FRAMES, h=SIZE)


@pytest.fixture(scope="module")
def perfect(tiny_params) -> Cascade:
    tree = tiny_params.model_dump()
    tree["cascade"]["stages"] = tree["cascade"]["stages"][:1]
    stage = tree["cascade"]["stages"][0]
    stage |= {"size": SIZE, "n_frames": FRAMES, "fps": FPS}
    stage["sampler"] |= {"method": "dpmpp_2m", "steps": 12, "sigma_max": 60.0, "S_churn": 0.0}
    tree["regressor"] |= {"size": SIZE, "n_frames": FRAMES, "fps": FPS}
    tree["rebalancing"]["experiment"]["regressor"] = None
    params = Params.model_validate(tree)
    statistics = Statistics(mean=-0.4, std=0.6, sigma_data=0.6)
    first = Stage.of(params, 0).with_statistics(statistics)
    return Cascade(params, [LoadedStage(first, PerfectDenoiser(-0.4), hoist=False)])


def request(n: int) -> Request:
    return Request(torch.zeros(n, 1, SIZE, SIZE), torch.full((n, 1), 0.5), list(range(n)))


@pytest.fixture(scope="module")
def six_seconds(perfect) -> tuple[Tensor, Tensor]:
    asked = request(12)
    clips = perfect.sample(asked.I_c, asked.lambda_c, asked.seeds)
    return clips[0], extend(perfect, clips, asked, 6.0)[0]


def hole(video: Tensor) -> np.ndarray:
    """Share of dark pixels within the ring (N, T): the beat as a curve."""
    return (video[:, 0, :, 2:14, 2:14] < 0).double().mean((2, 3)).numpy()


def rate_of(curve: np.ndarray) -> float:
    """Hz of the cosine that fits a curve best, by least squares."""
    t, rates = np.arange(len(curve)) / FPS, np.arange(0.6, 1.9, 0.01)
    off = []
    for rate in rates:
        waves = np.stack([np.ones_like(t), np.cos(2 * np.pi * rate * t),
                          np.sin(2 * np.pi * rate * t)], axis=1)  # fmt: skip
        off.append(np.linalg.lstsq(waves, curve, rcond=None)[1].sum())
    return float(rates[int(np.argmin(off))])


def test_six_seconds_begin_as_the_clip(six_seconds):
    clip, longer = six_seconds
    assert longer.shape == (12, 1, 48, SIZE, SIZE)
    assert torch.equal(longer[:, :, :12], clip[:, :, :12])


def test_the_period_is_kept(six_seconds):
    """Over six seconds as over the first two, and the beat does not fade."""
    clip, longer = six_seconds
    for short, long in zip(hole(clip), hole(longer), strict=True):
        assert rate_of(long) == pytest.approx(rate_of(short), abs=0.06)
        assert np.ptp(long[-16:]) > 0.75 * np.ptp(short)


def test_there_is_no_seam(six_seconds):
    """Where windows meet, frames differ as much as anywhere: no more often beyond the others.

    Frames are compared without the beat, since that makes most of every difference.
    """
    _, longer = six_seconds
    change = longer.diff(dim=2).abs().mean((1, 3, 4)).numpy()
    places = np.arange(change.shape[1])
    fading = ((places + 1) % 8 >= 4) & (places >= 11) | (places % 8 == 7) & (places >= 11)
    within, others = change[:, fading], change[:, ~fading]
    assert within.mean() < 1.15 * others.mean()
    beyond = (within > np.quantile(others, 0.95, axis=1, keepdims=True)).mean()
    assert beyond < 0.10


def test_windows_from_noise_alone_would_lose_the_beat(perfect, six_seconds, monkeypatch):
    """Why the first stage is given a guess: the same extension without one is judged by the same
    measure, and fails it."""
    from echocascade.cascade import extension

    asked = request(12)
    clips = perfect.sample(asked.I_c, asked.lambda_c, asked.seeds)
    monkeypatch.setattr(extension, "GUESS_FROM", 1e9)
    longer = extend(perfect, clips, asked, 6.0)[0]
    off = [abs(rate_of(b) - rate_of(a)) for a, b in zip(hole(clips[0]), hole(longer), strict=True)]
    kept = [abs(rate_of(b) - rate_of(a)) for a, b in zip(*map(hole, six_seconds), strict=True)]
    assert np.mean(off) > 2 * np.mean(kept)


def test_same_request_same_longer_clip_in_any_batch(perfect, six_seconds):
    asked = request(12)
    alone = Request(asked.I_c[3:4], asked.lambda_c[3:4], asked.seeds[3:4])
    clip, longer = six_seconds
    again = extend(perfect, [clip[3:4]], alone, 6.0)[0]
    torch.testing.assert_close(again, longer[3:4], atol=1e-4, rtol=0)


def test_the_guess_gives_way_to_the_sampler(six_seconds):
    """Later beats are not copies of the first ones: their grain is drawn anew."""
    clip, longer = six_seconds
    beat = beat_frames(clip, FPS)
    copied = going_on(clip, beat, 16, 32)
    assert (longer[:, :, 16:] - copied).abs().mean() > GRAIN / 2


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_beat_is_measured_to_a_quarter_frame(rate_hz):
    clips = torch.stack([rings(rate_hz, phase)[None] for phase in (0.0, 0.3, 0.7)])
    found = beat_frames(clips, FPS)
    assert (found - FPS / rate_hz).abs().max() <= 0.5


def test_a_clip_that_does_not_beat_is_one_beat():
    noise = torch.randn(2, 1, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert beat_frames(noise, FPS).tolist() == [FRAMES, FRAMES]


def test_going_on_repeats_a_periodic_clip_exactly():
    """1 Hz at 8 frames a second is a period of 8 whole frames."""
    long = rings(1.0, 0.2, 48)[None, None]
    shown = going_on(long[:, :, :16], torch.tensor([8.0]), 16, 32)
    torch.testing.assert_close(shown, long[:, :, 16:], atol=1e-5, rtol=0)


def test_windows_cover_what_is_asked(perfect):
    first = perfect.params.cascade.stages[0]
    assert [windows_for(first, s) for s in (2.0, 2.1, 3.0, 3.1, 6.0)] == [0, 1, 1, 2, 4]


def test_every_stage_of_a_cascade_is_extended(tiny_params, tiny_store, tmp_path_factory):
    """Base and TSSR: as long as asked, the later stage on the longer base, no frame twice."""
    from echocascade.cascade.training import train_stage

    folder = tmp_path_factory.mktemp("checkpoints")
    for i, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, i, tiny_store, folder / stage.name)
    cascade = Cascade.load(tiny_params, folder)
    asked = Request(torch.zeros(2, 1, 16, 16), torch.tensor([[0.3], [0.7]]), [1, 2])
    clips = cascade.sample(asked.I_c, asked.lambda_c, asked.seeds)
    seen = []
    longer = extend(
        cascade, clips, asked, 5.0, watch=lambda stage, step, _: seen.append(stage.name)
    )
    assert [tuple(v.shape) for v in longer] == [(2, 1, 10, 8, 8), (2, 1, 20, 16, 16)]
    assert torch.equal(longer[1][:, :, :6], clips[1][:, :, :6])
    assert set(seen) == {"base", "tssr"}
    with pytest.raises(ValueError, match=r"1 s were asked for; the clip has 2 s already"):
        extend(cascade, clips, asked, 1.0)
    with pytest.raises(ValueError, match="1 clips for a cascade of 2 stages"):
        extend(cascade, clips[:1], asked, 5.0)
