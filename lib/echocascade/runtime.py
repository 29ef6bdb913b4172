"""The machine: device, arithmetic precision, threads and the C allocator.

Nothing here runs at import; entry points (command line, notebooks, training) call `prepare`.
"""

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "tf32", "bf16"]
Resolved = Literal["fp32", "tf32", "bf16"]

_PR_SET_PDEATHSIG = 1
_M_MMAP_MAX, _M_TRIM_THRESHOLD, _M_TOP_PAD = -4, -1, -2


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks instead of returning them to the kernel.

    A training step allocates and frees the same activations each time; by default glibc maps and
    unmaps them, and every page is faulted in anew. Returns False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20))
    return all(libc.mallopt(option, value) == 1 for option, value in settings)


def prepare(threads: int | None = None) -> None:
    """Set up the process for heavy work: allocator, and `threads` for PyTorch when given."""
    keep_freed_memory()
    wanted = threads or int(os.environ.get("ECHOCASCADE_THREADS", "0"))
    if wanted:
        torch.set_num_threads(wanted)


def end_with_parent() -> bool:
    """Ask Linux to send this process SIGTERM when the one that started it has gone."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) == 0)


def peak_resident_bytes() -> int:
    """The most memory that this process has held since its program began, in bytes.

    `getrusage` would also count what the process that started it held: its mark survives exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource  # only Unix has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def default_device() -> torch.device:
    """CUDA where PyTorch has it, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 convolutions are faster than float32 ones on `device`."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    flags = next((x for x in cpuinfo.read_text().splitlines() if x.startswith("flags")), "")
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def resolve_precision(precision: Precision, device: torch.device) -> Resolved:
    """`auto` is bf16 where the device computes it fast, else fp32; TF32 is a GPU's alone."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return "fp32" if precision == "tf32" and device.type != "cuda" else precision


@contextmanager
def float32_arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Float32 products inside the block in full ("fp32") or in TF32 ("tf32"), on a GPU.

    PyTorch's own default is neither: full for matrices, TF32 for convolutions. Put it around a
    whole training step: a backward pass obeys the setting of its own moment. bf16 changes nothing.
    """
    resolved = resolve_precision(precision, device)
    if device.type != "cuda" or resolved == "bf16":
        yield
        return
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32" if resolved == "tf32" else "ieee"
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """The forward pass in `precision`: bfloat16 by autocast, float32 by `float32_arithmetic`."""
    if resolve_precision(precision, device) == "bf16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    else:
        with float32_arithmetic(precision, device):
            yield
