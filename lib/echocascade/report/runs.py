"""Run folders: what a notebook calls to find its parameters and to leave its results.

``outputs/<run>/`` holds ``params.yaml`` (resolved), ``provenance.json``, ``results.json`` (every
notebook's numbers in one flat object), ``results/``, ``notebooks/``, ``report/``,
``checkpoints/``, ``samples/``, ``tables/`` and ``logs/``.
"""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from echocascade.params import Params, load_params
from echocascade.report import provenance
from echocascade.report.files import flatten, read_json, write_json, write_text
from echocascade.report.progress import Progress, progress_callback

ROOT = "ECHOCASCADE_ROOT"
OUTPUTS = "ECHOCASCADE_OUTPUTS"
EXECUTION = "ECHOCASCADE_EXECUTION"

# notebooks executed once per stage: their output files carry the stage's name
PER_STAGE = frozenset({"05_train_super_resolution"})

# the first word of a notebook's result keys, where it is not what follows the number
SUBJECTS = {
    "01_data_preparation": "data",
    "02_edm_theory": "theory",
    "03_lvef_regressor": "regressor",
    "04_train_base": "train",
    "05_train_super_resolution": "train",
    "07_counterfactual_evaluation": "counterfactual",
    "08_expert_study": "study",
    "09_downstream_rebalancing": "rebalancing",
}

PHANTOM_BANNER = (
    "These numbers come from a phantom: drawn hearts with known volumes, not patients. They show"
    " that the method works as described; they say nothing about real echocardiograms."
)


class RunError(ValueError):
    """A run that cannot be found or started as asked."""


