"""imagen-pytorch's video U-Net, which the paper's authors trained, as the network of a stage.

The package is optional (`make peer`). Of it only the module with the network is loaded: the rest
imports a text encoder, data sets and a trainer, and asks a model hub for the size of a text
embedding. The network is told an LVEF where it expects a text embedding of length one.
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.conditioning import Conditioning
from echocascade.params.imported import ImportedNetwork

PACKAGE, VERSION = "imagen-pytorch", "1.21.6"
_MODULE = "imagen_pytorch.imagen_video"


@cache
def unet3d() -> Any:
    """The class `Unet3D` of imagen-pytorch 1.21.6, from this environment or from .venv-peer.

    Raises:
        CheckpointError: it is not installed, or in another version.
    """
    folder = _folder()
    if _MODULE in sys.modules:
        return sys.modules[_MODULE].Unet3D
    with _stand_ins(folder / "imagen_pytorch"), _searching(folder):
        return importlib.import_module(_MODULE).Unet3D


def is_installed() -> bool:
    """Whether `unet3d` would find the package."""
    try:
        _folder()
    except CheckpointError:
        return False
    return True


def _folder() -> Path:
    """The site-packages folder that holds the package."""
    beside = [Path(sys.prefix).parent, Path.cwd()]
    peers = [f for b in beside for f in sorted(b.glob(".venv-peer/lib/python*/site-packages"))]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [*sys.path, *(str(f) for f in peers if f.parent.name == version)]
    for place in places:
        if PathFinder.find_spec("imagen_pytorch", [place]) is None:
            continue
        found = next(iter(metadata.distributions(name=PACKAGE, path=[place])), None)
        if found is None or found.version != VERSION:
            is_there = "an unknown version" if found is None else found.version
            raise CheckpointError(f"{PACKAGE} is installed as {is_there}; needed is {VERSION}")
        return Path(place)
    raise CheckpointError(
        f"these weights need {PACKAGE} {VERSION}, which is not installed: `make peer` installs it"
    )


@contextlib.contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Look for modules in `folder` too, after all other places."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextlib.contextmanager
def _stand_ins(package: Path) -> Iterator[None]:
    """The package without what its own start would import; nothing of it stays behind."""
    parent, encoder = ModuleType("imagen_pytorch"), ModuleType("imagen_pytorch.t5")
    parent.__path__ = [str(package)]
    encoder.__dict__.update(
        DEFAULT_T5_NAME="none", get_encoded_dim=lambda _: 1, t5_encode_text=lambda *_: None
    )
    before = {name: sys.modules.pop(name) for name in list(sys.modules)
              if name.partition(".")[0] == "imagen_pytorch"}  # fmt: skip
    sys.modules.update({"imagen_pytorch": parent, "imagen_pytorch.t5": encoder})
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "imagen_pytorch"]:
            del sys.modules[name]
        sys.modules.update(before)


class ImagenNetwork(nn.Module):
    """F of a stage: called as ours is, with c_in x in [-1, 1] units and c_noise = ln(sigma) / 4.

    lambda_c: (B, 1); I_c: (B, 3, H, W) in [-1, 1] at any size; lowres: as the network sees it;
    sigma_aug: (B,) the time that their noise schedule gave it.
    """

    def __init__(self, imported: ImportedNetwork, is_base: bool, channels: int) -> None:
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints advice on widths
            self.unet: nn.Module = unet3d()(
                **imported.unet, lowres_cond=not is_base, cond_on_text=True,
                text_embed_dim=imported.text_embed_dim, channels=channels, channels_out=channels,
            )  # fmt: skip

    def forward(self, x: Tensor, c_noise: Tensor, conditioning: Conditioning) -> Tensor:
        kept = conditioning.given > 0
        if bool(kept.all()) or not bool(kept.any()):
            return self._answer(x, c_noise, conditioning, slice(None), bool(kept.all()))
        # the package drops the condition of a whole batch or of none
        answer = torch.empty_like(x)
        for rows, given in ((kept, True), (~kept, False)):
            answer[rows] = self._answer(x, c_noise, conditioning, rows, given)
        return answer

    def _answer(
        self, x: Tensor, c_noise: Tensor, c: Conditioning, rows: Tensor | slice, given: bool
    ) -> Tensor:
        embeds = rearrange(c.lambda_c[rows], "b s -> b 1 s")
        lowres = {}
        if c.lowres is not None and c.sigma_aug is not None:
            lowres = {"lowres_cond_img": c.lowres[rows], "lowres_noise_times": c.sigma_aug[rows]}
        answer: Tensor = self.unet(
            x[rows], c_noise[rows], text_embeds=embeds, text_mask=(embeds != 0).any(-1),
            cond_images=(c.I_c[rows] + 1) / 2, cond_drop_prob=0.0 if given else 1.0, **lowres,
        )  # fmt: skip
        return answer
