"""lambda_c of two entries: a small base, trained for seconds, obeys each of them by itself."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from echocascade.cascade.scalars import Scalars
from echocascade.cascade.synthesis import LoadedStage, load_stage
from echocascade.cascade.training import train_stage
from echocascade.data.clips import EvaluationClips, evaluation_clips
from echocascade.data.echonet import COLUMNS
from echocascade.data.prepare import prepare_data
from echocascade.data.video import to_model, write_avi
from echocascade.params import load_params

N_CLIPS, SIZE, N_FRAMES, FPS = 120, 8, 16, 8


def draw_hearts(folder):
    """Bright squares with a dark hole: its largest area goes with EDV, its pulsation with EF.

    The frame I_c shows an anatomy at an instant that nobody knows, so neither number can be read
    from it.
    """
    (folder / "Videos").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    rows = []
    for i in range(N_CLIPS):
        lvef, edv = 15 + 70 * (i * 0.618 % 1), 60 + 180 * (i * 0.7549 % 1)
        beat = np.cos(2 * np.pi * (70 / 60 * np.arange(32) / FPS + rng.random()))
        area = edv / 240 * (1 - lvef / 100 * 0.5 * (1 - beat))
        hole = 3.6 * np.sqrt(area)[:, None, None]
        frames = 220 / (1 + np.exp(-3 * (np.hypot(y, x) - hole)))
        write_avi(folder / "Videos" / f"heart{i:03d}.avi", frames.astype(np.uint8)[..., None], FPS)
        split = "VAL" if i % 6 == 0 else "TRAIN"
        row = (f"heart{i:03d}", lvef, edv * (1 - lvef / 100), edv, SIZE, SIZE, FPS, 32, split)
        rows.append(row)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "FileList.csv", index=False)


@dataclass(frozen=True)
class Trained:
    base: LoadedStage
    scalars: Scalars
    clips: EvaluationClips
    table: pd.DataFrame

    def hearts(self, lambda_c: Tensor) -> Tensor:
        """Clips (N, 1, T, H, W) of VAL frames, one noise each."""
        wanted = (len(lambda_c), *self.clips.frames.shape[1:])
        frames = to_model(np.resize(self.clips.frames, wanted))[:, :, 0]
        return self.base.sample(frames, lambda_c, range(len(lambda_c)), seed=0)


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("hearts")
    draw_hearts(folder)
    network = {
        "base_channels": 16, "channel_multipliers": [1], "blocks_per_level": 1,
        "middle_blocks": 1, "patch": 2, "temporal_attention": [0], "spatial_attention": [],
        "attention_heads": 2,
    }  # fmt: skip
    training = {
        "steps": 400, "batch_size": 16, "drop_condition": 0.0, "learning_rate": 4e-3,
        "beta2": 0.99, "warmup_steps": 10, "precision": "fp32", "validate_times": 1,
        "validate_clips": 4, "image_only": 0.0, "P_mean": 0.0, "P_std": 1.4, "ema_gamma": 8.0,
    }  # fmt: skip
    base = {
        "name": "base", "size": SIZE, "n_frames": N_FRAMES, "fps": FPS, "network": network,
        "training": training, "sampler": {"method": "dpmpp_2m", "steps": 10},
    }  # fmt: skip
    params = load_params(
        root / "params" / "ci.yaml",
        {
            "data.root": str(folder), "cascade.stages": [base], "workers": 1,
            "regressor.size": SIZE, "regressor.n_frames": N_FRAMES, "regressor.fps": FPS,
            "conditioning.scalars": ["EF", {"column": "EDV", "range": [50, 250]}],
            "rebalancing.experiment.regressor": None,
        },
    )  # fmt: skip
    store = prepare_data(params, folder / "data")
    train_stage(params, 0, store, folder / "checkpoints" / "base")
    clips = evaluation_clips(store, "VAL", None, N_FRAMES)
    stage = load_stage(params, 0, folder / "checkpoints")
    return Trained(stage, Scalars.of(params), clips, store.table.iloc[clips.index])


def measured(videos: Tensor) -> pd.DataFrame:
    """The largest dark area of each clip (as a mean over pixels), and how much of it goes away."""
    dark = np.sort(1 - videos.mean((1, 3, 4)).double().numpy(), axis=1)
    largest, smallest = dark[:, -3:].mean(1), dark[:, :3].mean(1)
    return pd.DataFrame({"pulsation": (largest - smallest) / largest, "area": largest})


def test_the_measurements_read_the_numbers_of_real_clips(trained):
    found = measured(to_model(trained.clips.video))
    assert np.corrcoef(found["pulsation"], trained.table["EF"])[0, 1] > 0.95
    assert np.corrcoef(found["area"], trained.table["EDV"])[0, 1] > 0.95


def test_each_scalar_moves_its_own_measurement_and_leaves_the_others(trained):
    grid = [(lvef, edv) for _ in range(6) for lvef in (20, 50, 80) for edv in (90, 150, 210)]
    asked = pd.DataFrame(grid, columns=["EF", "EDV"], dtype=float)
    found = measured(trained.hearts(trained.scalars.of_clips(asked)))
    for scalar, own, other in (("EF", "pulsation", "area"), ("EDV", "area", "pulsation")):
        moved = np.corrcoef(asked[scalar], found[own])[0, 1]
        beside = np.corrcoef(asked[scalar], found[other])[0, 1]
        assert moved > 0.75, f"{scalar} does not move {own}"  # seen: 0.92 and 0.97
        assert abs(beside) < 0.35, f"{scalar} moves {other}"  # seen: below 0.2


def test_a_counterfactual_lvef_keeps_the_size_of_the_patients_heart(trained):
    n = len(trained.table)
    low, high = (
        measured(trained.hearts(trained.scalars.asked(trained.table, np.full(n, lvef))))
        for lvef in (20.0, 80.0)
    )
    assert (high["pulsation"] > low["pulsation"] + 0.1).mean() > 0.9
    for found in (low, high):
        assert np.corrcoef(found["area"], trained.table["EDV"])[0, 1] > 0.75
    assert torch.tensor((high["area"] - low["area"]).to_numpy()).abs().mean() < 0.1
