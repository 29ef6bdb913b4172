"""Where a run came from: code, packages, machine. Never who ran it, where, or on which host."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "numpy",
    "pandas",
    "scipy",
    "opencv-python",
    "av",
    "torchmetrics",
    "torch-fidelity",
    "plotly",
    "papermill",
    "nbconvert",
    "snakemake",
)


def collect(root: Path, command: Sequence[str]) -> dict[str, object]:
    """The provenance of a run that starts now in the project at `root`."""
    return {
        "command": clean_command(root, command),
        "started": timestamp(),
        **git_state(root),
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": available_cores(),
        "device": device_name(),
    }


def timestamp() -> str:
    """The time now in UTC, ISO 8601 to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def git_state(root: Path) -> dict[str, object]:
    """`commit` and `dirty` of the working tree, both None outside a git checkout."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}


def _git(root: Path, *arguments: str) -> str | None:
    if shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def processor_name() -> str:
    """The processor's model name, as the operating system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores this process may use, which in a container or a cluster job is fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name() -> str:
    """The accelerator that torch sees, or "cpu"."""
    import torch  # seconds to import: only a run needs it, not every command

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    return "cpu"


def clean_command(root: Path, command: Sequence[str]) -> str:
    """The command line with the project's path made relative and any other path cut to its name."""
    return " ".join(_clean_word(root, word) for word in command)


def _clean_word(root: Path, word: str) -> str:
    key, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return word
    if path == Path(sys.executable):
        return f"{key}{equals}python"
    inside = path.is_relative_to(root)
    return f"{key}{equals}{path.relative_to(root) if inside else path.name}"
