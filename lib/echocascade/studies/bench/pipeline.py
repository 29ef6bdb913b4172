"""The data pipeline, the phantom and the LVEF regressor at work."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from scipy.ndimage import zoom

from echocascade.data.clips import ClipSampler, ClipStore
from echocascade.data.decode import read_frames
from echocascade.data.loading import ClipSource, load_clip
from echocascade.data.phantom import make_phantom, render_clip
from echocascade.data.tables import scan_file_list
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig
from echocascade.studies.bench.cases import Case, Plan
from echocascade.studies.bench.clock import Work
from echocascade.studies.bench.networks import Measured, in_precision, training_step

# What the paper's stages train on: two seconds of colour at 32 frames a second and 112 pixels.
SIZE, FPS, N_FRAMES, CHANNELS = 112, 32, 64, 3
CLIPS = 12


@contextmanager
def data_work(case: Case) -> Iterator[Work]:
    """One batch of 16 from the store, or one clip (the next at each call) from its file."""
    with tempfile.TemporaryDirectory(prefix="echocascade-bench-") as folder:
        root = make_phantom(Path(folder) / "phantom", CLIPS, workers=1)
        yield _data_work(case, root, Path(folder) / "store")


def _data_work(case: Case, root: Path, place: Path) -> Work:
    if case.name == "data/read batch":
        store = ClipStore.build(root, place, size=SIZE, fps=FPS, channels=CHANNELS, workers=1)
        sampler, steps = ClipSampler(store, "TRAIN", N_FRAMES, seed=0), count()
        return lambda: sampler.batch(next(steps), case.batch)
    sources = cycle(_sources(root))
    decode = _decode_and_zoom if case.name == "data/decode and zoom" else load_clip
    return lambda: decode(next(sources))


def _sources(root: Path) -> list[ClipSource]:
    table = scan_file_list(root).table
    return [
        ClipSource(root / "Videos" / f"{name}.avi", fps, frames, CHANNELS, SIZE, FPS)
        for name, fps, frames in zip(
            table["FileName"], table["FPS"], table["NumberOfFrames"], strict=True
        )
    ]


def _decode_and_zoom(source: ClipSource) -> np.ndarray:
    """As the paper's authors do for each sample: decode, then interpolate the whole clip in time
    with SciPy, all colours."""
    video = rearrange(read_frames(source.path, 3), "t h w c -> c t h w")
    resampled: np.ndarray = zoom(video, (1, FPS / source.fps, 1, 1), order=1)
    return resampled


def phantom_work(_: Case) -> Work:
    """One clip drawn, 100 frames on average (it draws the next at each call)."""
    clips = count()
    return lambda: render_clip(0, next(clips), duration_s=(2.0, 2.0))


def regressor_work(case: Case, plan: Plan) -> Measured:
    """LVEF of a batch of clips, or a training step on it."""
    device = torch.device(plan.device)
    _, preset, what = case.name.split("/")
    large = preset == "r2plus1d_18"
    size, n_frames, channels = (112, 64, 3) if large else (56, 32, 1)
    config = RegressorConfig(preset="r2plus1d_18" if large else "small", channels=channels,
                             size=size, n_frames=n_frames)  # fmt: skip
    torch.manual_seed(0)
    model = LVEFRegressor(config).to(device)
    g = torch.Generator().manual_seed(0)
    video = torch.rand(case.batch, channels, n_frames, size, size, generator=g).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    work: Callable[[], object]
    if what == "training_step":
        target = torch.full((case.batch,), 50.0, device=device)
        work = training_step(model.train(), lambda: model(video), target)
    else:
        model.eval().requires_grad_(False)
        work = torch.no_grad()(lambda: model(video))
    return Measured(in_precision(work, case.dtype, device), parameters)
