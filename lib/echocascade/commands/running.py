"""``echocascade run``: from a parameters file to a finished report.

Checks everything it can before it starts, writes the run folder's ``params.yaml`` and
``provenance.json``, lets Snakemake decide what has to run, and says at the end where the report
is, or which notebook failed and why.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
import yaml
from filelock import FileLock, Timeout

from echocascade import runtime
from echocascade.params import Params, ParamsError, load_params
from echocascade.report import provenance
from echocascade.report.files import read_json, write_json, write_text
from echocascade.report.headlines import summary_line
from echocascade.report.index import write_report
from echocascade.report.kernels import PARENT, interruptible
from echocascade.report.notebooks import format_failure
from echocascade.report.progress import format_duration
from echocascade.report.runs import (
    OUTPUTS,
    ROOT,
    RunError,
    find_params_file,
    project_root,
    run_folder,
)

INTERRUPTED = 130


@dataclass(frozen=True)
class Run:
    """A run that is about to start."""

    params: Params
    root: Path
    directory: Path
    cores: int | None
    profile: Path


def prepare_run(
    params_file: str,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    name: str | None = None,
    cores: int | None = None,
    profile: str = "default",
) -> Run:
    """Check a run and return it; nothing is written yet.

    `data` replaces ``data.root`` (a path from the working folder) and, unless `name` is given,
    adds its own name to the run's, so that a run on other data does not overwrite the first.
    Raises ParamsError or RunError.
    """
    file = find_params_file(params_file)
    root = project_root(file)
    changes = list(overrides)
    if data is not None:
        changes.append(f"data.root={data_root(data, root)}")
    params = load_params(file, changes)
    if name is None:
        name = params.name + (f"_{slug(data.resolve().name)}" if data is not None else "")
    chosen = find_profile(profile, root)
    if cores is not None and cores < 1:
        raise RunError(f"cores: {cores} found, at least 1 is needed")
    check_data_root(params, root)
    directory = run_folder(name, root)
    if cores is None and is_local(chosen):
        cores = provenance.available_cores()
    return Run(params, root, directory, cores, chosen)


def data_root(data: Path, root: Path) -> str:
    """A data folder as it is written to params.yaml: relative to the project where it is near."""
    absolute = data.expanduser().resolve()
    near = os.path.commonpath([absolute, root]) != os.path.sep
    return os.path.relpath(absolute, root) if near else str(absolute)


def check_data_root(params: Params, root: Path) -> None:
    """RunError when the data set is plainly not there; its content is notebook 01's business."""
    if params.is_phantom:
        return
    folder = root / Path(params.data.root).expanduser()
    if not (folder / "FileList.csv").is_file():
        raise RunError(
            f"data.root: no FileList.csv in {params.data.root}; expected an EchoNet-Dynamic folder"
            " (FileList.csv, Videos/) or the word phantom"
        )


def find_profile(profile: str, root: Path) -> Path:
    """The folder of a workflow profile: one of the project's by name, or a user's own.

    Raises:
        RunError: there is no such folder with a config.yaml.
    """
    folder = root / "workflow" / "profiles" / profile
    if not (folder / "config.yaml").is_file():
        folder = Path(profile).expanduser().resolve()
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"no profile {profile!r}; there are {', '.join(profiles(root))}, "
            "or give a folder with a config.yaml"
        )
    return folder


def is_local(profile: Path) -> bool:
    """Whether a profile's jobs are processes of this machine."""
    try:
        settings = yaml.safe_load((profile / "config.yaml").read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{profile}/config.yaml: {' '.join(str(error).split())}") from None
    return str(settings.get("executor", "local")) == "local"


def profiles(root: Path) -> list[str]:
    """Names of the workflow profiles."""
    return sorted(file.parent.name for file in root.glob("workflow/profiles/*/config.yaml"))


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "data"


def start_run(run: Run, command: Sequence[str]) -> int:
    """Execute a run and return the exit status: 0, 1 for a failed notebook, 130 interrupted."""
    run.directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.directory / ".lock", timeout=0):
            return _start_locked(run, command)
    except Timeout:
        raise RunError(
            f"run {run.directory.name} is already going on; wait for it, or choose another --name"
        ) from None


