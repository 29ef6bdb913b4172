"""How much a generated clip looks like the patient's real one, frame by frame, by torchmetrics.

SSIM (Wang04) and LPIPS (Zhang18), both as the paper's authors compute them (Reynaud23 Sec. 3): per
frame, then the mean over frames. Low values are expected where motion or speckle is drawn anew: the
frames are of another heartbeat.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

from echocascade.evaluation.weights import MANIFEST

Array = NDArray[np.float64]

SSIM_WINDOW = 11  # pixels: the Gaussian window of sigma 1.5 that torchmetrics builds
LPIPS_SMALLEST = 16  # pixels: VGG16 halves a frame four times


def ssim(generated: Tensor, real: Tensor) -> Array:
    """Structural similarity per clip: per frame on intensities in [0, 1], averaged over frames.

    Args:
        generated, real: (B, C, T, H, W) in [-1, 1], H and W at least 11 pixels.
    Returns:
        (B,) in [-1, 1], 1 for identical clips.
    """
    _same_clips("SSIM", generated, real, SSIM_WINDOW)
    per_frame = structural_similarity_index_measure(
        _intensity_frames(generated), _intensity_frames(real), data_range=1.0, reduction="none"
    )
    if not isinstance(per_frame, Tensor):
        raise TypeError("torchmetrics returned SSIM with an image, one value a frame was asked for")
    clips = reduce(per_frame, "(b t) -> b", "mean", b=len(real))
    return clips.double().cpu().numpy()


class Lpips:
    """LPIPS with VGG16: how far frames lie apart in a classifier's features, 0 for equal ones."""

    def __init__(self, vgg16: Path, device: torch.device) -> None:
        """`vgg16`: torchvision's weights, see `weights.MANIFEST`; torchmetrics has the rest."""
        with _as_download(vgg16):
            metric = LearnedPerceptualImagePatchSimilarity(net_type="vgg")
        self._metric = metric.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, generated: Tensor, real: Tensor) -> Array:
        """Per clip, the mean over frames: two (B, C, T, H, W) in [-1, 1] -> (B,)."""
        _same_clips("LPIPS", generated, real, LPIPS_SMALLEST)
        return np.array([self._clip(a, b) for a, b in zip(generated, real, strict=True)])

    def _clip(self, generated: Tensor, real: Tensor) -> float:
        value = self._metric(self._frames(generated), self._frames(real))
        self._metric.reset()
        return float(value)

    def _frames(self, clip: Tensor) -> Tensor:
        """(C, T, H, W) -> (T, 3, H, W)."""
        frames = rearrange(clip.float().clamp(-1, 1), "c t h w -> t c h w").to(self._device)
        return repeat(frames, "t 1 h w -> t c h w", c=3) if frames.shape[1] == 1 else frames


@contextmanager
def _as_download(vgg16: Path) -> Iterator[None]:
    """Let torchvision find the file where it would have downloaded it to, whatever its folder."""
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        (checkpoints / MANIFEST["vgg16"].file).symlink_to(vgg16.resolve())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


def _same_clips(score: str, generated: Tensor, real: Tensor, smallest: int) -> None:
    if generated.shape != real.shape or generated.ndim != 5:
        raise ValueError(
            f"{score} needs two clips (B, C, T, H, W) of one shape, found "
            f"{tuple(generated.shape)} and {tuple(real.shape)}"
        )
    if min(generated.shape[-2:]) < smallest:
        raise ValueError(
            f"{score} needs frames of at least {smallest} pixels, found {tuple(real.shape[-2:])}"
        )


def _intensity_frames(videos: Tensor) -> Tensor:
    return rearrange((videos.float().clamp(-1, 1) + 1) / 2, "b c t h w -> (b t) c h w")
