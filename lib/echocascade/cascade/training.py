"""Training of one stage (Reynaud23 Sec. 2): EDM loss, condition dropout, image-only batches, EMA.

Every random number is addressed by the sample's place in the run, not by process or batch, and a
checkpoint holds all state: a run that is interrupted and resumed ends with the same weights.
"""

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from echocascade import runtime
from echocascade.cascade.checkpoint import (
    check_architecture,
    latest_checkpoint,
    save_checkpoint,
)
from echocascade.cascade.examples import StageExamples
from echocascade.cascade.stage import Stage, Statistics
from echocascade.data.clips import ClipStore
from echocascade.diffusion import EDMLoss, bind
from echocascade.params import Params, TrainingParams

Progress = Callable[[int, int, str], None]

_SHAPES_WEIGHTS = set(TrainingParams.model_fields) - {
    "max_minutes", "checkpoint_minutes", "keep_checkpoints", "validate_clips", "validate_times",
}  # fmt: skip


class Interrupted(RuntimeError):  # noqa: N818
    """Training was asked to stop; it has saved a checkpoint, and the same call goes on."""


@dataclass(frozen=True)
class TrainedStage:
    """The end of a training: where its checkpoint is and how the losses went."""

    directory: Path
    step: int
    sigma_data: float
    history: list[dict[str, float]]
    parameters: int
    warnings: list[str]


def learning_rate(training: TrainingParams, step: int, progress: float) -> float:
    """Linear warm-up over steps, constant, then linear decay over the last part of the run."""
    warm = min(1.0, (step + 1) / (training.warmup_steps + 1))
    if training.decay_from >= 1:
        return training.learning_rate * warm
    left = (1 - progress) / (1 - training.decay_from)
    return training.learning_rate * warm * min(1.0, max(left, 0.0))


def ema_decay(step: int, gamma: float) -> float:
    """beta of the power-function average after `step` updates (Karras24 Eq. 4)."""
    return (1 - 1 / (step + 1)) ** (gamma + 1)