def _start_locked(run: Run, command: Sequence[str]) -> int:
    started = time.time()
    for failure in run.directory.glob("logs/*.failure.json"):
        failure.unlink()
    write_text(run.directory / "params.yaml", run.params.dump_yaml())
    write_json(run.directory / "provenance.json", provenance.collect(run.root, command))
    where = f"{run.cores} cores" if run.cores else f"jobs as in {run.profile.name}/config.yaml"
    typer.echo(f"run {run.directory.name}: {run.params.title or 'no title'}; {where}")
    status = run_snakemake(run)
    if status == INTERRUPTED:
        typer.echo("interrupted; the same command goes on from here", err=True)
        return status
    if status:
        report_failure(run)
        return 1
    print_summary(run, time.time() - started)
    return 0


def snakemake_command(run: Run) -> list[str]:
    """The command line that executes a run's workflow."""
    gpus = _gpu_count() if is_local(run.profile) else 0
    return [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(run.root / "workflow" / "Snakefile")),
        *("--directory", str(run.directory)),
        *("--workflow-profile", str(run.profile)),
        *(("--cores", str(run.cores)) if run.cores else ()),
        # one training at a time where GPUs are: each takes all of them
        *(("--resources", "gpu=1") if gpus else ()),
    ]


def _gpu_count() -> int:
    import torch  # seconds to import, and provenance has paid for it already

    return torch.cuda.device_count()


def run_snakemake(run: Run) -> int:
    """Run the workflow: notebooks speak on stdout, Snakemake itself into ``logs/snakemake.log``.

    It gets a process group of its own, so that an interrupt reaches every notebook once and each
    can save its work, whoever sent it and whether or not there is a terminal.
    """
    environment = {
        **os.environ,
        ROOT: str(run.root),
        OUTPUTS: str(run.directory.parent),
        "PYTHONUNBUFFERED": "1",
    }
    if is_local(run.profile):  # a job of a cluster outlives this process, and may be elsewhere
        environment[PARENT] = str(os.getpid())
    log_file = run.directory / "logs" / "snakemake.log"
    log_file.parent.mkdir(exist_ok=True)
    with log_file.open("w", encoding="utf-8") as log, interruptible():
        child = subprocess.Popen(
            snakemake_command(run), stderr=log, env=environment, process_group=0,
            preexec_fn=None if is_local(run.profile) else runtime.end_with_parent,
        )  # fmt: skip
        try:
            return child.wait()
        except KeyboardInterrupt:
            _interrupt_group(child)
            return INTERRUPTED


def _interrupt_group(child: subprocess.Popen, patience_s: float = 45.0) -> None:
    typer.echo("stopping: notebooks are saving their work", err=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
    try:
        child.wait(patience_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def report_failure(run: Run) -> None:
    """Say which notebook failed, and leave a report of what there is."""
    failures = sorted(run.directory.glob("logs/*.failure.json"))
    for file in failures:
        typer.echo(f"echocascade: {format_failure(read_json(file), run.directory)}", err=True)
    log = run.directory / "logs" / "snakemake.log"
    if not failures:
        lines = log.read_text(encoding="utf-8").strip().splitlines()
        typer.echo("echocascade: the workflow could not be run:", err=True)
        typer.echo("\n".join(f"    {line}" for line in lines[-12:]), err=True)
    typer.echo(f"  log: {os.path.relpath(log)}", err=True)
    if any(run.directory.glob("notebooks/*.ipynb")):
        index = write_report(run.directory)
        typer.echo(f"  report of what was done: {os.path.relpath(index)}", err=True)


def print_summary(run: Run, seconds: float) -> None:
    """The last words of a run: how long, the main numbers, and where the report is."""
    results = read_json(run.directory / "results.json")
    numbers = summary_line(results)
    took = format_duration(seconds)
    index = os.path.relpath(run.directory / "report" / "index.html")
    typer.echo(f"done in {took}. Report: {index}" + (f" | {numbers}" if numbers else ""))


__all__ = ["ParamsError", "Run", "RunError", "prepare_run", "start_run"]
