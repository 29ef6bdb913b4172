"""Adam, or Muon: weight matrices step along their momentum made orthogonal (Jordan24).

On the small video networks here Muon reaches Adam's loss in about half the steps; a step takes a
few percent longer.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from echocascade.params import TrainingParams

# of the quintic iteration that drives every singular value towards 1 (Jordan24)
_QUINTIC, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5
_LEAST_SIDE = 16  # thinner matrices (entrances, exits, gains) are left to Adam
_EPS = 1e-8


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
    for group in optimizer.param_groups:
        matrices = group.get("matrices", False)
        whole = training.matrix_learning_rate if matrices else training.learning_rate
        group["lr"] = whole * (rate / training.learning_rate)


class Muon(torch.optim.Optimizer):
    """Muon for weights that are matrices (a convolution's kernel: outputs by all the rest), Adam
    for every other parameter.

    Args:
        parameters: of a network.
        learning_rate, betas: Adam's.
        matrix_rate: length of a matrix' step, in spectral norm; times sqrt(rows / columns) where
            it is tall.
        momentum: of the matrices, Nesterov's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], learning_rate: float, betas: tuple[float, float],
        matrix_rate: float, momentum: float = 0.95,
    ) -> None:  # fmt: skip
        every = list(parameters)
        matrices = [p for p in every if _is_matrix(p)]
        rest = [p for p in every if not _is_matrix(p)]
        groups: list[dict[str, Any]] = [
            {"params": rest, "matrices": False, "lr": learning_rate},
            {"params": matrices, "matrices": True, "lr": matrix_rate},
        ]
        super().__init__(
            [group for group in groups if group["params"]], {"betas": betas, "momentum": momentum}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                rule = self._matrix_step if group["matrices"] else self._adam_step
                rule(parameter, parameter.grad, group)
        return loss

    def _matrix_step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(state["momentum"], momentum).reshape(len(parameter), -1)
        rows, columns = ahead.shape
        length = group["lr"] * max(1.0, rows / columns) ** 0.5
        parameter.sub_(length * orthogonal(ahead).reshape(parameter.shape))

    def _adam_step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"], state["square"] = (torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        n = float(state["step"])
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = (state["square"] / (1 - beta2**n)).sqrt_().add_(_EPS)
        parameter.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - beta1**n))


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix (rows, columns) with its singular vectors and all singular values near 1, in
    float32: five Newton-Schulz steps of the quintic of Jordan24, which ends within 0.7 to 1.2."""
    x = matrix.float()
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / (wide.norm() + _EPS)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)


def _is_matrix(parameter: Tensor) -> bool:
    if parameter.ndim < 2:
        return False
    return min(len(parameter), parameter.numel() // len(parameter)) >= _LEAST_SIDE
