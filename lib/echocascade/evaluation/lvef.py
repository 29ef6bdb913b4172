"""The LVEF regressor: (2+1)D convolutions over a clip, one LVEF in percent out.

Preset "r2plus1d_18" is torchvision's R(2+1)D-18 as the paper's judge (Reynaud23 Sec. 3, Ouyang20);
"small" and "tiny" are of the same family, sized to be trained on a CPU in minutes.
"""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18

from echocascade.data.atomic import replacing, write_text
from echocascade.runtime import Precision, autocast

Preset = Literal["r2plus1d_18", "small", "tiny"]
WIDTHS: dict[str, tuple[int, ...]] = {"small": (16, 16, 32, 64, 64), "tiny": (12, 12, 24, 48)}
# Percent per unit of the head's output: a small network reaches 15..85 % with weights of order 1.
# 1 for R(2+1)D-18, so that published LVEF checkpoints load unchanged.
OUTPUT_SCALE = {"r2plus1d_18": 1.0, "small": 20.0, "tiny": 20.0}
MEAN_LVEF = 55.6  # percent, of EchoNet-Dynamic's TRAIN split; where the head starts (FACTS Sec. 4)
STRIDED_STEM_FROM = 48  # pixels
MOTION_GAIN = 3.0  # still and moving part of a clip then vary alike
BATCHNORM_MOMENTUM = 0.05  # half of PyTorch's: batches are small and the step size is large
# Of torchvision's Kinetics weights, for intensities in [0, 1].
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
FORMAT = "echocascade LVEF regressor 1"


