"""Training the LVEF regressor and measuring it on real clips (Ouyang20, Reynaud23 Sec. 3)."""

import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from echocascade.data.atomic import replacing
from echocascade.evaluation.augmentation import roughen, shift_randomly
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig, predict_lvef
from echocascade.evaluation.lvef_weights import load_foreign_weights
from echocascade.evaluation.metrics import agreement, bootstrap_interval
from echocascade.nets import Muon, set_rates
from echocascade.rng import derive_seed, torch_generator
from echocascade.runtime import autocast, default_device

# clips and LVEF, and the weight of each clip in the loss where they are not alike
NextBatch = Callable[[int], tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]]
Validate = Callable[[LVEFRegressor], Mapping[str, float]]
Progress = Callable[[int, int, str], None]

LOSS_UNIT = 10.0  # percentage points; errors below it are squared, larger ones count linearly
WARMUP = 0.05  # of all steps
VALIDATIONS = 8  # over a training
RECORDS = 100


@dataclass
class FittedRegressor:
    """The trained regressor, in evaluation mode, and one record per logged step.

    A record has step, loss (mean since the record before it), learning_rate, and `valid_*` where
    validation took place. The loss is that of `regression_loss`, in units of (10 points)^2.
    """

    model: LVEFRegressor
    history: list[dict[str, float]] = field(default_factory=list)


def regression_loss(
    predicted: Tensor, lvef_percent: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Smooth L1 of (B,) percent: squared error where it is below 10 points, linear beyond.

    weight (B,): of each clip, with a mean of 1 over the data set; all alike without.
    """
    p, q = predicted / LOSS_UNIT, lvef_percent / LOSS_UNIT
    if weight is None:
        return nn.functional.smooth_l1_loss(p, q)
    return (weight * nn.functional.smooth_l1_loss(p, q, reduction="none")).mean()


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine that reaches zero after the last step."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def new_regressor(config: RegressorConfig, seed: int, weights: Path | None = None) -> LVEFRegressor:
    """A regressor whose random initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "regressor weights"))
        model = LVEFRegressor(config)
    if weights is not None:
        load_foreign_weights(model, weights)
    return model


def _optimizer(model: nn.Module, config: RegressorConfig) -> torch.optim.Optimizer:
    if config.optimizer == "muon":
        return Muon(
            model.parameters(), config.learning_rate, (0.9, 0.999),
            matrix_rate=config.matrix_learning_rate,
        )  # fmt: skip
    return torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )


class _Run:
    """Model, optimiser and history of a training, saved and resumed together."""

    def __init__(self, model: LVEFRegressor):
        config = model.config
        self.model = model
        self.optimizer = _optimizer(model, config)
        self.step = 0
        self.history: list[dict[str, float]] = []

    def save(self, path: Path) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(content, temporary)

    def resume(self, path: Path) -> None:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.history = content["step"], content["history"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: not a checkpoint of this regressor's training ({error}); "
                "remove it to train from the start"
            ) from error


def fit_regressor(
    config: RegressorConfig,
    next_batch: NextBatch,
    *,
    seed: int,
    validate: Validate | None = None,
    progress: Progress | None = None,
    weights: Path | None = None,
    checkpoint: Path | None = None,
) -> FittedRegressor:
    """Train a regressor for `config.steps` steps; none of them leaves `weights` as they are.

    Args:
        next_batch: step -> clips (B, C, T, H, W) in [-1, 1] and their LVEF (B,) in percent; the
            same batch for the same step, so that a resumed training equals an uninterrupted one.
            A third tensor (B,) weighs the clips in the loss, see `regression_loss`.
        validate: called some eight times, the last time after the last step, with the model in
            evaluation mode; what it returns enters the history as `valid_<key>`.
        progress: progress(done, total, note).
        weights: start from these, as `load_foreign_weights`.
        checkpoint: training state is kept in this file; an existing one is continued.
    """
    device = default_device()
    run = _Run(new_regressor(config, seed, weights).to(device))
    if checkpoint is not None and checkpoint.is_file():
        run.resume(checkpoint)
    if config.steps == 0:
        run.history = [_untrained_record(run.model.eval(), validate)]
    record_every = max(1, config.steps // RECORDS)
    validate_every = max(1, config.steps // VALIDATIONS)
    losses: list[Tensor] = []
    while run.step < config.steps:
        losses.append(_train_step(run, next_batch, seed, device))
        done = run.step
        last = done == config.steps
        validating = validate is not None and (last or done % validate_every == 0)
        if validating or last or done % record_every == 0:
            record = {"step": done, "loss": float(torch.stack(losses).mean())}
            record["learning_rate"] = run.optimizer.param_groups[0]["lr"]
            losses = []
            if validating and validate is not None:
                record |= _validated(validate, run.model.eval())
            run.history.append(record)
            if progress is not None:
                progress(done, config.steps, f"LVEF regressor, loss {record['loss']:.3f}")
            if checkpoint is not None and (validating or last or done % validate_every == 0):
                run.save(checkpoint)
    return FittedRegressor(run.model.eval(), run.history)


def _validated(validate: Validate, model: LVEFRegressor) -> dict[str, float]:
    return {f"valid_{name}": float(value) for name, value in validate(model).items()}


def _untrained_record(model: LVEFRegressor, validate: Validate | None) -> dict[str, float]:
    """The history of weights that are used as they are: one record, of VAL where there is one."""
    found = {} if validate is None else _validated(validate, model)
    return {"step": 0, "loss": found.get("valid_loss", float("nan")), "learning_rate": 0.0} | found


def _train_step(run: _Run, next_batch: NextBatch, seed: int, device: torch.device) -> Tensor:
    """One optimiser step; the loss stays on the device, so that nothing waits for it."""
    config = run.model.config
    video, lvef_percent, *weights = next_batch(run.step)
    generator = torch_generator(seed, "regressor augmentation", run.step)
    video = roughen(shift_randomly(video, generator), generator).to(device)
    share = learning_rate_factor(run.step, config.steps)
    set_rates(run.optimizer, config.learning_rate, config.matrix_learning_rate, share)
    run.model.train()
    with autocast(config.precision, device):
        predicted = run.model(video)
    weight = weights[0].to(device, torch.float32) if weights else None
    loss = regression_loss(predicted, lvef_percent.to(device, torch.float32), weight)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.step += 1
    return loss.detach()


@dataclass(frozen=True)
class RegressorReport:
    """Predictions (N,) in percent, and scores R2 ... bias, each with `*_interval`."""

    lvef_percent: NDArray[np.float64]
    scores: dict[str, object] = field(default_factory=dict)


def evaluate_regressor(
    model: LVEFRegressor,
    videos: Iterable[Tensor],
    lvef_percent: ArrayLike,
    *,
    batch_size: int = 16,
    level: float = 0.95,
    seed: int = 0,
) -> RegressorReport:
    """How far the regressor's word on real clips can be trusted: labels are the truth.

    Args:
        videos: as `predict_lvef`, one clip a patient.
        lvef_percent: (N,) labels.
    """
    predicted = predict_lvef(model, videos, batch_size)
    scores: dict[str, object] = {"n": len(predicted), "level": level}
    intervals = bootstrap_interval(lvef_percent, predicted, level=level, seed=seed)
    for name, value in agreement(lvef_percent, predicted).items():
        scores[name] = value
        scores[f"{name}_interval"] = [intervals[name].low, intervals[name].high]
    return RegressorReport(predicted, scores)
