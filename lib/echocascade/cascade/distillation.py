"""A first stage in one or two evaluations: guided consistency distillation of a trained one.

The student takes over the teacher's weights and learns on the teacher's training clips; the
guidance scale is folded in, so that it is sampled without. Its checkpoints lie in
checkpoints/<stage>-distilled and are those of any stage.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError, latest_checkpoint
from echocascade.cascade.examples import StageBatch, StageExamples
from echocascade.cascade.identity import Facts, digest_of, resume_point, training_facts
from echocascade.cascade.outcome import DivergedError, listed
from echocascade.cascade.saving import save_checkpoint
from echocascade.cascade.schedule import ema_decay
from echocascade.cascade.signals import Interrupted, StopSignal
from echocascade.cascade.synthesis import LoadedStage
from echocascade.data.clips import ClipStore
from echocascade.diffusion import Denoiser, karras_sigmas
from echocascade.diffusion.consistency import ConsistencyDistillation
from echocascade.params import DistillationParams, Params, SamplerParams
from echocascade.rng import torch_generator

Progress = Callable[[int, int, str], None]
DECAY_FROM = 0.7  # of the steps: the learning rate then falls to zero


def distilled_sampler(params: Params, evaluations: int) -> SamplerParams:
    """The first stage's sampler with 1 or 2 evaluations of the distilled network."""
    if evaluations not in (1, 2):
        raise ValueError(f"evaluations is {evaluations}; allowed: 1 or 2")
    own = params.cascade.stages[0].sampler
    middle = params.sampling.distillation.middle_sigma
    changed = {"method": "consistency", "steps": evaluations, "sigma_min": middle, "S_churn": 0.0}
    return own.model_copy(update=changed)


@dataclass
class _State:
    """What a checkpoint holds: student, average, optimiser, step, losses."""

    student: Denoiser
    ema: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def distil_stage(
    params: Params, teacher: LoadedStage, store: ClipStore, directory: Path, scale: float,
    progress: Progress | None = None,
) -> LoadedStage:  # fmt: skip
    """Distil the guided first stage into `directory`, or go on there, or read what is finished.

    teacher: the trained first stage; scale: of the guidance that is folded in, 1 is none.

    Raises:
        ValueError: the teacher is not the first stage.
        CheckpointError: `directory` cannot be read or written.
        DivergedError: a loss is not finite.
        Interrupted: a signal asked to stop; everything is saved.
    """
    if teacher.stage.before is not None:
        raise ValueError(f"stage {teacher.stage.name} is not the first; only that one is guided")
    facts = _facts(params, teacher, store, scale)
    state = _start(params, teacher, directory, facts)
    examples = StageExamples(params, teacher.stage, store)
    settings = params.sampling.distillation
    saved = time.monotonic()
    with StopSignal() as stop:
        while state.step < settings.steps:
            _update(params, teacher, examples, state, scale)
            if progress is not None:
                progress(state.step, settings.steps, f"loss {state.recent[-1]:.4f}")
            minutes = (time.monotonic() - saved) / 60
            done = state.step == settings.steps
            if done or stop.received or minutes > teacher.stage.params.training.checkpoint_minutes:
                _save(teacher, directory, state, facts, finished=done)
                saved = time.monotonic()
            if stop.received and not done:
                raise Interrupted(f"distillation stopped at step {state.step}, saved")
    return load_distilled(teacher, directory)


def load_distilled(teacher: LoadedStage, directory: Path) -> LoadedStage:
    """The distilled first stage of `directory`, built like its teacher.

    Raises:
        CheckpointError: there is none that is finished.
    """
    checkpoint, _ = latest_checkpoint(directory)
    if checkpoint is None or not checkpoint.finished:
        raise CheckpointError(f"{directory}: no finished distillation; run notebook 06 of this run")
    device = next(teacher.denoiser.parameters()).device
    denoiser = teacher.stage.build()
    denoiser.load_state_dict(checkpoint.weights("ema"))
    return LoadedStage(teacher.stage, denoiser.to(device).eval().requires_grad_(False))


def _facts(params: Params, teacher: LoadedStage, store: ClipStore, scale: float) -> Facts:
    facts = training_facts(params, teacher.stage, store)
    own = params.sampling.distillation.model_dump(mode="json")
    facts |= {f"sampling.distillation.{key}": own[key] for key in own if key != "middle_sigma"}
    facts["guidance scale"] = scale
    weights = {name: float(w.double().square().sum()) for name, w in
               teacher.denoiser.state_dict().items()}  # fmt: skip
    return {**facts, "the teacher's weights": digest_of(weights)}


