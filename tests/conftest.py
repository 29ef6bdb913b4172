"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import pytest
import torch

# Tests are small: a second thread costs more than it gives, and much more on a busy machine.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Real sample clips and reference numbers, which are not part of the project."""
    folder = Path(os.environ.get("ECHOCASCADE_SHARED", ROOT.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip("the folder with reference numbers and real clips is not here")
    return folder


@pytest.fixture(scope="session")
def pulsating_folder(tmp_path_factory) -> Path:
    """30 clips of a bright ring whose hole beats with a known LVEF, in EchoNet-Dynamic layout."""
    import numpy as np
    import pandas as pd

    from echocascade.data.echonet import COLUMNS
    from echocascade.data.video import write_avi

    folder = tmp_path_factory.mktemp("pulsating")
    (folder / "Videos").mkdir()
    rows = []
    y, x = np.mgrid[:32, :32] - 15.5
    for i in range(30):
        lvef, t = 15 + 70 * (i * 0.618 % 1), np.arange(40) / 16
        volume = 1 - lvef / 100 * np.sin(np.pi * t * 1.2) ** 2
        hole = 9 * volume[:, None, None] ** (1 / 3)
        ring = 200 / (1 + np.exp(-2 * (np.hypot(y, x) - hole))) * (np.hypot(y, x) < 14)
        write_avi(folder / "Videos" / f"ring{i:02d}.avi", ring.astype(np.uint8)[..., None], 16)
        split = ("TRAIN", "TRAIN", "TRAIN", "VAL", "TEST")[i % 5]
        rows.append((f"ring{i:02d}", lvef, 100 - lvef, 100, 32, 32, 16, 40, split))
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "FileList.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def tiny_params(pulsating_folder):
    """A base + TSSR cascade that trains in a second, on the pulsating rings."""
    from echocascade.params import load_params

    network = {
        "base_channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1,
        "middle_blocks": 1, "patch": 2, "temporal_attention": [1], "spatial_attention": [],
        "attention_heads": 2,
    }  # fmt: skip
    training = {
        "steps": 6, "batch_size": 4, "learning_rate": 2e-3, "warmup_steps": 2,
        "precision": "fp32", "validate_times": 2, "validate_clips": 4,
    }  # fmt: skip
    sampler = {"method": "heun", "steps": 3, "S_churn": 2.0}
    stages = [
        {"name": "base", "size": 8, "n_frames": 4, "fps": 2, "network": network,
         "training": training, "sampler": sampler},
        {"name": "tssr", "size": 16, "n_frames": 8, "fps": 4, "target": "residual",
         "network": network, "training": training, "sampler": sampler},
    ]  # fmt: skip
    return load_params(
        ROOT / "params" / "ci.yaml",
        {
            "name": "tiny", "data.root": str(pulsating_folder), "cascade.stages": stages,
            "regressor.size": 16, "regressor.n_frames": 8, "regressor.fps": 4, "workers": 1,
            "evaluation.clips": 4, "evaluation.batch_size": 4, "cascade.guidance.clips": 4,
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_store(tiny_params, tmp_path_factory):
    """The pulsating rings as a store for `tiny_params`."""
    from echocascade.data.prepare import prepare_data

    return prepare_data(tiny_params, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; the tests that need it say so when they are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    quiet = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    arguments = [f"--{flag}" for flag in [*quiet.split(), "disable-component-update"]]
    arguments += ["--disable-sync", "--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield chromium
        chromium.close()
