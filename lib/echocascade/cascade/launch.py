"""Training on several devices: `accelerate launch` as a subprocess, its log shown while it runs.

On one machine, or on every node of a Slurm job (see `nodes`).

A kernel that has touched a GPU cannot be forked into several processes, so they start afresh; what
they leave is read from the checkpoint, and they end when the kernel does.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from echocascade import runtime
from echocascade.cascade.checkpoint import latest_checkpoint
from echocascade.cascade.claim import owner_of
from echocascade.cascade.nodes import Allocation, allocation
from echocascade.cascade.outcome import TrainedStage
from echocascade.cascade.signals import Interrupted, StopSignal
from echocascade.cascade.training import STEP_LINE, train_stage
from echocascade.data.atomic import write_text
from echocascade.data.clips import ClipStore
from echocascade.params import Params, ParamsError

Progress = Callable[[int, int, str], None]
_WARNING, _ERROR = "warning: ", "echocascade: "


class LaunchError(RuntimeError):
    """The processes that trained ended badly."""


def train_on_devices(
    params: Params, index: int, store: ClipStore, run: Path, progress: Progress | None = None
) -> TrainedStage:
    """Train stage `index` into `run`/checkpoints/<stage>: here, or on `devices` devices.

    With `nodes` above 1 this has to be in a Slurm job of so many nodes.

    Raises:
        ParamsError: this machine, or this Slurm job, has not what is asked for.
        LaunchError, CheckpointError: the training failed; its last words are in the message.
        Interrupted: a signal asked to stop; everything is saved.
    """
    name = params.cascade.stages[index].name
    if params.devices == 1:
        return train_stage(params, index, store, run / "checkpoints" / name, progress)
    several = allocation(params.nodes) if params.nodes > 1 else None
    _require_devices(params.devices, params.nodes)
    logs = run / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    resolved = logs / f"train_{name}.yaml"
    write_text(resolved, params.dump_yaml())
    job = Job(
        launch_command(params.devices, resolved, name, run, store.directory, several),
        run / "checkpoints" / name, logs / f"train_{name}.log", by_srun=several is not None,
    )  # fmt: skip
    return job.train(progress)


def launch_command(
    devices: int, params: Path, stage: str, run: Path, store: Path, several: Allocation | None
) -> list[str]:
    """`accelerate launch` of `devices` processes: here, at a free port, or over several nodes."""
    nodes = 1 if several is None else len(several.nodes)
    threads = max(1, torch.get_num_threads() * nodes // devices)
    if several is None:
        start = [sys.executable, "-m", "accelerate.commands.launch"]
        meet = ["--num_machines", "1", "--main_process_port", "0"]
    else:
        start, meet = several.step(), several.rendezvous()
    return [
        # on a machine without GPUs, too: this is what makes several processes of it
        *(*start, "--multi_gpu", "--num_processes", str(devices), *meet),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads)),
        *("-m", "echocascade.cascade.training", str(params), "--stage", stage),
        *("--run", str(run), "--store", str(store), "--processes", str(devices), "--calm"),
    ]


def _require_devices(devices: int, nodes: int) -> None:
    gpus, here = torch.cuda.device_count(), devices // nodes
    if gpus and gpus < here:
        each = f" on each of {nodes} nodes" if nodes > 1 else ""
        raise ParamsError(f"devices: {here} are asked for{each}, this machine has {gpus} GPUs")


@dataclass
class Job:
    """One launched training; by_srun: on several nodes, by Slurm."""

    command: list[str]
    directory: Path
    log: Path
    by_srun: bool = False
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def train(self, progress: Progress | None) -> TrainedStage:
        """Run it to its end; its step lines become `progress`, its other lines are shown."""
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"}, errors="replace",
                start_new_session=True, preexec_fn=prepare_launcher,
            ) as child,
            StopSignal(lambda: self.stop(child)) as stop,
        ):  # fmt: skip
            assert child.stdout is not None
            self._follow(child.stdout, log, progress)
            status = child.wait()
        return self._outcome(status, stop.received)

    def stop(self, child: subprocess.Popen[str]) -> None:
        """Ask the training to save and end.

        The first process is asked itself: the launcher would kill all of them after 30 seconds,
        and a step of a large network and its checkpoint can take longer. Where that process is on
        another node, srun passes SIGUSR1 on to all; of SIGTERM it would kill them.
        """
        owner = owner_of(self.directory)
        if owner is not None and owner.host == socket.gethostname() and owner.is_here:
            os.kill(owner.pid, signal.SIGTERM)
        elif self.by_srun and owner is not None:
            child.send_signal(signal.SIGUSR1)
        else:
            child.terminate()

    def _follow(self, lines: IO[str], log: IO[str], progress: Progress | None) -> None:
        for line in lines:
            log.write(line)
            log.flush()
            step = STEP_LINE.match(line)
            if step is not None:
                if progress is not None:
                    progress(int(step[1]), int(step[2]), step[3])
                continue
            for start, kept in ((_WARNING, self.warnings), (_ERROR, self.errors)):
                if line.startswith(start):
                    kept.append(line.removeprefix(start).strip())
            print(line, end="", flush=True)

    def _outcome(self, status: int, stopped: bool) -> TrainedStage:
        if status == 0 and not stopped:
            checkpoint, _ = latest_checkpoint(self.directory)
            if checkpoint is not None and checkpoint.finished:
                return TrainedStage(
                    self.directory, checkpoint.step,
                    float(checkpoint.meta["statistics"]["sigma_data"]), checkpoint.history,
                    int(checkpoint.meta["parameters"]), self.warnings,
                )  # fmt: skip
        words = self.errors[-1] if self.errors else f"exit status {status}"
        if stopped or status == 0:  # a scheduler can have told the training and not this process
            raise Interrupted(words)
        raise LaunchError(
            f"training failed: {words}; its log is {self.log.name} in {self.log.parent}"
        )


def prepare_launcher() -> None:
    """In the launcher before it starts: end with this process, and leave SIGUSR1 to the workers."""
    runtime.end_with_parent()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
