"""A small data set in EchoNet-Dynamic layout, to be used as it is or broken on purpose."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from echocascade.data.video import write_avi

HEADER = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"


def drifting_clip(seed: int, n_frames: int, size: int = 16) -> np.ndarray:
    """Smooth grey frames (T, size, size, 1) that drift, so that frames and clips differ."""
    phase = np.random.default_rng(seed).uniform(0, 6)
    t, y, x = np.meshgrid(np.arange(n_frames), *[np.arange(size)] * 2, indexing="ij")
    wave = np.sin(phase + 0.4 * x + 0.15 * t) * np.cos(0.3 * y)
    return np.rint(128 + 100 * wave).astype(np.uint8)[..., None]


@dataclass
class Folder:
    """A data set's folder; `rows` are the lines of its FileList.csv below the header."""

    root: Path
    rows: list[str]

    def write(self, header: str = HEADER, newline: str = "\n", bom: bool = False) -> Path:
        """Write FileList.csv and return the folder."""
        text = newline.join([header, *self.rows]) + newline
        encoding = "utf-8-sig" if bom else "utf-8"
        (self.root / "FileList.csv").write_bytes(text.encode(encoding))
        return self.root

    def video(self, name: str) -> Path:
        """Path of a clip."""
        return self.root / "Videos" / f"{name}.avi"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Eight clips of 20 to 27 frames at 10 fps: five TRAIN, two VAL, one TEST; EF 30, 35, ..."""
    root = tmp_path / "dataset"
    (root / "Videos").mkdir(parents=True)
    rows = []
    for i, split in enumerate(["TRAIN"] * 5 + ["VAL"] * 2 + ["TEST"]):
        name, n_frames = f"0X{7 - i:04X}", 20 + i
        write_avi(root / "Videos" / f"{name}.avi", drifting_clip(i, n_frames), 10)
        rows.append(f"{name},{30 + 5 * i},{70 - 5 * i},100,16,16,10,{n_frames},{split}")
    made = Folder(root, rows)
    made.write()
    return made