class _StopSignal:
    """Turns SIGINT, SIGTERM and SIGUSR1 (a scheduler's warning) into a flag while training."""

    def __init__(self) -> None:
        self.received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignal":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                return self
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class StageTrainer:
    """The state of one training: weights, average, optimiser, step, history."""

    def __init__(self, params: Params, index: int, store: ClipStore, directory: Path) -> None:
        self.params, self.store, self.directory = params, store, directory
        stage = Stage.of(params, index)
        self.stage_params, self.before = stage.params, stage.before
        self.training = stage.params.training
        self.accelerator = Accelerator(
            cpu=runtime.default_device().type == "cpu", mixed_precision="no"
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.warnings: list[str] = []
        checkpoint, self.warnings = latest_checkpoint(directory)
        if checkpoint and checkpoint.meta["digest"] != self.digest():
            self.warnings.append(_set_aside(directory, str(checkpoint.meta["digest"])))
            checkpoint = None
        statistics = (
            Statistics(**checkpoint.meta["statistics"])
            if checkpoint
            else StageExamples(params, stage, store).statistics()
        )
        self.stage = stage.with_statistics(statistics)
        self.examples = StageExamples(params, self.stage, store)
        torch.manual_seed(params.seed)  # weight initialisation is drawn by torch.nn itself
        denoiser = self.stage.build()
        self.ema = {k: v.detach().clone().float() for k, v in denoiser.state_dict().items()}
        optimizer = torch.optim.Adam(
            denoiser.parameters(), self.training.learning_rate, (0.9, self.training.beta2)
        )
        self.parameters = sum(p.numel() for p in denoiser.parameters())
        if checkpoint:
            check_architecture(
                checkpoint.weights("model"), denoiser.state_dict(), str(checkpoint.directory)
            )
            denoiser.load_state_dict(checkpoint.weights("model"))
            state = checkpoint.training_state()
            optimizer.load_state_dict(state["optimizer"])
            self.ema = {k: v.float() for k, v in checkpoint.weights("ema").items()}
            self.step, self.seconds = checkpoint.step, float(checkpoint.meta["seconds"])
            self.history = checkpoint.history
        self.model, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        device = self.accelerator.device
        self.ema = {k: v.to(device) for k, v in self.ema.items()}
        self.loss = EDMLoss(self.training.P_mean, self.training.P_std, statistics.sigma_data)

    def digest(self) -> str:
        """What the weights depend on, the decoded clips among it: not how they are saved or
        sampled, nor a limit in time."""
        name = self.stage_params.name
        paths = [f"cascade.stages.{name}.{key}" for key in ("size", "n_frames", "fps", "target")]
        paths += [f"cascade.stages.{name}.{key}" for key in ("sigma_data", "network")]
        paths += [f"cascade.stages.{name}.training.{key}" for key in sorted(_SHAPES_WEIGHTS)]
        if self.before is not None:
            paths += [f"cascade.stages.{self.before.name}.{k}" for k in ("size", "n_frames", "fps")]
        data = hashlib.sha256(json.dumps(self.store.manifest["sha256"], sort_keys=True).encode())
        return f"{self.params.digest('seed', 'data', *paths)}-{data.hexdigest()[:8]}"

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        share = self.step / self.training.steps
        if self.training.max_minutes is not None:
            share = max(share, self.seconds / (60 * self.training.max_minutes))
        return min(share, 1.0)

    def save(self, finished: bool) -> None:
        if not self.accelerator.is_main_process:
            return
        model = self.accelerator.unwrap_model(self.model)
        save_checkpoint(
            self.directory,
            model={k: v.cpu() for k, v in model.state_dict().items()},
            ema={k: v.cpu() for k, v in self.ema.items()},
            training={"optimizer": self.optimizer.state_dict()},
            meta={
                "step": self.step,
                "seconds": self.seconds,
                "finished": finished,
                "statistics": self.stage.statistics.to_dict(),
                "digest": self.digest(),
                "stage": self.stage.params.model_dump(mode="json"),
                "history": self.history,
            },
            keep=self.training.keep_checkpoints,
        )

    def update(self) -> float:
        """One optimiser step over `batch_size` samples; returns the mean loss."""
        t = self.training
        rate = learning_rate(t, self.step, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        for part in range(t.accumulate):
            batch = self.examples.training_batch(
                self.step, part, self.accelerator.process_index, self.accelerator.num_processes
            )
            batch = batch.to(self.accelerator.device)
            last = part == t.accumulate - 1
            with self.accelerator.no_sync(self.model) if not last else nullcontext():
                with runtime.autocast(t.precision, self.accelerator.device):
                    losses = self.loss(
                        bind(self.model, batch.conditioning), batch.target, batch.noise,
                        self.loss.sigma_from_normal(batch.level),
                    )  # fmt: skip
                loss = losses.mean() / t.accumulate
                self.accelerator.backward(loss)
            total += float(self.accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(total):
            self.optimizer.zero_grad()
            raise FloatingPointError(
                f"stage {self.stage.name}, step {self.step}: the loss is {total}; the batch held "
                f"the clips {', '.join(batch.names[:8])} ..."
            )
        self.accelerator.clip_grad_norm_(self.model.parameters(), t.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._average()
        return total

    def _average(self) -> None:
        beta = ema_decay(self.step, self.training.ema_gamma)
        current = self.accelerator.unwrap_model(self.model).state_dict()
        averages, values = list(self.ema.values()), [current[k].float() for k in self.ema]
        torch._foreach_lerp_(averages, values, 1 - beta)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Loss of the averaged weights on fixed windows, noises and levels of VAL clips."""
        denoiser = self.stage.build().to(self.accelerator.device)
        denoiser.load_state_dict(self.ema)
        denoiser.eval()
        return validation_loss(denoiser, self.examples, self.loss, self.training)

    def run(self, progress: Progress | None = None) -> TrainedStage:
        """Train to the end of the run, saving as it goes."""
        t = self.training
        runs_to_validate = [
            round(t.steps * (i + 1) / t.validate_times) for i in range(t.validate_times)
        ]
        recent: list[float] = []
        saved = time.monotonic()
        if self.progress >= 1:
            return self.result()
        with _StopSignal() as stop:
            while self.progress < 1:
                start = time.monotonic()
                recent.append(self.update())
                self.seconds += time.monotonic() - start
                if self.step in runs_to_validate or self.progress >= 1:
                    self._note(recent)
                    recent = []
                if progress is not None:
                    mean = sum(recent[-20:]) / max(len(recent[-20:]), 1) if recent else float("nan")
                    done = round(self.progress * t.steps)
                    progress(done, t.steps, f"loss {mean:.3f}" if recent else "validated")
                if stop.received:
                    self.save(finished=False)
                    raise Interrupted(f"stage {self.stage.name} stopped at step {self.step}, saved")
                if time.monotonic() - saved > 60 * t.checkpoint_minutes and self.progress < 1:
                    self.save(finished=False)
                    saved = time.monotonic()
        self.save(finished=True)
        return self.result()

    def _note(self, recent: list[float]) -> None:
        entry = {"step": float(self.step), "seconds": self.seconds}
        entry["training_loss"] = sum(recent) / len(recent) if recent else float("nan")
        if self.examples.has_validation:
            entry["validation_loss"] = self.validation_loss()
        self.history.append(entry)

    def result(self) -> TrainedStage:
        return TrainedStage(
            self.directory,
            self.step,
            self.stage.statistics.sigma_data,
            self.history,
            self.parameters,
            self.warnings,
        )


def _set_aside(directory: Path, digest: str) -> str:
    """Move checkpoints that other parameters made out of the way; nothing is deleted."""
    aside = directory.with_name(f"{directory.name}.made-with-{digest}")
    number = 1
    while aside.exists():
        aside = directory.with_name(f"{directory.name}.made-with-{digest}-{number}")
        number += 1
    directory.rename(aside)
    return f"{directory}: its checkpoints were made with other parameters; moved to {aside.name}"


def validation_loss(
    denoiser: nn.Module, examples: StageExamples, loss: EDMLoss, training: TrainingParams
) -> float:
    """Mean EDM loss over the fixed validation batches of `examples`."""
    device = next(denoiser.parameters()).device
    total, count = 0.0, 0
    for batch in examples.validation_batches():
        batch = batch.to(device)
        with torch.no_grad(), runtime.autocast(training.precision, device):
            losses: Tensor = loss(
                bind(denoiser, batch.conditioning), batch.target, batch.noise,
                loss.sigma_from_normal(batch.level),
            )  # fmt: skip
        total, count = total + float(losses.sum()), count + len(losses)
    return total / max(count, 1)


def train_stage(
    params: Params, index: int, store: ClipStore, directory: Path, progress: Progress | None = None
) -> TrainedStage:
    """Train stage `index` into `directory`, or go on, or return at once when it is finished."""
    trainer = StageTrainer(params, index, store, directory)
    return trainer.run(progress)
