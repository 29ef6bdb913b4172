"""Measuring one piece of work: time, memory, FLOPs, traffic, and where the time goes."""

import gc
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echocascade.cascade.cost import flop_counter

Work = Callable[[], object]

# by the words in a kernel's name, first match counts
KINDS = {
    "convolution": ("conv", "cudnn", "implicit_gemm", "fprop", "dgrad", "wgrad"),
    "attention": ("scaled_dot_product", "flash", "fmha", "softmax", "bmm"),
    "matrix product": ("mm", "gemm", "linear", "cutlass"),
    "copies": ("copy", "memcpy", "cat", "contiguous", "memset", "fill"),
}
_HEAVY = ("convolution", "mm", "bmm", "addmm", "scaled_dot_product", "baddbmm")


@dataclass(frozen=True)
class Timing:
    """times_s: of the measured runs, in order."""

    times_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return median(self.times_s)


@dataclass(frozen=True)
class Counted:
    """flops of one run; bytes that its convolutions, matrix products and attention must read and
    write at least, each operand once."""

    flops: int
    bytes: int


def wait_for(device: torch.device) -> None:
    """Until all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Work, device: torch.device, runs: int, warmup: int, limit_s: float = 120) -> Timing:
    """Times of `runs` runs, fewer (3 at least) once `limit_s` is spent."""
    for _ in range(warmup):
        work()
    wait_for(device)
    times: list[float] = []
    gc.collect()
    gc.disable()  # a collection inside a run would be counted as its work
    try:
        while len(times) < runs and (len(times) < 3 or sum(times) < limit_s):
            start = time.perf_counter()
            work()
            wait_for(device)
            times.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return Timing(tuple(times))


def peak_memory_mb(device: torch.device) -> float:
    """The most memory this process, or the device, has held so far, in MB (10^6 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # since this program began; getrusage also counts its parent's
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Traffic(TorchDispatchMode):
    """Adds up the bytes of what heavy operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[Any], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        result = func(*args, **(kwargs or {}))
        if any(word in str(func) for word in _HEAVY):
            tensors = [t for t in tree_leaves((args, result)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return result


def counted(work: Work) -> Counted:
    """One run of `work`, counted by PyTorch's own formulas; a multiply-add is two FLOPs."""
    counter = flop_counter()
    with counter, Traffic() as traffic:
        work()
    return Counted(int(counter.get_total_flops()), traffic.bytes)


def where_time_goes(work: Work, device: torch.device) -> dict[str, float]:
    """Seconds of one run by kind of operation, the largest first (torch.profiler's overhead in)."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        work()
        wait_for(device)
    seconds: dict[str, float] = {}
    for event in profiler.key_averages():
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = kind_of(event.key)
        seconds[kind] = seconds.get(kind, 0.0) + spent / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def kind_of(kernel: str) -> str:
    """The kind of work that a kernel's or operator's name stands for."""
    name = kernel.lower()
    for kind, words in KINDS.items():
        if any(word in name for word in words):
            return kind
    return "norms, activations, sums"
