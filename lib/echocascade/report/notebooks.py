"""Executing one notebook, strictly.

papermill runs a notebook but promises little (it runs on with a mistyped parameter, writes over
the last good output, and marks the cells of a dead kernel as completed). Here a notebook has
succeeded when papermill returned, its last code cell was executed, and its last cell recorded the
results of this very execution; only then does the new file take the old one's place.
"""

import argparse
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from echocascade.report import kernels
from echocascade.report.files import read_json, write_json
from echocascade.report.parameters import NotebookError, check_parameters
from echocascade.report.progress import ProgressConsole, format_duration
from echocascade.report.runs import EXECUTION, execution_name, project_root

TRACEBACK_LINES = 8


class NotebookFailedError(RuntimeError):
    """A notebook that was started and did not end well."""

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.traceback = traceback


@dataclass(frozen=True)
class Execution:
    """One notebook to execute in a run folder."""

    notebook: Path
    directory: Path
    stage: str | None = None
    threads: int | None = None

    @property
    def name(self) -> str:
        return execution_name(self.notebook.stem, self.stage)

    @property
    def title(self) -> str:
        """The name as the console shows it: "05 train super resolution tssr"."""
        return self.name.replace("_", " ")

    @property
    def target(self) -> Path:
        return self.directory / "notebooks" / f"{self.name}.ipynb"

    @property
    def partial(self) -> Path:
        return self.directory / "notebooks" / f"{self.name}.partial.ipynb"

    def log(self, kind: str) -> Path:
        """``logs/<name>.<kind>`` in the run folder."""
        return self.directory / "logs" / f"{self.name}.{kind}"

    def parameters(self) -> dict[str, object]:
        """What the notebook's parameters cell is given."""
        file = os.path.relpath(self.directory / "params.yaml", project_root(self.notebook))
        values: dict[str, object] = {"params_file": file, "run_name": self.directory.name}
        return values | ({"stage": self.stage} if self.stage else {})


def execute(execution: Execution, parameters: Mapping[str, object] | None = None) -> Path:
    """Execute a notebook and return the executed file.

    Raises NotebookError before anything starts (a parameter that the notebook does not have, one
    of another type, the same notebook already running in this run folder), NotebookFailedError
    with the cell and the end of its traceback afterwards. A failed or interrupted execution leaves
    ``NAME.partial.ipynb`` and whatever result an earlier one had.
    """
    values = dict(execution.parameters() if parameters is None else parameters)
    check_parameters(execution.notebook, values)
    for folder in ("notebooks", "logs"):
        (execution.directory / folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(execution.log("lock"), timeout=0):
            try:
                return _execute_locked(execution, values)
            except OSError as error:  # a full or a lost disk
                place = error.filename or f"notebooks/{execution.partial.name}"
                raise NotebookFailedError(f"{place} cannot be written: {error.strerror}") from error
    except Timeout:
        raise NotebookError(
            f"{execution.name} is already being executed in {execution.directory.name};"
            " wait for it or stop it first"
        ) from None


def _execute_locked(execution: Execution, values: dict[str, object]) -> Path:
    started = time.time()
    token = secrets.token_hex(8)
    execution.log("failure.json").unlink(missing_ok=True)
    execution.log("progress.jsonl").unlink(missing_ok=True)
    settings = kernels.Settings(
        root=project_root(execution.notebook),
        outputs=execution.directory.parent,
        progress_file=execution.log("progress.jsonl"),
        extra={EXECUTION: token},
        threads=execution.threads,
    )
    print(f"[{execution.title}] started", flush=True)
    with ProgressConsole(execution.log("progress.jsonl"), execution.title):
        try:
            kernels.run_papermill(execution.notebook, execution.partial, values, settings)
            _check_success(execution, token)
        except kernels.KernelFailure as failure:
            raise NotebookFailedError(failure.reason, failure.traceback) from failure
    seconds = time.time() - started
    status = read_json(execution.log("status.json"))
    write_json(execution.log("status.json"), {**status, "duration_s": round(seconds, 1)})
    kernels.strip_machine_paths(execution.partial, settings.root)
    execution.partial.replace(execution.target)
    print(f"[{execution.title}] done in {format_duration(seconds)}", flush=True)
    return execution.target


def _check_success(execution: Execution, token: str) -> None:
    """Believe neither the exit status nor the cell marks: look at the notebook and the record."""
    unexecuted = kernels.unexecuted_cells(execution.partial)
    if unexecuted:
        raise NotebookFailedError(f"the kernel ended before cell [{unexecuted[0]}] was executed")
    status_file = execution.log("status.json")
    status = read_json(status_file) if status_file.exists() else {}
    if status.get("execution") != token:
        raise NotebookFailedError("it ended without recording its results (run.record)")


def describe_failure(execution: Execution, error: NotebookFailedError) -> dict[str, object]:
    """What to tell the user, written to ``logs/<name>.failure.json`` where that is possible."""
    failure: dict[str, object] = {
        "notebook": execution.notebook.name,
        "stage": execution.stage,
        "reason": error.reason,
        "traceback": error.traceback.splitlines()[-TRACEBACK_LINES:],
        "partial": f"notebooks/{execution.partial.name}",
    }
    with contextlib.suppress(OSError):  # the disk may be what failed
        write_json(execution.log("failure.json"), failure)
    return failure


def format_failure(failure: Mapping[str, object], directory: Path) -> str:
    """A failure for the console: which notebook, the end of the traceback, where to look."""
    stage = f" (stage {failure['stage']})" if failure.get("stage") else ""
    lines = [f"{failure['notebook']}{stage} failed: {failure['reason']}"]
    lines += [f"    {line}" for line in failure["traceback"]]  # type: ignore[attr-defined]
    shown = os.path.relpath(directory / str(failure["partial"]))
    return "\n".join([*lines, f"  what it did until then: {shown}"])


def main(arguments: list[str] | None = None) -> int:
    """``python -m echocascade.report.notebooks NOTEBOOK --run DIR [--stage NAME]``.

    Exit status 0; 1 when the notebook failed; 2 when it could not be started; 130 when it was
    interrupted (SIGINT, SIGTERM, or the end of the process that started the run).
    """
    parser = argparse.ArgumentParser(prog="echocascade.report.notebooks", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="the run folder")
    parser.add_argument("--stage", help="the cascade stage, for the training notebooks")
    parser.add_argument("--threads", type=int, help="processor threads for the kernel")
    options = parser.parse_args(arguments)
    notebook, run = options.notebook.resolve(), options.run.resolve()
    execution = Execution(notebook, run, options.stage, options.threads)
    with kernels.interruptible(), kernels.ending_with_parent():
        try:
            execute(execution)
        except NotebookError as error:
            print(f"echocascade: {error}", file=sys.stderr)
            return 2
        except NotebookFailedError as error:
            failure = describe_failure(execution, error)
            print(format_failure(failure, execution.directory), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            with contextlib.suppress(BrokenPipeError):
                print(f"[{execution.title}] interrupted", flush=True)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
