"""The optimiser of a stage's training and its learning rates."""

import torch
from torch import nn

from echocascade.nets import Muon, set_rates
from echocascade.params import TrainingParams


def new_optimizer(network: nn.Module, training: TrainingParams) -> torch.optim.Optimizer:
    """The optimiser that `training.optimizer` names, over all of a network's parameters."""
    betas = (0.9, training.beta2)
    if training.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), training.learning_rate, betas)
    return Muon(
        network.parameters(), training.learning_rate, betas,
        matrix_rate=training.matrix_learning_rate,
    )  # fmt: skip


def set_learning_rate(optimizer: torch.optim.Optimizer, training: TrainingParams, rate: float
) -> None:  # fmt: skip
    """Give Adam's parameters `rate`, and the matrices the same share of their own rate."""
    share = rate / training.learning_rate
    set_rates(optimizer, training.learning_rate, training.matrix_learning_rate, share)