@dataclass(frozen=True)
class RegressorConfig:
    """What a regressor is and how it is trained. Clips are (channels, n_frames, size, size)."""

    preset: Preset = "small"
    channels: int = 1
    size: int = 56
    n_frames: int = 32
    fps: float = 16.0
    steps: int = 700
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    precision: Precision = "auto"
    mean_lvef_percent: float = MEAN_LVEF

    def __post_init__(self) -> None:
        if self.preset not in OUTPUT_SCALE:
            allowed = ", ".join(OUTPUT_SCALE)
            raise ValueError(f"regressor preset is {self.preset!r}, allowed are {allowed}")
        if self.channels not in (1, 3):
            raise ValueError(f"regressor channels is {self.channels}, allowed are 1 and 3")
        for name in ("size", "n_frames", "fps", "steps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"regressor {name} is {getattr(self, name)}, must be positive")


class FactorisedConv(nn.Module):
    """(1,3,3) then (3,1,1) convolution and batch norm. (B,T,H,W,C) -> (B,T',H',W',C').

    Both are 2D convolutions on views of channels-last memory: 1.5 to 3 times as fast on a CPU as
    the same layer by Conv3d.
    """

    def __init__(self, in_channels: int, out_channels: int, *, space: int = 1, time: int = 1):
        super().__init__()
        self.spatial = nn.Conv2d(in_channels, out_channels, 3, space, 1, bias=False)
        self.temporal = nn.Conv2d(out_channels, out_channels, (3, 1), (time, 1), (1, 0), bias=False)
        self.norm = nn.BatchNorm2d(out_channels, momentum=BATCHNORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        frames = self.spatial(rearrange(x, "b t h w c -> (b t) c h w"))
        height = frames.shape[2]
        lines = rearrange(frames, "(b t) c h w -> b c t (h w)", b=batch)
        lines = self.norm(self.temporal(lines))
        return rearrange(lines, "b c t (h w) -> b t h w c", h=height)


class ResidualBlock(nn.Module):
    """Two factorised convolutions beside a (strided, projected) identity."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        stride = {"space": self.stride, "time": self.stride}
        self.first = FactorisedConv(in_channels, out_channels, **stride)
        self.second = FactorisedConv(out_channels, out_channels)
        same = in_channels == out_channels
        self.identity = nn.Identity() if same else nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(nn.functional.relu(self.first(x)))
        s = self.stride
        return nn.functional.relu(self.identity(x[:, ::s, ::s, ::s]) + residual)


class SmallBackbone(nn.Module):
    """Stem and residual (2+1)D blocks, pooled over space, then by mean, max and min over time.

    (B, C, T, H, W) in [-1, 1] -> (B, 3 * last width). The stem also sees each frame's difference
    from the clip's mean frame: what moves is then there from the first step (on 900 phantoms at
    28 x 28 x 16, 300 steps: R2 0.91 with it and 0.54 without).
    """

    def __init__(self, widths: tuple[int, ...], channels: int, size: int):
        super().__init__()
        space = 2 if size >= STRIDED_STEM_FROM else 1
        self.stem = FactorisedConv(2 * channels, widths[0], space=space)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.n_features = 3 * widths[-1]

    def forward(self, video: Tensor) -> Tensor:
        motion = MOTION_GAIN * (video - video.mean(dim=2, keepdim=True))
        both = rearrange([video, motion], "two b c t h w -> b t h w (two c)").contiguous()
        x = nn.functional.relu(self.stem(both))
        frames = reduce(self.blocks(x), "b t h w c -> b t c", "mean")
        return torch.cat([frames.mean(1), frames.amax(1), frames.amin(1)], dim=1)


class KineticsBackbone(nn.Module):
    """torchvision's R(2+1)D-18 without its last layer. (B, C, T, H, W) in [-1, 1] -> (B, 512).

    A grey clip is repeated to three channels, each normalised as in Kinetics training, so that
    published weights of either kind load unchanged.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = r2plus1d_18(weights=None)
        self.n_features = self.net.fc.in_features
        self.net.fc = nn.Identity()
        for name, values in (("mean", KINETICS_MEAN), ("std", KINETICS_STD)):
            channel = rearrange(torch.tensor(values), "c -> c 1 1 1")
            self.register_buffer(name, channel, persistent=False)

    def forward(self, video: Tensor) -> Tensor:
        if video.shape[1] == 1:
            video = repeat(video, "b 1 t h w -> b c t h w", c=3)
        return self.net(((video + 1) / 2 - self.mean) / self.std)


class LVEFRegressor(nn.Module):
    """(B, C, T, H, W) in [-1, 1] -> (B,) LVEF in percent."""

    def __init__(self, config: RegressorConfig):
        super().__init__()
        self.config = config
        self.scale = OUTPUT_SCALE[config.preset]
        if config.preset == "r2plus1d_18":
            self.backbone: SmallBackbone | KineticsBackbone = KineticsBackbone()
        else:
            self.backbone = SmallBackbone(WIDTHS[config.preset], config.channels, config.size)
        self.head = nn.Linear(self.backbone.n_features, 1)
        nn.init.constant_(self.head.bias, config.mean_lvef_percent / self.scale)

    def features(self, video: Tensor) -> Tensor:
        """Penultimate features in float32: (B, C, T, H, W) in [-1, 1] -> (B, F)."""
        size = self.config.size
        wanted = (self.config.channels, size, size)
        if video.ndim != 5 or (video.shape[1], *video.shape[3:]) != wanted:
            raise ValueError(
                f"this regressor takes clips (B, {wanted[0]}, T, {size}, {size}), "
                f"found {tuple(video.shape)}"
            )
        return self.backbone(video).float()

    def forward(self, video: Tensor) -> Tensor:
        return self.scale * rearrange(self.head(self.features(video)).float(), "b 1 -> b")

    def save(self, path: Path) -> None:
        """Write weights and configuration as one safetensors file, and the latter as JSON too."""
        described = {"format": FORMAT, "config": json.dumps(asdict(self.config))}
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()
        }
        with replacing(path) as temporary:
            save_file(state, temporary, metadata=described)
        write_text(path.with_suffix(".json"), json.dumps(asdict(self.config), indent=2) + "\n")

    @staticmethod
    def load(path: Path) -> "LVEFRegressor":
        """Read what `save` wrote; ValueError when the file is something else or damaged."""
        try:
            with safe_open(path, framework="pt") as file:
                described = file.metadata() or {}
        except FileNotFoundError as error:
            raise ValueError(f"{path}: there is no such regressor checkpoint") from error
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
        if described.get("format") != FORMAT:
            found = described.get("format", "no format entry")
            raise ValueError(f"{path}: not an LVEF regressor ({found}), expected {FORMAT!r}")
        config = json.loads(described["config"])
        unknown = config.keys() - {f.name for f in fields(RegressorConfig)}
        if unknown:
            raise ValueError(f"{path}: unknown configuration keys {', '.join(sorted(unknown))}")
        model = LVEFRegressor(RegressorConfig(**config))
        load_state(model, load_file(path), str(path))
        return model.eval()


def build_regressor(
    preset: Preset, channels: int = 1, weights: Path | None = None, *, size: int = 112
) -> LVEFRegressor:
    """An untrained regressor; `weights` as `load_foreign_weights` takes them."""
    model = LVEFRegressor(RegressorConfig(preset=preset, channels=channels, size=size))
    if weights is not None:
        load_foreign_weights(model, weights)
    return model


