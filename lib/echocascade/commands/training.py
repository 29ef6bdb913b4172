"""``echocascade train``: one stage without a notebook."""

from collections.abc import Sequence

import typer

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.training import train_stage
from echocascade.data.echonet import DatasetError
from echocascade.data.prepare import prepare_data
from echocascade.params import ParamsError
from echocascade.report.runs import RunError, start_notebook

USER_ERRORS = (ParamsError, RunError, DatasetError, CheckpointError)


def train(params_file: str, stage: str, overrides: Sequence[str], name: str | None) -> None:
    """Prepare the data and train `stage`; says where the checkpoint is."""
    runtime.prepare()
    run = start_notebook(params_file, name or "", f"train {stage}", overrides, stage)
    store = prepare_data(run.params, run.data_dir, run.progress("data"))
    index = run.params.cascade.index(stage)
    directory = run.path("checkpoints", stage)
    trained = train_stage(run.params, index, store, directory, run.progress(stage))
    for warning in trained.warnings:
        typer.echo(f"warning: {warning}", err=True)
    where = directory.relative_to(run.directory.parent)
    typer.echo(f"stage {stage}: step {trained.step}, checkpoint in {where}")
