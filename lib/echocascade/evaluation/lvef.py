"""The LVEF regressor: (2+1)D convolutions over a clip, one LVEF in percent out.

Preset "r2plus1d_18" is torchvision's R(2+1)D-18 as the paper's judge (Reynaud23 Sec. 3, Ouyang20);
"small" and "tiny" are of the same family, sized to be trained on a CPU in minutes, "mini" in
seconds, for studies that train a hundred of them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echocascade.data.atomic import replacing, write_text
from echocascade.evaluation.lvef_network import (
    NORMALISATIONS,
    STRIDED_STEM_FROM,
    KineticsBackbone,
    Normalisation,
    SmallBackbone,
)
from echocascade.runtime import Precision, autocast

Preset = Literal["r2plus1d_18", "small", "tiny", "mini"]
WIDTHS: dict[str, tuple[int, ...]] = {
    "small": (16, 16, 32, 64, 64), "tiny": (12, 12, 24, 48), "mini": (8, 16, 32, 64)
}  # fmt: skip
# Percent per unit of the head's output: a small network reaches 15..85 % with weights of order 1.
# 1 for R(2+1)D-18, so that published LVEF checkpoints load unchanged.
OUTPUT_SCALE = {"r2plus1d_18": 1.0, "small": 20.0, "tiny": 20.0, "mini": 20.0}
MEAN_LVEF = 55.6  # percent, of EchoNet-Dynamic's TRAIN split; where the head starts (FACTS Sec. 4)
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
    weight_decay: float = 1e-2  # of AdamW
    optimizer: Literal["adamw", "muon"] = "adamw"
    matrix_learning_rate: float = 0.02  # of Muon
    precision: Precision = "auto"
    mean_lvef_percent: float = MEAN_LVEF
    normalisation: Normalisation = "kinetics"  # of R(2+1)D-18; the small ones have none
    frame_rates: tuple[float, ...] = ()  # slower ones that it was trained on too

    def __post_init__(self) -> None:
        if self.preset not in OUTPUT_SCALE:
            allowed = ", ".join(OUTPUT_SCALE)
            raise ValueError(f"regressor preset is {self.preset!r}, allowed are {allowed}")
        if self.channels not in (1, 3):
            raise ValueError(f"regressor channels is {self.channels}, allowed are 1 and 3")
        if self.normalisation not in NORMALISATIONS:
            allowed = ", ".join(NORMALISATIONS)
            raise ValueError(f"normalisation is {self.normalisation!r}, allowed are {allowed}")
        for name in ("size", "n_frames", "fps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"regressor {name} is {getattr(self, name)}, must be positive")
        object.__setattr__(self, "frame_rates", tuple(self.frame_rates))  # JSON has lists
        if self.steps < 0:
            raise ValueError(f"regressor steps is {self.steps}, must be at least 0")


class LVEFRegressor(nn.Module):
    """(B, C, T, H, W) in [-1, 1] -> (B,) LVEF in percent."""

    def __init__(self, config: RegressorConfig):
        super().__init__()
        self.config = config
        self.scale = OUTPUT_SCALE[config.preset]
        if config.preset == "r2plus1d_18":
            self.backbone: SmallBackbone | KineticsBackbone = KineticsBackbone(config.normalisation)
        else:
            self.backbone = SmallBackbone(WIDTHS[config.preset], config.channels, self._strided)
        self.head = nn.Linear(self.backbone.n_features, 1)
        nn.init.constant_(self.head.bias, config.mean_lvef_percent / self.scale)

    @property
    def _strided(self) -> bool:
        """Whether the stem halves the picture: a mini one always, the others large ones."""
        return self.config.preset == "mini" or self.config.size >= STRIDED_STEM_FROM

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
