"""``echocascade import-weights``: the authors' released weights as a run."""

from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def import_weights(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The authors' config.yaml")],
    merged: Annotated[Path, typer.Argument(metavar="MERGED.pt", help="The authors' merged.pt")],
    name: Annotated[str, typer.Option(help="Name of the run folder in outputs/")],
    data: Annotated[Path | None, typer.Option(help="Its data set folder")] = None,
    params_file: Annotated[
        str, typer.Option("--params", help="Everything but the cascade is taken from it")
    ] = "params/2scm.yaml",
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter"),
    ] = [],  # noqa: B006 - typer copies it
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """Make a run that samples with weights of imagen-pytorch, as the paper's authors released."""
    from echocascade.commands import importing

    with user_errors(*importing.USER_ERRORS):
        done = importing.import_run(config, merged, name, data, params_file, overrides)
    if as_json:
        print_json(done.content)
    else:
        typer.echo(done.text)
