"""Weights of the judges that others trained: which files, where from, and what their bytes are.

They lie in one folder (`weights_dir`), put there by the user; a file that its library has already
downloaded is found in PyTorch's own cache too. Nothing is downloaded while a run is evaluated: a
number without its weights reads "not computed: file, source". A file with another SHA-256 than the
published one is no such file: its numbers would carry a name that is not theirs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

RELEASES = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"
MODELS = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Weights:
    """A published file: its name, what it is for, where it is from, its SHA-256 where known."""

    file: str
    purpose: str
    source: str
    sha256: str = ""


MANIFEST: Mapping[str, Weights] = {
    "inception": Weights(
        "weights-inception-2015-12-05-6726825d.pth",
        "FID, KID, precision and recall of frames (torch-fidelity)",
        f"{RELEASES}/weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "vgg16": Weights(
        "vgg16-397923af.pth",
        "LPIPS (torchmetrics, which brings the linear layers)",
        f"{MODELS}/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "i3d": Weights(
        "i3d_torchscript.pt",
        "FVD of 16-frame clips (the detector of StyleGAN-V, as the paper)",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    ),
    "kinetics": Weights(
        "r2plus1d_18-91a641e6.pth",
        "LVEF regressor r2plus1d_18: where its training starts",
        f"{MODELS}/r2plus1d_18-91a641e6.pth",
        "91a641e6c2ab531d1aca5f4321b4d802ec5c3babc15df855cdb6e39c6a1107c8",
    ),
    "echonet": Weights(
        "r2plus1d_18_32_2_pretrained.pt",
        "LVEF regressor r2plus1d_18 as EchoNet-Dynamic released it",
        "https://github.com/douyang/EchoNetDynamic/releases/tag/v1.0.0",
    ),
}
# Which file a number needs.
NEEDS = {
    "LPIPS": "vgg16", "FID": "inception", "KID": "inception", "precision": "inception",
    "recall": "inception", "FVD": "i3d",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Where a file is, or why it cannot be used. `sha256` is that of the file that was found."""

    weights: Weights
    state: Literal["present", "missing", "different"]
    path: Path | None = None
    sha256: str = ""

    @property
    def usable(self) -> Path | None:
        """The file, if it is the published one (or no SHA-256 of it is known)."""
        return self.path if self.state == "present" else None

    @property
    def reason(self) -> str:
        """Why a number is not computed, or an empty text: the file and its source."""
        if self.state == "present":
            return ""
        what = f"not computed: {self.weights.file}, {self.weights.source}"
        if self.state == "missing":
            return what
        return f"{what} (another file of that name has SHA-256 {self.sha256[:12]}...)"


def find(weights: Weights, folder: Path | None) -> Found:
    """A file in `folder` or in PyTorch's cache; checked against its SHA-256 where one is known."""
    places = [] if folder is None else [folder.expanduser()]
    places.append(Path(torch.hub.get_dir()) / "checkpoints")
    for place in places:
        path = place / weights.file
        if path.is_file():
            sha256 = sha256_of(path)
            fits = weights.sha256 in ("", sha256)
            return Found(weights, "present" if fits else "different", path, sha256)
    return Found(weights, "missing")


def check_weights(
    folder: Path | None, manifest: Mapping[str, Weights] = MANIFEST
) -> dict[str, Found]:
    """Every file of the manifest, present or not."""
    return {name: find(weights, folder) for name, weights in manifest.items()}


def not_computed(score: str, folder: Path | None) -> str:
    """Why a score of `NEEDS` has no value here, or an empty text where its weights are present."""
    return find(MANIFEST[NEEDS[score]], folder).reason


def sha256_of(path: Path) -> str:
    """SHA-256 of a file; read once for a file that has not changed."""
    facts = path.stat()
    return _sha256_of(path.resolve(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
