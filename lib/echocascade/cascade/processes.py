"""Several processes, one training: what they must agree on after every step."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from einops import rearrange
from torch import Tensor

from echocascade import runtime
from echocascade.cascade.loader import Share


def new_accelerator(image_only: float = 0.0) -> Accelerator:
    """This process's part in the training; alone, or one of those that a launcher started.

    image_only: share of batches that leave the time-aware layers without gradients; the processes
    must then ask each other, step by step, which layers have some.
    """
    unused = DistributedDataParallelKwargs(find_unused_parameters=image_only > 0)
    return Accelerator(
        cpu=runtime.default_device().type == "cpu", mixed_precision="no", kwargs_handlers=[unused]
    )


@dataclass(frozen=True)
class Together:
    """A step as all processes see it, so that each decides alike.

    losses: (batch_size,) on the CPU, in the order of the samples; stop: whether any process was
    asked to end; clock: the first process's seconds of training.
    """

    losses: Tensor
    stop: bool
    clock: float


def share_step(
    accelerator: Accelerator, share: Share, losses: Tensor, stop: bool, clock: float
) -> Together:
    """Exchange this process's losses (parts * micro,), its stop flag and its clock."""
    own = torch.cat([losses, losses.new_tensor([float(stop)])])
    rows = rearrange(accelerator.gather(own), "(r n) -> r n", r=share.world).cpu()
    if share.world > 1:
        seconds = torch.tensor([clock], dtype=torch.float64, device=own.device)
        clock = float(accelerator.gather(seconds)[0])
    ordered = rearrange(rows[:, :-1], "r (p m) -> (p r m)", p=share.parts)
    return Together(ordered, bool(rows[:, -1].any()), clock)
