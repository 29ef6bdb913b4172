"""The state of one training and its single step: EDM loss, averaged over all processes.

Every random number is addressed by the sample's place in the run, not by process or batch, and a
checkpoint holds all state: a run that is interrupted and resumed ends with the same weights, and
another number of processes changes no more than the order of floating-point sums.
"""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from echocascade import runtime
from echocascade.cascade.checkpoint import Checkpoint, check_architecture, latest_checkpoint
from echocascade.cascade.examples import StageBatch, StageExamples
from echocascade.cascade.identity import digest_of, resume_point, training_facts
from echocascade.cascade.loader import Share, training_batches
from echocascade.cascade.optimizer import new_optimizer, set_learning_rate
from echocascade.cascade.outcome import DivergedError, TrainedStage, listed
from echocascade.cascade.processes import new_accelerator, share_step
from echocascade.cascade.saving import require_space, save_checkpoint
from echocascade.cascade.schedule import ema_decay, learning_rate, progress_of
from echocascade.cascade.stage import Stage, Statistics
from echocascade.cascade.validation import validation_sums
from echocascade.data.clips import ClipStore
from echocascade.diffusion import EDMLoss, bind
from echocascade.params import Params

ADAM_STATE = 2  # tensors of a weight's size that Adam keeps


def motion_of(error: Tensor) -> Tensor:
    """What a video's error (B, C, T, H, W) has beside its mean over time: the part that moves.

    A linear map, so the answer with the least square of what it leaves, too, is E[y | x]: a loss
    that weighs motion more has the minimiser of Karras22 Eq. 2, and comes near it in fewer steps
    where most of what is left of the error stands still and most of what is asked for moves.
    """
    return error - error.mean(dim=2, keepdim=True)


@dataclass(frozen=True)
class Update:
    """One step: its mean loss (NaN where it was not taken), and whether any process was stopped."""

    loss: float
    stop: bool


