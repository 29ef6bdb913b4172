"""``echocascade explore``: a page on this machine, an image in, beating hearts out."""

from typing import Annotated

import typer

from echocascade.commands.console import user_errors


def explore(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8801,
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone")] = (
        "127.0.0.1"
    ),
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Scale; the one the run chose by default")
    ] = None,
    scalar: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="Another clinical parameter, e.g. EDV=120"),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Open the explorer: drop an image, move the LVEF, see and compare the clips."""
    from echocascade.commands import exploring

    with user_errors(*exploring.USER_ERRORS):
        exploring.explore(run_name, host, port, guidance, scalar)