def _start(params: Params, teacher: LoadedStage, directory: Path, facts: Facts) -> _State:
    checkpoint, _ = resume_point(directory, facts, "set_aside")
    device = next(teacher.denoiser.parameters()).device
    student = teacher.stage.build()
    student.load_state_dict(teacher.denoiser.state_dict())
    student = student.to(device).train()
    settings = params.sampling.distillation
    optimizer = torch.optim.Adam(student.parameters(), settings.learning_rate, (0.9, 0.99))
    average = {k: v.detach().clone().float() for k, v in student.state_dict().items()}
    state = _State(student, average, optimizer)
    if checkpoint is not None:
        student.load_state_dict(checkpoint.weights("model"))
        state.ema = {k: v.float().to(device) for k, v in checkpoint.weights("ema").items()}
        kept = checkpoint.training_state()
        optimizer.load_state_dict(kept["optimizer"])
        state.recent, state.history = list(kept["recent"]), checkpoint.history
        state.step, state.seconds = checkpoint.step, float(checkpoint.meta["seconds"])
    return state


def _update(
    params: Params, teacher: LoadedStage, examples: StageExamples, state: _State, scale: float
) -> None:
    """One optimiser step, its randomness addressed by the step's number."""
    settings, started = params.sampling.distillation, time.monotonic()
    device = next(teacher.denoiser.parameters()).device
    first = state.step * settings.batch_size
    batch = examples.training_batch(state.step, first, settings.batch_size).to(device)
    method = _grid(teacher, settings)
    draw = torch_generator(params.seed, f"distil.{teacher.stage.name}", state.step)
    step = torch.randint(method.n_steps, (settings.batch_size,), generator=draw).to(device)
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(settings, state.step)
    with runtime.autocast(teacher.stage.params.training.precision, device):
        loss = _loss(method, teacher, state.student, batch, step, scale)
    if not bool(loss.isfinite()):
        rows = examples.sampler.batch(first // settings.batch_size, settings.batch_size).index
        names = examples.store.table["FileName"].iloc[rows].astype(str).tolist()
        raise DivergedError(
            f"distillation, step {state.step}: the loss is {float(loss)}, clips {listed(names)}"
        )
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(
        state.student.parameters(), teacher.stage.params.training.gradient_clip
    )
    state.optimizer.step()
    state.step += 1
    now = state.student.state_dict()
    weight = 1 - ema_decay(state.step, settings.ema_gamma)
    torch._foreach_lerp_(list(state.ema.values()), [now[k].float() for k in state.ema], weight)
    state.recent.append(float(loss.detach()))
    state.seconds += time.monotonic() - started


def _loss(
    method: ConsistencyDistillation, teacher: LoadedStage, student: Denoiser, batch: StageBatch,
    step: Tensor, scale: float,
) -> Tensor:  # fmt: skip
    given = torch.ones_like(batch.conditioning.given)
    cond = replace(batch.conditioning, given=given, time_aware=True)
    both = cond.joined(cond.without_lambda())

    def guided_teacher(x: Tensor, sigma: Tensor) -> Tensor:
        if scale == 1:
            return teacher.denoiser(x, sigma, cond)
        answers = teacher.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), both)
        with_cond, with_null = answers.chunk(2)
        return torch.lerp(with_null, with_cond, scale)

    def answer(x: Tensor, sigma: Tensor) -> Tensor:
        return student(x, sigma, cond)

    return method.loss(answer, guided_teacher, batch.target, batch.noise, step).mean()


def _grid(teacher: LoadedStage, settings: DistillationParams) -> ConsistencyDistillation:
    own = teacher.stage.params.sampler
    sigmas = karras_sigmas(settings.levels, settings.sigma_min, own.sigma_max, own.rho)
    return ConsistencyDistillation(sigmas.tolist(), teacher.stage.statistics.sigma_data)


def _learning_rate(settings: DistillationParams, step: int) -> float:
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    left = (1 - step / settings.steps) / (1 - DECAY_FROM)
    return settings.learning_rate * warm * min(1.0, left)


def _save(
    teacher: LoadedStage, directory: Path, state: _State, facts: Facts, finished: bool
) -> None:
    entry = {"step": float(state.step), "seconds": state.seconds}
    entry["training_loss"] = sum(state.recent) / len(state.recent)
    state.history.append(entry)
    state.recent = []
    meta: dict[str, Any] = {
        "step": state.step, "seconds": state.seconds, "finished": finished,
        "statistics": teacher.stage.statistics.to_dict(), "digest": digest_of(facts),
        "facts": facts, "stage": teacher.stage.params.model_dump(mode="json"),
        "history": state.history,
    }  # fmt: skip
    model = {k: v.cpu() for k, v in state.student.state_dict().items()}
    save_checkpoint(
        directory, model=model, ema={k: v.cpu() for k, v in state.ema.items()},
        training={"optimizer": state.optimizer.state_dict(), "recent": state.recent}, meta=meta,
    )  # fmt: skip
