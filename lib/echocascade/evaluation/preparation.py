"""Clips made ready for the networks of FID and FVD, in one of two modes that are never mixed.

paper   frames padded with black from 112 to 128 pixels (by a seventh at other sizes) and
        written as JPEG, as the paper's were before they were scored
clean   frames as they are
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from echocascade.rng import numpy_generator

Mode = Literal["clean", "paper"]
MODES: tuple[Mode, ...] = ("clean", "paper")

CLIP_FRAMES = 16  # of FVD
JPEG_QUALITY = 92  # ImageMagick's default, which the authors' script leaves as it is


@dataclass(frozen=True)
class Prepared:
    """Clips ready to be scored in one mode: uint8 (N, T, H, W, 3), and the patient of each."""

    mode: Mode
    videos: NDArray[np.uint8]
    patients: tuple[str, ...]


def prepare(videos: np.ndarray, patients: Sequence[str], mode: Mode) -> Prepared:
    """uint8 clips (N, T, H, W, C), C 1 or 3, as `mode` has them; see the head of this module."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, allowed are {', '.join(MODES)}")
    if videos.ndim != 5 or videos.dtype != np.uint8 or len(videos) != len(patients):
        raise ValueError(
            f"clips are {videos.dtype} {videos.shape} with {len(patients)} patients; "
            "uint8 (N, T, H, W, C) and one patient a clip are needed"
        )
    colour = repeat(videos, "n t h w 1 -> n t h w c", c=3) if videos.shape[-1] == 1 else videos
    if mode == "paper":
        frames = rearrange(colour, "n t h w c -> (n t) h w c")
        compressed = np.stack([_as_jpeg(_padded(frame)) for frame in frames])
        colour = rearrange(compressed, "(n t) h w c -> n t h w c", n=len(videos))
    return Prepared(mode, np.ascontiguousarray(colour), tuple(patients))


def _padded(frame: np.ndarray) -> np.ndarray:
    """A frame with black around it: 112 pixels become 128."""
    pads = [(round(side / 14), round(side / 7) - round(side / 14)) for side in frame.shape[:2]]
    return np.pad(frame, (*pads, (0, 0)))


def _as_jpeg(frame: np.ndarray) -> np.ndarray:
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), settings)
    read = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if read is None:
        raise ValueError(f"a frame of shape {frame.shape} cannot be written as JPEG")
    return read[..., ::-1]


class Frames(Dataset[Tensor]):
    """Every frame of prepared clips: uint8 (3, H, W)."""

    def __init__(self, clips: Prepared) -> None:
        self.frames = rearrange(clips.videos, "n t h w c -> (n t) c h w")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.frames[index]))


class Windows(Dataset[Tensor]):
    """16 frames of every prepared clip, at a place drawn for its patient: uint8 (3, 16, H, W)."""

    def __init__(self, clips: Prepared, seed: int) -> None:
        most = clips.videos.shape[1] - CLIP_FRAMES
        if most < 0:
            raise ValueError(
                f"clips have {clips.videos.shape[1]} frames, FVD needs at least {CLIP_FRAMES}"
            )
        self.videos = clips.videos
        self.starts = [
            int(numpy_generator(seed, f"FVD window {name}").integers(most + 1))
            for name in clips.patients
        ]

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Tensor:
        start = self.starts[index]
        clip = self.videos[index, start : start + CLIP_FRAMES]
        return torch.from_numpy(rearrange(clip, "t h w c -> c t h w").copy())