@dataclass(frozen=True)
class NotebookRun:
    """One execution of one notebook in a run folder."""

    params: Params
    root: Path
    directory: Path
    notebook: str
    stage: str | None

    @property
    def name(self) -> str:
        """The stem of the executed notebook, e.g. "05_train_super_resolution_tssr"."""
        return execution_name(self.notebook, self.stage)

    @property
    def data_dir(self) -> Path:
        """The project's data folder, where phantoms and prepared stores lie."""
        return self.root / "data"

    @property
    def data_root(self) -> Path:
        """The data set's folder, see `data.prepare.dataset_folder`."""
        # torch comes with it, which the processes that only run notebooks can do without
        from echocascade.data.prepare import dataset_folder

        return dataset_folder(self.params, self.data_dir)

    @property
    def is_phantom(self) -> bool:
        """Whether the data set was drawn by `data.phantom`."""
        return self.params.is_phantom or (self.data_root / "phantom.json").exists()

    def path(self, *parts: str) -> Path:
        """A file or folder inside the run folder; its parent folder exists afterwards."""
        target = self.directory.joinpath(*parts)
        if not target.resolve().is_relative_to(self.directory.resolve()):
            raise ValueError(f"{'/'.join(parts)} leaves the run folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def progress(self, label: str) -> Progress:
        """A callback (done, total, note) that shows the progress of work called `label`."""
        return progress_callback(label)

    def record(self, results: Mapping[str, object]) -> "Recorded":
        """Leave this notebook's numbers for the report, the tests and the notebooks after it.

        Keys get the notebook's subject in front ("counterfactual.generation..."; a stage's
        notebook "train.<stage>..."), nested mappings become dotted keys, NaN becomes null.
        Replaces what an earlier execution recorded. Returns the flat object.
        """
        subject = result_prefix(self.notebook, self.stage)
        flat = flatten(results, subject)
        write_json(self.path("results", f"{self.name}.json"), flat)
        merge_results(self.directory)
        status = {
            "execution": os.environ.get(EXECUTION),
            "finished": provenance.timestamp(),
            "phantom": self.is_phantom,
            **provenance.git_state(self.root),
        }
        write_json(self.path("logs", f"{self.name}.status.json"), status)
        return Recorded(flat)

    def banner(self) -> str:
        """A Markdown warning to show at the top where the data is a phantom, else empty."""
        return f"> **{PHANTOM_BANNER}**" if self.is_phantom else ""


class Recorded(dict[str, object]):
    """The flat results of a notebook; a page shows them as a table that opens."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(key)}</td><td>{html.escape(_shown(value))}</td></tr>"
            for key, value in self.items()
        )
        count = f"{len(self)} number{'s' if len(self) != 1 else ''} recorded"
        return f"<details><summary>{count}</summary><table>{rows}</table></details>"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def start_notebook(
    params_file: str | Path,
    run_name: str,
    notebook: str,
    overrides: Mapping[str, object] | Sequence[str] = (),
    stage: str | None = None,
) -> NotebookRun:
    """Begin a notebook: load its parameters and make its run folder.

    `params_file` is looked for in the working folder, then in the project root, so the same
    parameters cell works from anywhere. An empty `run_name` means the parameters' own name.
    `stage` must be one of the cascade's stage names, or empty where the notebook has none.
    """
    file = find_params_file(params_file)
    params = load_params(file, overrides if isinstance(overrides, Mapping) else list(overrides))
    names = [stage_params.name for stage_params in params.cascade.stages]
    if stage and stage not in names:
        raise RunError(f"stage {stage!r} is not in this cascade; its stages are {names}")
    root = project_root(file)
    directory = run_folder(run_name or params.name, root)
    directory.mkdir(parents=True, exist_ok=True)
    resolved = directory / "params.yaml"
    if file.resolve() != resolved.resolve():
        write_text(resolved, params.dump_yaml())
    if not (directory / "provenance.json").exists():
        command = ["notebook", notebook]
        write_json(directory / "provenance.json", provenance.collect(root, command))
    return NotebookRun(params, root, directory, notebook, stage or None)


def execution_name(notebook: str, stage: str | None) -> str:
    """The stem of an executed notebook's files: with the stage where there is one per stage."""
    return f"{notebook}_{stage}" if stage and notebook in PER_STAGE else notebook


def result_prefix(notebook: str, stage: str | None) -> str:
    """The first word(s) of a notebook's result keys."""
    subject = SUBJECTS.get(notebook) or notebook.partition("_")[2] or notebook
    return f"{subject}.{stage}" if stage else subject


def project_root(near: Path | None = None) -> Path:
    """The folder that holds params/ and notebooks/.

    Taken from ECHOCASCADE_ROOT, else the checkout this package is installed from (editable), else
    the first such folder above `near` or the working folder.
    """
    named = os.environ.get(ROOT)
    if named:
        return Path(named).resolve()
    starts = [Path(__file__).resolve().parents[3]]
    starts += [
        folder for start in (near, Path.cwd()) if start for folder in start.resolve().parents
    ]
    starts.append(Path.cwd().resolve())
    for folder in starts:
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise RunError(f"no folder with params/ and notebooks/ found; set {ROOT} to the checkout")


def find_params_file(params_file: str | Path) -> Path:
    """The parameters file, looked for in the working folder and then in the project root."""
    given = Path(params_file)
    candidates = [given] if given.is_absolute() else [Path.cwd() / given, project_root() / given]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    here = sorted(f"params/{file.name}" for file in (project_root() / "params").glob("*.yaml"))
    raise RunError(f"no parameters file {given}; there are {', '.join(here) or 'none'}")


def run_folder(run_name: str, root: Path) -> Path:
    """``outputs/<run_name>``, under ECHOCASCADE_OUTPUTS where that is set."""
    if not run_name or Path(run_name).name != run_name or run_name.startswith("."):
        raise RunError(f"run name {run_name!r}: expected a plain folder name such as 'quick'")
    outputs = Path(os.environ.get(OUTPUTS) or root / "outputs")
    return outputs.resolve() / run_name


def merge_results(directory: Path) -> dict[str, object]:
    """Rebuild ``results.json`` from every notebook's own file, in the notebooks' order.

    Under a lock: notebooks of two stages may end in the same instant.
    """
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "logs" / "results.lock"):
        merged: dict[str, object] = {}
        for file in sorted((directory / "results").glob("*.json")):
            merged.update(read_json(file))
        write_json(directory / "results.json", merged)
    return merged


def run_is_phantom(directory: Path) -> bool:
    """Whether any notebook of the run worked on a phantom data set."""
    statuses = (directory / "logs").glob("*.status.json")
    return any(read_json(file).get("phantom") is True for file in statuses)