def load_foreign_weights(model: LVEFRegressor, path: Path) -> None:
    """Load torchvision-style R(2+1)D-18 weights: Kinetics, EchoNet-Dynamic's or the authors'.

    The last layer is taken when it has one output and left as it is when it has classes. Names may
    carry the prefixes that wrappers add and the weights may lie under a `state_dict` key.
    """
    if model.config.preset != "r2plus1d_18":
        raise ValueError(f"{path}: weights are for preset r2plus1d_18, not {model.config.preset}")
    state = _without_wrapper(_read_state(path))
    renamed = {}
    for name, value in state.items():
        layer, _, kind = name.partition(".")
        if layer != "fc":
            renamed[f"backbone.net.{name}"] = value
        elif value.shape[0] == 1:
            renamed[f"head.{kind}"] = value
    load_state(model, {**model.head.state_dict(prefix="head."), **renamed}, str(path))


def _read_state(path: Path) -> Mapping[str, object]:
    """A weights file's top-level mapping, never by unpickling objects."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path}: not a whole file of plain weights ({error})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, a mapping of names is needed")
    return content


def _without_wrapper(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a state dict, out of a training checkpoint and without wrappers' prefixes."""
    inner = content.get("state_dict", content)
    named = inner.items() if isinstance(inner, Mapping) else ()
    state = {str(name): value for name, value in named if isinstance(value, Tensor)}
    for prefix in ("module.", "model."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_state(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights whose names and shapes must all fit; ValueError lists what does not."""
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own.keys() - state.keys()]
    problems += [f"{name} is not part of it" for name in state.keys() - own.keys()]
    problems += [
        f"{name} has shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if problems:
        few = "; ".join(sorted(problems)[:4])
        raise ValueError(
            f"{source}: weights of another architecture, {len(problems)} problems: {few}"
        )
    model.load_state_dict(state)


def _windows(clip: Tensor, n_frames: int) -> list[Tensor]:
    """Windows of `n_frames` overlapping by half that cover (C, T, H, W); a short clip is one."""
    last = max(clip.shape[1] - n_frames, 0)
    step = max(n_frames // 2, 1)
    starts = sorted({*range(0, last + 1, step), last})
    return [clip[:, start : start + n_frames] for start in starts]


def _batches(
    clips: Iterable[Tensor], n_frames: int, batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Windows of all clips in batches of one shape, with the clip each window is of."""
    owners: list[int] = []
    waiting: list[Tensor] = []
    for index, clip in enumerate(clips):
        for window in _windows(clip, n_frames):
            if waiting and (len(waiting) == batch_size or window.shape != waiting[0].shape):
                yield owners, torch.stack(waiting)
                owners, waiting = [], []
            owners.append(index)
            waiting.append(window)
    if waiting:
        yield owners, torch.stack(waiting)


def mean_over_windows(
    model: LVEFRegressor,
    compute: Callable[[Tensor], Tensor],
    clips: Iterable[Tensor],
    batch_size: int,
    precision: Precision,
) -> NDArray[np.float64]:
    """The mean over each clip's windows of `compute`, in evaluation mode: (N, ...)."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    sums: list[NDArray[np.float64]] = []
    counts: list[int] = []
    try:
        with torch.inference_mode(), autocast(precision, device):
            for owners, windows in _batches(clips, model.config.n_frames, batch_size):
                for owner, value in zip(owners, compute(windows.to(device)).cpu(), strict=True):
                    if owner == len(sums):
                        sums.append(np.zeros(value.shape))
                        counts.append(0)
                    sums[owner] += value.double().numpy()
                    counts[owner] += 1
    finally:
        model.train(training)
    if not sums:
        raise ValueError("no clips were given")
    return np.stack([total / count for total, count in zip(sums, counts, strict=True)])


def predict_lvef(
    model: LVEFRegressor,
    videos: Iterable[Tensor],
    batch_size: int = 16,
    *,
    precision: Precision = "fp32",
) -> NDArray[np.float64]:
    """LVEF of whole clips, the mean over windows that overlap by half: (N,) in percent.

    Args:
        videos: N clips (C, T, H, W) in [-1, 1], or one tensor (N, C, T, H, W); lengths may differ.
            They are read one batch at a time, so a generator does.
        batch_size: windows at a time; the result does not depend on it.
    """
    return mean_over_windows(model, model.forward, videos, batch_size, precision)
