"""What a stage is conditioned on, and the one resize path between stages (Reynaud23 Sec. 2).

Down by `data.video.shrink`, up by `data.video.enlarge`.
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from echocascade.data.video import enlarge as enlarge
from echocascade.data.video import shrink


@dataclass(frozen=True)
class Conditioning:
    """Everything but the noisy video and its noise level.

    lambda_c: (B, S) clinical parameters in [0, 1], see `scalars.Scalars` (LVEF as a fraction).
    I_c: (B, C, H, W) conditioning frame in [-1, 1], at the stage's size.
    lowres: (B, C, T, H, W) the previous stage's video, resized to this stage, or None for a base.
    sigma_aug: (B,) noise level that was added to `lowres` (Ho22 Sec. 4), or None for a base.
    given: (B,) 1 where lambda_c is given, 0 where it is dropped (classifier-free guidance).
    time_aware: False switches all time-aware layers off for the whole batch.
    """

    lambda_c: Tensor
    I_c: Tensor
    given: Tensor
    lowres: Tensor | None = None
    sigma_aug: Tensor | None = None
    time_aware: bool = True

    def without_lambda(self) -> "Conditioning":
        """The null condition: the same anatomy, no clinical parameters."""
        return replace(self, given=torch.zeros_like(self.given))

    def joined(self, other: "Conditioning") -> "Conditioning":
        """Both conditionings as one batch, `self` first."""

        def cat(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None or b is None else torch.cat([a, b])

        return replace(
            self,
            lambda_c=torch.cat([self.lambda_c, other.lambda_c]),
            I_c=torch.cat([self.I_c, other.I_c]),
            given=torch.cat([self.given, other.given]),
            lowres=cat(self.lowres, other.lowres),
            sigma_aug=cat(self.sigma_aug, other.sigma_aug),
        )

    def to(self, device: torch.device) -> "Conditioning":
        """The same on `device`."""
        return replace(
            self,
            lambda_c=self.lambda_c.to(device),
            I_c=self.I_c.to(device),
            given=self.given.to(device),
            lowres=None if self.lowres is None else self.lowres.to(device),
            sigma_aug=None if self.sigma_aug is None else self.sigma_aug.to(device),
        )


def shrink_frame(frame: Tensor, size: int) -> Tensor:
    """(B, C, H, W) to (B, C, size, size) by the path of `shrink`."""
    return rearrange(
        shrink(rearrange(frame, "b c h w -> b c 1 h w"), size, 1), "b c 1 h w -> b c h w"
    )
