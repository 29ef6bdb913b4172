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
    header: str = HEADER

    def write(self, newline: str = "\n", bom: bool = False) -> Path:
        """Write FileList.csv and return the folder."""
        text = newline.join([self.header, *self.rows]) + newline
        encoding = "utf-8-sig" if bom else "utf-8"
        (self.root / "FileList.csv").write_bytes(text.encode(encoding))
        return self.root

    def add(self, name: str, n_frames: int, split: str = "TRAIN", fps: float = 10) -> None:
        """Write one more clip and its row (call `write` afterwards)."""
        write_avi(self.video(name), drifting_clip(len(self.rows), n_frames), fps)
        self.rows.append(f"{name},50,50,100,16,16,{fps},{n_frames},{split}")

    def change(self, row: int, column: str, cell: str) -> None:
        """Put `cell` into one place; `row` counts from 0."""
        cells = self.rows[row].split(",")
        cells[self.header.split(",").index(column)] = cell
        self.rows[row] = ",".join(cells)

    def video(self, name: str) -> Path:
        """Path of a clip."""
        return self.root / "Videos" / f"{name}.avi"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Eight clips of 20 to 27 frames at 10 fps: five TRAIN, two VAL, one TEST; EF 30, 35, ..."""
    made = Folder(tmp_path / "dataset", [])
    (made.root / "Videos").mkdir(parents=True)
    for i, split in enumerate(["TRAIN"] * 5 + ["VAL"] * 2 + ["TEST"]):
        made.add(f"0X{7 - i:04X}", 20 + i, split)
        made.change(i, "EF", str(30 + 5 * i))
    made.write()
    return made