class StageTrainer:
    """Weights, average, optimiser, step, history of stage `index`, from its last checkpoint on."""

    def __init__(
        self, params: Params, index: int, store: ClipStore, directory: Path,
        accelerator: Accelerator | None = None,
    ) -> None:  # fmt: skip
        self.params, self.directory = params, directory
        stage = Stage.of(params, index)
        self.training = stage.params.training
        self.accelerator = accelerator or new_accelerator(self.training.image_only)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.share = Share.of(self.training, rank, world)
        self.step, self.seconds, self._unbooked = 0, 0.0, 0.0
        self.recent: list[float] = []
        self.history: list[dict[str, float]] = []
        self.skipped: list[dict[str, Any]] = []
        self.facts = training_facts(params, stage, store)
        checkpoint = self._resume_point()
        statistics = (
            Statistics(**checkpoint.meta["statistics"])
            if checkpoint
            else StageExamples(params, stage, store).statistics()
        )
        self.stage = stage.with_statistics(statistics)
        self.examples = StageExamples(params, self.stage, store)
        self.loss = EDMLoss(self.training.P_mean, self.training.P_std, statistics.sigma_data)
        self._build(checkpoint)
        self._batches = training_batches(
            self.examples, self.share, self.step, self.training.workers
        )

    def _resume_point(self) -> Checkpoint | None:
        """The first process decides, and may move folders; the others then see what it left."""
        checkpoint = None
        self.warnings: list[str] = []
        if self.accelerator.is_main_process:
            checkpoint, self.warnings = resume_point(
                self.directory, self.facts, self.training.on_change
            )
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            checkpoint, _ = latest_checkpoint(self.directory)
        return checkpoint

    def _build(self, checkpoint: Checkpoint | None) -> None:
        """Network, average and optimiser: fresh from the seed, or as the checkpoint has them."""
        torch.manual_seed(self.params.seed)  # weight initialisation is drawn by torch.nn itself
        denoiser = self.stage.build()
        self.ema = {k: v.detach().clone().float() for k, v in denoiser.state_dict().items()}
        optimizer = new_optimizer(denoiser, self.training)
        self.parameters = sum(p.numel() for p in denoiser.parameters())
        if checkpoint:
            weights = {kind: checkpoint.weights(kind) for kind in ("model", "ema")}
            for found in weights.values():
                check_architecture(found, denoiser.state_dict(), str(checkpoint.directory))
            denoiser.load_state_dict(weights["model"])
            self.ema = {k: v.float() for k, v in weights["ema"].items()}
            state = checkpoint.training_state()
            optimizer.load_state_dict(state["optimizer"])
            self.recent = list(state["recent"])
            self.step, self.seconds = checkpoint.step, float(checkpoint.meta["seconds"])
            self.history = checkpoint.history
            self.skipped = list(checkpoint.meta.get("skipped", []))
        if self.accelerator.is_main_process and self.directory.is_dir():
            require_space(self.directory, [*self.ema.values()] * (2 + ADAM_STATE))
        self.model, self.optimizer = self.accelerator.prepare(denoiser, optimizer)
        device = self.accelerator.device
        self.ema = {k: v.to(device) for k, v in self.ema.items()}

    @property
    def progress(self) -> float:
        """Share of the run that is done; the same number in every process."""
        return progress_of(self.training, self.step, self.seconds)

    def save(self, finished: bool) -> None:
        """A checkpoint of this instant, written by the first process."""
        if not self.accelerator.is_main_process:
            return
        model = self.accelerator.unwrap_model(self.model)
        save_checkpoint(
            self.directory,
            model={k: v.cpu() for k, v in model.state_dict().items()},
            ema={k: v.cpu() for k, v in self.ema.items()},
            training={"optimizer": self.optimizer.state_dict(), "recent": self.recent},
            meta={
                "step": self.step,
                "seconds": self.seconds,
                "finished": finished,
                "statistics": self.stage.statistics.to_dict(),
                "digest": digest_of(self.facts),
                "facts": self.facts,
                "conditioning": self.params.select("conditioning.scalars"),
                "stage": self.stage.params.model_dump(mode="json"),
                "parameters": self.parameters,
                "processes": self.share.world,
                "device": self.accelerator.device.type,
                "precision": runtime.resolve_precision(
                    self.training.precision, self.accelerator.device
                ),
                "history": self.history,
                "skipped": self.skipped,
            },
            keep=self.training.keep_checkpoints,
        )

    def update(self, stop: bool = False) -> Update:
        """One optimiser step over `batch_size` samples, or none where a number is not finite.

        stop: whether this process was asked to end; the answer says whether any was.

        Raises:
            DivergedError: the `max_bad_steps`-th step in a row that is not finite.
        """
        t, started = self.training, time.monotonic()
        set_learning_rate(self.optimizer, t, learning_rate(t, self.step, self.progress))
        with runtime.float32_arithmetic(t.precision, self.accelerator.device):
            losses = [self._backward(part == self.share.parts - 1)
                      for part in range(self.share.parts)]  # fmt: skip
        clock = self.seconds + self._unbooked + time.monotonic() - started
        booked = time.monotonic()
        together = share_step(self.accelerator, self.share, torch.cat(losses), stop, clock)
        every, self.seconds = together.losses, together.clock
        problem = None
        if bool(every.isfinite().all()):
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), t.gradient_clip)
            if norm is not None and not math.isfinite(float(norm)):
                problem = f"the gradient's norm is {float(norm)}"
        else:
            problem = f"the loss is {float(every.mean())}"
        if problem is None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if problem is not None:
            self._skip(problem, every)
            return Update(math.nan, together.stop)
        self._average()
        self.recent.append(float(every.mean()))
        self._unbooked = time.monotonic() - booked
        return Update(self.recent[-1], together.stop)

    def _backward(self, last: bool) -> Tensor:
        """Gradients of the next part; its losses (micro,), without the weight of motion."""
        batch: StageBatch = next(self._batches).to(self.accelerator.device)
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            with runtime.autocast(self.training.precision, self.accelerator.device):
                sigma = self.loss.sigma_from_normal(batch.level)
                denoise = bind(self.model, batch.conditioning)
                error = self.loss.error(denoise, batch.target, batch.noise, sigma)
                losses = self.loss.of_error(error, sigma)
                objective = losses.mean()
                if self.training.motion_weight and batch.conditioning.time_aware:
                    motion = self.loss.of_error(motion_of(error), sigma)
                    objective = objective + self.training.motion_weight * motion.mean()
            self.accelerator.backward(objective / self.share.parts)
        return losses.detach().float()

    def _average(self) -> None:
        beta = ema_decay(self.step, self.training.ema_gamma)
        current = self.accelerator.unwrap_model(self.model).state_dict()
        averages, values = list(self.ema.values()), [current[k].float() for k in self.ema]
        torch._foreach_lerp_(averages, values, 1 - beta)

    def _skip(self, problem: str, losses: Tensor) -> None:
        """Note a step that changed nothing, by its clips; give up after too many in a row."""
        names = self.examples.names(self.step - 1)
        bad = [n for n, finite in zip(names, losses.isfinite().tolist(), strict=True) if not finite]
        self.skipped.append({"step": self.step, "problem": problem, "clips": bad or names})
        last = [entry["step"] for entry in self.skipped[-self.training.max_bad_steps :]]
        if last == list(range(self.step - self.training.max_bad_steps + 1, self.step + 1)):
            raise DivergedError(
                f"stage {self.stage.name}: {len(last)} steps in a row could not be taken; step "
                f"{self.step}: {problem}, clips {listed(bad or names)}. The weights are as before "
                "them, and so is the last checkpoint"
            )

    def note(self) -> None:
        """Add the losses since the last note, and that of the averaged weights on VAL clips."""
        entry = {"step": float(self.step), "seconds": self.seconds}
        entry["training_loss"] = sum(self.recent) / len(self.recent) if self.recent else math.nan
        self.recent = []
        if self.examples.has_validation:
            denoiser = self.stage.build().to(self.accelerator.device)
            denoiser.load_state_dict(self.ema)
            own = validation_sums(
                denoiser.eval(), self.examples, self.loss, self.training, self.share.rank,
                self.share.world,
            )  # fmt: skip
            total, count = self.accelerator.reduce(own, "sum").tolist()
            entry["validation_loss"] = total / max(count, 1)
        self.history.append(entry)

    def result(self) -> TrainedStage:
        skipped = [
            f"step {entry['step']} was not taken: {entry['problem']}, "
            f"clips {listed(entry['clips'])}"
            for entry in self.skipped
        ]
        return TrainedStage(
            self.directory, self.step, self.stage.statistics.sigma_data, self.history,
            self.parameters, self.warnings + skipped,
        )  # fmt: skip
