"""Structural similarity of generated and real clips, as a tensor.

The measure itself is `echo_distance.ssim`; this is its form for tables of samples.
"""

import torch
from torch import Tensor

from echocascade.evaluation import echo_distance


def ssim(generated: Tensor, real: Tensor) -> Tensor:
    """Structural similarity per clip, averaged over frames, on intensities in [0, 1].

    generated, real: (N, C, T, H, W) in [-1, 1], H and W at least 11 pixels. Returns (N,) in
    [-1, 1], 1 for identical clips; ValueError for other shapes.
    """
    return torch.from_numpy(echo_distance.ssim(generated, real))
