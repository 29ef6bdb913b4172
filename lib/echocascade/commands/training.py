"""``echocascade train``: one stage without a notebook."""

from collections.abc import Sequence

import typer

from echocascade import runtime
from echocascade.cascade.launch import LaunchError, train_on_devices
from echocascade.cascade.training import USER_ERRORS as TRAINING_ERRORS
from echocascade.data.prepare import prepare_data
from echocascade.report.runs import RunError, start_notebook

USER_ERRORS = (*TRAINING_ERRORS, RunError, LaunchError)


def train(params_file: str, stage: str, overrides: Sequence[str], name: str | None) -> None:
    """Prepare the data and train `stage`; says where the checkpoint is."""
    runtime.prepare()
    run = start_notebook(params_file, name or "", f"train {stage}", overrides, stage)
    store = prepare_data(run.params, run.data_dir, run.progress("data"))
    index = run.params.cascade.index(stage)
    trained = train_on_devices(run.params, index, store, run.directory, run.progress(stage))
    for warning in trained.warnings:
        typer.echo(f"warning: {warning}", err=True)
    where = trained.directory.relative_to(run.directory.parent)
    typer.echo(f"stage {stage}: step {trained.step}, checkpoint in {where}")
