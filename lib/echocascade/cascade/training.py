"""Training of one stage (Reynaud23 Sec. 2), in this process or as one of several.

    accelerate launch -m echocascade.cascade.training PARAMS --stage NAME --run outputs/RUN

starts as many processes as `accelerate` is told to, on one machine or on several; each computes its
share of every batch (see `trainer`). The same command goes on where it stopped.
"""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import Accelerator

from echocascade import runtime
from echocascade.cascade.card import write_model
from echocascade.cascade.checkpoint import CheckpointError, latest_checkpoint
from echocascade.cascade.claim import claimed
from echocascade.cascade.loader import LoaderError
from echocascade.cascade.outcome import TrainedStage
from echocascade.cascade.processes import new_accelerator
from echocascade.cascade.signals import Interrupted, StopSignal
from echocascade.cascade.trainer import StageTrainer
from echocascade.data.clips import ClipStore, StoreError
from echocascade.data.echonet import DatasetError
from echocascade.data.prepare import prepare_data
from echocascade.params import Params, ParamsError, load_params

Progress = Callable[[int, int, str], None]

BAD_INPUT, STOPPED = 2, 130
USER_ERRORS = (
    ParamsError, DatasetError, StoreError, CheckpointError, FloatingPointError, LoaderError,
)  # fmt: skip
STEP_LINE = re.compile(r"stage \S+: step (\d+) of (\d+), (.*)")


def imported_stage(directory: Path) -> TrainedStage:
    """What others trained: it is there, and it is not trained on."""
    checkpoint, warnings = latest_checkpoint(directory)
    if checkpoint is None:
        raise CheckpointError(
            f"{directory}: no weights of this imported stage; `echocascade import-weights` puts "
            "them there"
        )
    return TrainedStage(
        directory, checkpoint.step, float(checkpoint.meta["statistics"]["sigma_data"]),
        checkpoint.history, int(checkpoint.meta["parameters"]), warnings,
    )  # fmt: skip


def train_stage(
    params: Params, index: int, store: ClipStore, directory: Path,
    progress: Progress | None = None, accelerator: Accelerator | None = None,
) -> TrainedStage:  # fmt: skip
    """Train stage `index` into `directory`, or go on, or return at once when it is finished.

    Raises:
        CheckpointError: another process trains there, nothing can be written or read there.
        DivergedError: losses or gradients are not finite, several steps in a row.
        LoaderError: a process that reads clips was killed.
        Interrupted: a signal asked to stop; everything is saved.
    """
    if params.cascade.stages[index].imported is not None:
        return imported_stage(directory)
    accelerator = accelerator or new_accelerator(params.cascade.stages[index].training.image_only)
    if not accelerator.is_main_process:
        return run_to_end(StageTrainer(params, index, store, directory, accelerator), None)
    with claimed(directory) as found:
        trainer = StageTrainer(params, index, store, directory, accelerator)
        trainer.warnings[:0] = found
        return run_to_end(trainer, progress)


def run_to_end(trainer: StageTrainer, progress: Progress | None = None) -> TrainedStage:
    """Train on, saving on the way, and leave a finished checkpoint and the model with its card."""
    t = trainer.training
    to_validate = {round(t.steps * (i + 1) / t.validate_times) for i in range(t.validate_times)}
    saved = time.monotonic()
    with StopSignal() as stop:
        while trainer.progress < 1:
            update = trainer.update(stop.received)
            if trainer.step in to_validate or trainer.progress >= 1:
                trainer.note()
            if progress is not None:
                progress(round(trainer.progress * t.steps), t.steps, _loss_note(trainer.recent))
            alone = trainer.share.world == 1
            if (stop.received if alone else update.stop) and trainer.progress < 1:
                trainer.save(finished=False)
                trainer.accelerator.wait_for_everyone()
                raise Interrupted(
                    f"stage {trainer.stage.name} stopped at step {trainer.step}, saved"
                )
            if time.monotonic() - saved > 60 * t.checkpoint_minutes and trainer.progress < 1:
                trainer.save(finished=False)
                saved = time.monotonic()
    if trainer.accelerator.is_main_process:
        _finish(trainer)
    trainer.accelerator.wait_for_everyone()
    return trainer.result()


def _loss_note(recent: list[float]) -> str:
    last = recent[-20:]
    return f"loss {sum(last) / len(last):.3f}" if last else "validated"


def _finish(trainer: StageTrainer) -> None:
    """The last checkpoint and the model's own folder, where a call before has not left them."""
    checkpoint, _ = latest_checkpoint(trainer.directory)
    if checkpoint is None or checkpoint.step < trainer.step or not checkpoint.finished:
        trainer.save(finished=True)
        checkpoint, _ = latest_checkpoint(trainer.directory)
    if checkpoint is not None:
        write_model(trainer.params, trainer.stage, trainer.examples.store, checkpoint)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above. Exit status 0; 2 for bad input; 130 when a signal stopped it, saved."""
    parser = argparse.ArgumentParser(prog="echocascade.cascade.training", description=__doc__)
    parser.add_argument("params", type=Path, help="parameters file")
    parser.add_argument("--stage", required=True, help="name of the stage")
    parser.add_argument("--run", type=Path, required=True, help="the run folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where prepared clips lie")
    parser.add_argument("--store", type=Path, help="prepared clips to use as they are")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--processes", type=int, help="fail unless there are so many")
    parser.add_argument(
        "--calm", action="store_true", help="exit status 0 also when a signal stopped it"
    )
    options = parser.parse_args(arguments)
    runtime.prepare()
    if "LOCAL_RANK" in os.environ:  # one of several: the launcher must not leave it behind
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which a launcher may have ignored
        runtime.end_with_parent()
    try:
        _train(options)
    except USER_ERRORS as error:
        print(f"echocascade: {error}", file=sys.stderr, flush=True)
        return BAD_INPUT
    except Interrupted as stopped:
        if new_accelerator().is_main_process:
            print(f"echocascade: {stopped}", flush=True)
        new_accelerator().end_training()
        return 0 if options.calm else STOPPED
    new_accelerator().end_training()
    return 0


def _train(options: argparse.Namespace) -> None:
    params = load_params(options.params, options.changes)
    index = params.cascade.index(options.stage)
    accelerator = new_accelerator(params.cascade.stages[index].training.image_only)
    there = accelerator.num_processes
    if there < params.devices or options.processes not in (None, there):
        raise ParamsError(
            f"devices: {options.processes or params.devices} are asked for and {there} train; "
            f"start this with `accelerate launch --multi_gpu --num_processes N`"
        )
    store = ClipStore.open(options.store) if options.store else prepare_data(params, options.data)
    directory = options.run / "checkpoints" / options.stage
    trained = train_stage(
        params, index, store, directory, StepLines(f"stage {options.stage}"), accelerator
    )
    if accelerator.is_main_process:
        for warning in trained.warnings:
            print(f"warning: {warning}", flush=True)
        print(f"stage {options.stage}: finished at step {trained.step}", flush=True)


class StepLines:
    """Progress as lines on stdout, one a second; STEP_LINE reads them."""

    def __init__(self, label: str, interval_s: float = 1.0) -> None:
        self.label, self.interval_s = label, interval_s
        self._said = float("-inf")

    def __call__(self, done: int, total: int, note: str) -> None:
        if done >= total or time.monotonic() - self._said >= self.interval_s:
            self._said = time.monotonic()
            print(f"{self.label}: step {done} of {total}, {note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
