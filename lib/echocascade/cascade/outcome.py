"""How a training ends."""

from dataclasses import dataclass
from pathlib import Path


class DivergedError(FloatingPointError):
    """Losses or gradients that are not finite, several steps in a row."""


@dataclass(frozen=True)
class TrainedStage:
    """The end of a training: where its checkpoint is and how the losses went."""

    directory: Path
    step: int
    sigma_data: float
    history: list[dict[str, float]]
    parameters: int
    warnings: list[str]


def listed(names: list[str]) -> str:
    """The first of some clips' names, and how many more."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
