"""Fixtures shared by all tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch


def pytest_runtest_setup() -> None:
    """One thread, whatever a test before has set.

    Tests are small: a second thread costs more than it gives, and much more on a busy machine.
    """
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
            "regressor.frame_rates": [],
            "evaluation.clips": 4, "evaluation.batch_size": 4, "cascade.guidance.clips": 4,
            "rebalancing.experiment.regressor": None,
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


@pytest.fixture(scope="session")
def study_run(tiny_params, tmp_path_factory):
    """A run folder and its data folder, as notebook 07 leaves them, for studies of rings.

    30 TEST patients, 24 of them with generated clips of both tasks and two draws. Real rings are
    noisy, generated ones smooth: files that are not made equal tell them apart by their size.
    """
    import numpy as np
    import pandas as pd

    from echocascade.data.atomic import write_text
    from echocascade.data.echonet import COLUMNS
    from echocascade.data.prepare import prepare_data
    from echocascade.data.video import write_avi
    from echocascade.rng import numpy_generator

    def ring(i: int, grain: float, n_frames: int = 8, size: int = 16) -> "np.ndarray":
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        hole = size / 5 + size / 12 * np.sin(np.arange(n_frames) * 0.8 + i)[:, None, None]
        clip = 180 / (1 + np.exp(-2 * (np.hypot(y, x) - hole))) * (np.hypot(y, x) < size * 0.45)
        noise = numpy_generator(0, "grain", i).normal(0, grain, clip.shape)
        return np.clip(clip + noise, 0, 255).astype(np.uint8)[..., None]

    base = tmp_path_factory.mktemp("study")
    (base / "rings" / "Videos").mkdir(parents=True)
    rows = []
    for i in range(30):
        write_avi(base / "rings" / "Videos" / f"ring{i:02d}.avi", ring(i, 25.0, 16, 32), 8)
        rows.append((f"ring{i:02d}", 20 + 2 * i, 80 - 2 * i, 100, 32, 32, 8, 16, "TEST"))
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(base / "rings/FileList.csv", index=False)
    changes = {"root": str(base / "rings")}
    data = tiny_params.data.model_copy(update=changes)
    study = tiny_params.study.model_copy(update={"trials": 20, "practice": 2, "pixels": 64})
    params = tiny_params.model_copy(update={"data": data, "study": study})
    prepare_data(params, base / "data")
    run = base / "rings-run"
    (run / "samples/evaluation/0123").mkdir(parents=True)
    (run / "tables").mkdir()
    parts = []
    for t, task in enumerate(("reconstruction", "generation")):
        for draw in range(2):
            videos = np.stack([ring(100 * t + 50 * draw + i, 0.0) for i in range(24)])
            chunk = f"0123/{task}-draw{draw}-00000.npz"
            np.savez(run / "samples/evaluation" / chunk, base=videos, last=videos)
            facts = {"FileName": [f"ring{i:02d}" for i in range(24)], "row": range(24)}
            asked = [20 + 2 * i if t == 0 else 15 + 2.9 * i for i in range(24)]
            facts |= {"task": task, "draw": draw, "chunk": chunk, "lvef_requested": asked}
            parts.append(pd.DataFrame(facts))
    pd.concat(parts).to_csv(run / "tables/scores.csv", index=False)
    write_text(run / "params.yaml", params.dump_yaml())
    return run, base / "data"


@pytest.fixture
def small_disk(tmp_path):
    """Make a real disk (tmpfs) of so many bytes, or a read-only one."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted: list[Path] = []

    def mount(size: int, read_only: bool = False) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        options = f"size={size}" + (",ro" if read_only else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
