"""The work of ``echocascade explore``."""

from collections.abc import Sequence

import typer

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.commands.runs import find_run
from echocascade.commands.sampling import read_scalars
from echocascade.params import ParamsError
from echocascade.report.runs import RunError, project_root, run_is_phantom
from echocascade.studies.explorer.app import ExplorerApp
from echocascade.studies.explorer.session import Explorer
from echocascade.studies.server import (
    LOOPBACK_NAMES,
    ServerError,
    Tokens,
    hosts_for,
    new_token,
    serve,
)
from echocascade.studies.stills import AskError, StillGenerator

USER_ERRORS = (RunError, ParamsError, AskError, CheckpointError, ServerError)


def explore(
    run_name: str, host: str, port: int, guidance: float | None, scalars: Sequence[str]
) -> None:
    """Serve a run's explorer until interrupted; the link is printed and secret."""
    runtime.prepare()
    run = find_run(run_name)
    data_dir = project_root() / "data"
    generator = StillGenerator.load(run, data_dir, guidance, read_scalars(scalars))
    phantom = generator.params.is_phantom or run_is_phantom(run)
    token = new_token()
    page = ExplorerApp(Explorer(generator, run.name, phantom), Tokens.of({"user": token}))

    def ready(address: str) -> None:
        typer.echo(f"explorer of run {run.name}: {address}/e/{token}")
        if host not in LOOPBACK_NAMES:
            typer.echo(
                "warning: plain HTTP; on a network anyone on the way reads the link and the images",
                err=True,
            )
        typer.echo("images stay in memory and are gone when this stops; stop with Ctrl-C")

    serve(page.app(hosts_for(host)), host, port, ready=ready)
