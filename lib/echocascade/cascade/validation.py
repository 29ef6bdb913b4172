"""The loss on held-out clips: fixed windows, noises and levels, so that it can be compared."""

import torch
from torch import Tensor, nn

from echocascade import runtime
from echocascade.cascade.examples import StageExamples
from echocascade.diffusion import EDMLoss, bind
from echocascade.params import TrainingParams


@torch.no_grad()
def validation_sums(
    denoiser: nn.Module, examples: StageExamples, loss: EDMLoss, training: TrainingParams,
    rank: int = 0, world: int = 1,
) -> Tensor:  # fmt: skip
    """(sum of losses, number of clips) over every `world`-th validation batch from `rank` on."""
    device = next(denoiser.parameters()).device
    sums = torch.zeros(2, device=device)
    for i, batch in enumerate(examples.validation_batches()):
        if i % world != rank:
            continue
        batch = batch.to(device)
        with runtime.autocast(training.precision, device):
            losses: Tensor = loss(
                bind(denoiser, batch.conditioning), batch.target, batch.noise,
                loss.sigma_from_normal(batch.level),
            )  # fmt: skip
        sums += torch.stack([losses.sum(), torch.full_like(sums[0], len(losses))])
    return sums
