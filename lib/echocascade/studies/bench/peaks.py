"""What this machine can do at best: matrix product, convolution and memory, measured."""

import torch
from torch.nn import functional as F

from echocascade.studies.bench.clock import timed

_CONVOLUTIONS = ((64, 64, 56), (32, 128, 28), (32, 256, 28))  # batch, channels, pixels


def dtype_of(name: str) -> torch.dtype:
    return torch.bfloat16 if name == "bf16" else torch.float32


@torch.no_grad()
def matmul_gflop_per_s(dtype: str, device: torch.device) -> float:
    """The best rate of square matrix products."""
    best = 0.0
    for n in (2048, 4096) if device.type == "cpu" else (4096, 8192, 16384):
        a, b = (torch.randn(n, n, device=device).to(dtype_of(dtype)) for _ in range(2))
        best = max(best, 2e-9 * n**3 / _shortest(lambda a=a, b=b: a @ b, device))
    return best


@torch.no_grad()
def convolution_gflop_per_s(dtype: str, device: torch.device) -> float:
    """The best rate of plain 3 x 3 convolutions in channels-last order."""
    best = 0.0
    scale = 1 if device.type == "cpu" else 8
    for batch, channels, side in _CONVOLUTIONS:
        x = torch.randn(batch * scale, channels, side, side, device=device).to(dtype_of(dtype))
        w = torch.randn(channels, channels, 3, 3, device=device).to(dtype_of(dtype))
        x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
        work = 2e-9 * 9 * channels**2 * batch * scale * side**2
        best = max(best, work / _shortest(lambda x=x, w=w: F.conv2d(x, w, padding=1), device))
    return best


@torch.no_grad()
def bandwidth_gb_per_s(device: torch.device) -> float:
    """Bytes read and written by a copy that no cache holds."""
    n = 2**27 if device.type == "cpu" else 2**30
    a = torch.zeros(n, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2e-9 * n / _shortest(lambda: b.copy_(a), device)


def _shortest(work: object, device: torch.device) -> float:
    assert callable(work)
    return min(timed(work, device, runs=7, warmup=2, limit_s=10).times_s)
