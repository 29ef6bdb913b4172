"""Clips as small grey pictures, compared at every shift in time."""

import numpy as np
import torch
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]

SIDE = 16  # pixels of a thumbnail: speckle is gone, walls are there


def thumbnails(frames: np.ndarray) -> NDArray[np.uint8]:
    """uint8 frames (T, H, W, C) as grey pictures (T, SIDE * SIDE), averaged over areas."""
    grey = reduce(torch.from_numpy(np.array(frames)).float(), "t h w c -> t 1 h w", "mean")
    small = nn.functional.adaptive_avg_pool2d(grey, SIDE)
    return rearrange(small.round().to(torch.uint8), "t 1 h w -> t (h w)").numpy()


def shifted_distances(
    queries: NDArray[np.float32], pictures: NDArray[np.float32], stride: int
) -> Array:
    """sqrt(2 (1 - r)) of queries (Q, K, D) of unit length at every shift over pictures (L, D).

    A query's frames are `stride` pictures apart. Returns (Q, L - (K - 1) * stride).
    """
    n_queries, n_frames, n_pixels = queries.shape
    shifts = len(pictures) - (n_frames - 1) * stride
    places = stride * np.arange(n_frames)[:, None] + np.arange(shifts)  # (K, shifts)
    flat = rearrange(queries, "q k d -> (q k) d")
    product = rearrange(flat @ pictures.T, "(q k) l -> q k l", q=n_queries)
    product = product[:, np.arange(n_frames)[:, None], places].sum(axis=1)
    n = n_frames * n_pixels
    sums = pictures.sum(axis=1, dtype=np.float64)[places].sum(axis=0)
    squares = (pictures.astype(np.float64) ** 2).sum(axis=1)[places].sum(axis=0)
    spread = np.sqrt(np.maximum(squares - sums**2 / n, 1e-9))
    return np.sqrt(np.maximum(2 * (1 - product / spread), 0))  # queries have mean 0
