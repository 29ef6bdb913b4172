"""The kernel a notebook runs in, and papermill around it.

The kernel is this very Python with no user start-up files, on a machine with or without a Jupyter
set-up of its own. papermill, nbclient and nbformat are imported when a notebook is executed, so
the library works where they are not installed.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from echocascade.report.progress import PROGRESS_FILE
from echocascade.report.runs import OUTPUTS, ROOT

PARENT = "ECHOCASCADE_PARENT"

# time a kernel has to leave a checkpoint after KeyboardInterrupt
SHUTDOWN_S = 30.0

# the path of a socket is limited to about 104 bytes; file names in the folder need up to 60
LONGEST_SOCKET_FOLDER = 44


class KernelFailure(RuntimeError):  # noqa: N818 - a failure of the kernel, not of this program
    """A notebook's code raised, or its kernel died."""

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.traceback = traceback


@dataclass(frozen=True)
class Settings:
    """What the kernel is told through its environment."""

    root: Path
    outputs: Path
    progress_file: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None

    def environment(self, private: Path) -> dict[str, str]:
        """Environment variables for the kernel; `private` is a folder that is its alone."""
        variables = {
            ROOT: str(self.root),
            OUTPUTS: str(self.outputs),
            PROGRESS_FILE: str(self.progress_file),
            # figures as plotly JSON only: the notebook stays light, the report draws them
            "PLOTLY_RENDERER": "plotly_mimetype",
            "TQDM_MININTERVAL": "30",
            # libraries that import tqdm.auto would complain, with a path, that ipywidgets is absent
            "PYTHONWARNINGS": "ignore:IProgress not found",
            "JUPYTER_PATH": str(private),
            "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
            "JUPYTER_CONFIG_DIR": str(private / "config"),
            "IPYTHONDIR": str(private / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            **self.extra,
        }
        if self.threads:
            variables["OMP_NUM_THREADS"] = str(self.threads)
            variables["ECHOCASCADE_THREADS"] = str(self.threads)
        return variables


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[Path]:
    """Set the kernel's environment in this process, and restore it afterwards.

    Yields the kernel's private folder: its kernel specification (this Python, whatever else is
    called python3 on the machine), its connection files, and empty user settings.
    """
    private = Path(tempfile.mkdtemp(prefix="echocascade-kernel-"))
    spec = {
        "argv": [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "--log-level=50",
            "-f",
            "{connection_file}",
        ],
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"debugger": False},
    }
    (private / "runtime").mkdir(mode=0o700)
    (private / "kernels" / "python3").mkdir(parents=True)
    spec_file = private / "kernels" / "python3" / "kernel.json"
    spec_file.write_text(json.dumps(spec), encoding="utf-8")
    before = dict(os.environ)
    os.environ.update(settings.environment(private))
    try:
        yield private
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(private, ignore_errors=True)


def run_papermill(
    source: Path, target: Path, parameters: Mapping[str, object], settings: Settings
) -> None:
    """Execute `source` into `target`; KernelFailure says what went wrong and where."""
    import papermill
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    config = Config()
    config.KernelManager.shutdown_wait_time = SHUTDOWN_S
    with environment(settings) as private:
        if sys.platform != "win32" and len(str(private)) <= LONGEST_SOCKET_FOLDER:
            # sockets in a private folder: no port to clash, nothing that other users could reach
            config.KernelManager.transport = "ipc"
            config.KernelManager.ip = str(private / "kernel")
        try:
            papermill.execute_notebook(
                source,
                target,
                parameters=dict(parameters),
                kernel_name="python3",
                language="python",
                cwd=source.parent,
                progress_bar=False,
                autosave_cell_every=10,
                config=config,
            )
        except PapermillExecutionError as error:
            reason = f"{error.ename} in cell [{error.exec_count}]: {error.evalue}"
            raise KernelFailure(reason, plain_text("\n".join(error.traceback))) from error
        except DeadKernelError as error:
            raise KernelFailure(
                f"the kernel died in cell [{running_cell(target)}];"
                " the system ends a process like that when memory runs out"
            ) from error
        except KeyboardInterrupt:
            # the task that waited for the cell is given up, and would complain about it at exit
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise
        except CellExecutionError as error:
            raise KernelFailure(f"{error.ename}: {error.evalue}", error.traceback) from error


def plain_text(text: str) -> str:
    """Text without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def code_cells(notebook: Path) -> list[dict]:
    """Code cells that have source: those that Jupyter executes and counts, from 1."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]


def unexecuted_cells(notebook: Path) -> list[int]:
    """Numbers of the code cells that were not executed."""
    cells = enumerate(code_cells(notebook), 1)
    return [number for number, cell in cells if cell["execution_count"] is None]


def running_cell(notebook: Path) -> int | str:
    """The last code cell that was started: where a kernel died."""
    try:
        cells = enumerate(code_cells(notebook), 1)
    except (OSError, json.JSONDecodeError):
        return "?"
    started = [
        number
        for number, cell in cells
        if cell["metadata"].get("papermill", {}).get("start_time") is not None
    ]
    return started[-1] if started else "?"


def strip_machine_paths(notebook: Path, root: Path) -> None:
    """Make an executed notebook silent about the machine.

    papermill notes both files' paths, and a library's warning tells where it is installed: the
    first are cut to names, paths inside the project and the environment become relative.
    """
    text = notebook.read_text(encoding="utf-8")
    for folder in sorted({str(root), sys.prefix, str(Path.home())}, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(f"{folder}/", "")
    content = json.loads(text)
    record = content["metadata"].get("papermill", {})
    for key in ("input_path", "output_path"):
        if record.get(key):
            record[key] = Path(record[key]).name.replace(".partial", "")
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGINT both arrive as KeyboardInterrupt inside the block.

    Also where SIGINT is ignored, as it is in what a script's shell starts in the background.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(signum, interrupt) for signum in signals]
    try:
        yield
    finally:
        for signum, handler in zip(signals, before, strict=True):
            signal.signal(signum, handler)


@contextlib.contextmanager
def ending_with_parent() -> Iterator[None]:
    """Interrupt this process when the one that ECHOCASCADE_PARENT names has gone.

    A run that is killed outright takes its notebooks along within a second, instead of leaving
    them to train in the background.
    """
    stop = threading.Event()
    parent = int(os.environ.get(PARENT, "0"))

    def watch() -> None:
        while not stop.wait(1.0):
            try:
                os.kill(parent, 0)
            except ProcessLookupError:
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch, daemon=True)
    if parent:
        thread.start()
    try:
        yield
    finally:
        stop.set()
