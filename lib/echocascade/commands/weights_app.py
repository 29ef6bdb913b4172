"""``echocascade weights``: the files that the published metrics need."""

from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.console import print_json, stop, user_errors

app = typer.Typer(help="Weights of the judges that others trained.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]


@app.callback()
def group() -> None:
    """Weights of the judges that others trained."""


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="By default weights/ of the project")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Which files are there, for what, from where; status 2 when one is not what its name says."""
    from echocascade.commands import evaluation

    with user_errors(*evaluation.USER_ERRORS):
        report = evaluation.weights_report(folder)
    if as_json:
        print_json(report)
    else:
        typer.echo(evaluation.describe_weights(report))
    files = report["files"]
    wrong = (
        [f["file"] for f in files if f["state"] == "different"] if isinstance(files, list) else []
    )
    if wrong:
        raise stop(f"not the published file: {', '.join(wrong)}")
