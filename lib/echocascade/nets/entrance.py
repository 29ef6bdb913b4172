"""The first convolutions of the U-Net, whose input is in part the same at every evaluation."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Entrance:
    """What the first convolutions make of the input: (B, T, H/patch, W/patch, C0) and, where the
    network has them, (B, T, H, W, C) at full resolution. Linear in the input, so that parts of it
    add up; T is 1 where a part is the same in all frames."""

    stem: Tensor
    fine: Tensor | None

    def __add__(self, other: "Entrance") -> "Entrance":
        fine = None if self.fine is None or other.fine is None else self.fine + other.fine
        return Entrance(self.stem + other.stem, fine)
