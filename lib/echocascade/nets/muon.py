"""Muon: weight matrices step along their momentum made orthogonal (Jordan24), all else as Adam.

On the small networks here Muon reaches Adam's loss in about half the steps; a step takes a few
percent longer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# of the quintic iteration that drives every singular value towards 1 (Jordan24)
_QUINTIC, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5
_LEAST_SIDE = 16  # thinner matrices (entrances, exits, gains) are left to Adam
_EPS = 1e-8


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
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                rule = self._matrix_steps if group["matrices"] else self._adam_steps
                rule(moved, [p.grad for p in moved], group)
        return loss

    def _matrix_steps(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        momentum = group["momentum"]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        averages = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, averages, momentum)
        matrices = [direction.reshape(len(direction), -1) for direction in ahead]
        for parameter, step in zip(parameters, orthogonal_all(matrices), strict=True):
            rows, columns = step.shape
            length = group["lr"] * max(1.0, rows / columns) ** 0.5
            parameter.sub_(step.reshape(parameter.shape), alpha=length)

    def _adam_steps(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            if not self.state[p]:
                self.state[p]["step"] = torch.tensor(0.0)
                self.state[p] |= {"mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        steps, means, squares = (
            [self.state[p][name] for p in parameters] for name in ("step", "mean", "square")
        )
        torch._foreach_add_(steps, 1)
        taken = [float(n) for n in steps]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        spread = torch._foreach_div(squares, [1 - beta2**n for n in taken])
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, _EPS)
        lengths = [-group["lr"] / (1 - beta1**n) for n in taken]
        torch._foreach_addcdiv_(parameters, means, spread, lengths)


def set_rates(
    optimizer: torch.optim.Optimizer, rate: float, matrix_rate: float, share: float
) -> None:
    """Give every group of Muon, Adam or AdamW this share of its whole rate."""
    for group in optimizer.param_groups:
        group["lr"] = (matrix_rate if group.get("matrices") else rate) * share


def orthogonal(matrix: Tensor) -> Tensor:
    """Matrices (..., rows, columns) with their singular vectors and all singular values near 1, in
    float32: five Newton-Schulz steps of the quintic of Jordan24, which ends within 0.7 to 1.2."""
    flat = matrix.reshape(-1, *matrix.shape[-2:])
    return torch.stack(orthogonal_all(list(flat))).reshape(matrix.shape)


def orthogonal_all(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonal` of every matrix (rows, columns), whatever its shape.

    Each step multiplies X, its shorter side its rows, by a polynomial of X X'. These are small and
    commute, so X itself is touched twice, and those of equal size, of whatever X, are multiplied
    together: for networks of small layers the number of products counts, not their size.
    """
    wide = [m.float() if m.shape[0] <= m.shape[1] else m.float().mT for m in matrices]
    norms = torch._foreach_add(torch._foreach_norm(wide), _EPS)
    wide = list(torch._foreach_div(wide, norms))
    alike = defaultdict(list)
    for i, x in enumerate(wide):
        alike[x.shape].append(i)
    sizes = defaultdict(list)
    for shape, members in alike.items():
        sizes[shape[0]].append((members, torch.stack([wide[i] for i in members])))
    found: dict[int, Tensor] = {}
    for stacks in sizes.values():
        factors = _polynomial(torch.cat([x @ x.mT for _, x in stacks]))
        parts = factors.split([len(members) for members, _ in stacks])
        for part, (members, x) in zip(parts, stacks, strict=True):
            found |= dict(zip(members, part @ x, strict=True))
    return [
        (found[i] if m.shape[0] <= m.shape[1] else found[i].mT).to(m.dtype)
        for i, m in enumerate(matrices)
    ]


def _polynomial(gram: Tensor) -> Tensor:
    """What all five steps multiply X by, from its X X' (N, rows, rows)."""
    a, b, c = _QUINTIC
    product = None
    for i in range(_ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if i + 1 < _ITERATIONS:
            gram = factor @ gram @ factor
    assert product is not None
    return product


def _is_matrix(parameter: Tensor) -> bool:
    if parameter.ndim < 2:
        return False
    return min(len(parameter), parameter.numel() // len(parameter)) >= _LEAST_SIDE
