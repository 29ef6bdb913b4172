"""A project of its own in a temporary folder, with notebooks that take seconds."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

PARAMS = """\
name: tiny
title: A run for tests
regressor: {preset: tiny, size: 16, n_frames: 8, fps: 4, steps: 2}
cascade:
  stages:
    - {name: base, size: 8, n_frames: 4, fps: 2, training: {steps: 2},
       network: {channel_multipliers: [1, 2]}}
    - {name: tssr, size: 16, n_frames: 8, fps: 4, training: {steps: 2},
       network: {channel_multipliers: [1, 2]}}
"""

PARAMETERS = 'params_file = "params/tiny.yaml"\nrun_name = ""\noverrides = []'

Notebook = Callable[..., Path]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project: params/tiny.yaml, notebooks/, outputs/tiny with its params.yaml."""
    for folder in ("notebooks", "outputs/tiny"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("params/tiny.yaml", "outputs/tiny/params.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(PARAMS)
    for name in ("ECHOCASCADE_OUTPUTS", "ECHOCASCADE_PROGRESS", "ECHOCASCADE_PARENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ECHOCASCADE_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_notebook(project) -> Notebook:
    """Write notebooks/NAME.ipynb: title, parameters, start, then the given cells, then record."""

    def write(name: str, *cells: str, stage: bool = False, record: str = "{'answer': 42}") -> Path:
        parameters = PARAMETERS + ('\nstage = ""' if stage else "")
        start = (
            "from echocascade.report.runs import start_notebook\n"
            f"run = start_notebook(params_file, run_name, {name!r}, overrides"
            + (", stage)" if stage else ")")
        )
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# The {name} notebook\n\nIts story. And more."),
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(start),
        ]
        for cell in cells:
            text = cell.removeprefix("markdown:")
            new = nbformat.v4.new_markdown_cell if text != cell else nbformat.v4.new_code_cell
            notebook.cells.append(new(text))
        if record:
            notebook.cells.append(nbformat.v4.new_code_cell(f"run.record({record})"))
        path = project / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write
