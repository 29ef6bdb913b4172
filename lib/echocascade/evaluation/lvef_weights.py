"""R(2+1)D-18 weights that others trained, read into the regressor without running their code.

    torchvision's Kinetics weights      names as they are, a last layer of 400 classes
    EchoNet-Dynamic's release           `state_dict` key, `module.` prefixes, NumPy scalars beside
    the paper's authors (Lightning)     `state_dict` key, `model.model.` prefixes, callbacks, loops

Each was trained on its own normalisation of intensities, which its format tells.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from echocascade.evaluation.lvef import LVEFRegressor, load_state
from echocascade.evaluation.lvef_network import KineticsBackbone, Normalisation

WRAPPERS = ("module.", "model.")
# A checkpoint's bookkeeping (a score, a configuration) may be objects of these packages; they are
# read as inert stand-ins. Anything else that a file asks for is refused.
BOOKKEEPING = frozenset(
    {"argparse", "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib",
     "pytorch_lightning", "typing"}
)  # fmt: skip
# A file from before torch 1.6 cannot be listed beforehand; of these EchoNet-Dynamic's has some.
NUMPY_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")


class _Inert:
    """What an object of a checkpoint's bookkeeping becomes: nothing."""

    def __new__(cls, *_: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def load_foreign_weights(model: LVEFRegressor, path: Path) -> None:
    """Load torchvision-style R(2+1)D-18 weights: Kinetics, EchoNet-Dynamic's or the authors'.

    The last layer is taken when it has one output and left as it is when it has classes. The
    model's input is normalised from now on as those weights were trained.

    Raises:
        ValueError: no such file, one that is damaged or would run code, or another architecture.
    """
    if not isinstance(model.backbone, KineticsBackbone):
        raise ValueError(f"{path}: weights are for preset r2plus1d_18, not {model.config.preset}")
    content = _read_state(path)
    renamed = {}
    for name, value in _without_wrapper(content).items():
        layer, _, kind = name.partition(".")
        if layer != "fc":
            renamed[f"backbone.net.{name}"] = value
        elif value.shape[0] == 1:
            renamed[f"head.{kind}"] = value
    load_state(model, {**model.head.state_dict(prefix="head."), **renamed}, str(path))
    normalisation = _normalisation(content)
    model.config = replace(model.config, normalisation=normalisation)
    model.backbone.normalise_as(normalisation)


def _normalisation(content: Mapping[str, object]) -> Normalisation:
    """Which intensities a checkpoint's network was trained on, told by what lies beside it."""
    if "pytorch-lightning_version" in content:
        return "unit"
    return "echonet" if {"state_dict", "period", "frames"} <= content.keys() else "kinetics"


def _read_state(path: Path) -> Mapping[str, object]:
    """A weights file's top-level mapping, never by unpickling objects."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with safe_globals(_stand_ins(path)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole file of plain weights ({error})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, a mapping of names is needed")
    return content


def _stand_ins(path: Path) -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """Inert classes for the bookkeeping that a file asks for, by the names that it uses."""
    asked = set(NUMPY_SCALARS)
    if zipfile.is_zipfile(path):
        asked |= set(get_unsafe_globals_in_checkpoint(path))
    harmless = [name for name in asked if name.partition(".")[0] in BOOKKEEPING]
    # what is filled item by item has to be a mapping
    return [(OrderedDict if name.endswith("AttributeDict") else _Inert, name) for name in harmless]


def _without_wrapper(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a state dict, out of a training checkpoint and without wrappers' prefixes."""
    inner = content.get("state_dict", content)
    named = inner.items() if isinstance(inner, Mapping) else ()
    state = {str(name): value for name, value in named if isinstance(value, Tensor)}
    while state and (prefix := _shared_wrapper(state)):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _shared_wrapper(state: Mapping[str, Tensor]) -> str:
    """The prefix that a wrapper put before every name, or an empty text."""
    shared = (p for p in WRAPPERS if all(name.startswith(p) for name in state))
    return next(shared, "")
