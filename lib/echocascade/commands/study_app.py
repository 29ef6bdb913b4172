"""``echocascade study``: the blinded reader study from making to analysis."""

from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors

study_app = typer.Typer(help="The blinded expert study.", no_args_is_help=True)

StudyDir = Annotated[str, typer.Argument(metavar="STUDY", help="A study's folder, or its run")]


@study_app.command()
def create(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
    out: Annotated[Path | None, typer.Option(help="Folder; outputs/RUN/study by default")] = None,
    reader: Annotated[
        list[str] | None, typer.Option(help="A reader's name; give it once for each")
    ] = None,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter, study.trials=50"),
    ] = [],  # noqa: B006 - typer copies it
    if_needed: Annotated[bool, typer.Option("--if-needed", help="Keep one that is there")] = False,
) -> None:
    """Draw a study from a run's clips: one link and one self-contained file for each reader."""
    from echocascade.commands import study

    with user_errors(*study.USER_ERRORS):
        study.create(run_name, out, reader or [], changes, if_needed)


@study_app.command()
def serve(
    directory: StudyDir,
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 8800,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate, PEM")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its private key, PEM")] = None,
) -> None:
    """Open the reading room; answers are on disk before the next clip shows."""
    from echocascade.commands import study

    with user_errors(*study.USER_ERRORS):
        study.serve(directory, host, port, certificate, private_key)


@study_app.command("import")
def import_(
    directory: StudyDir,
    files: Annotated[list[Path], typer.Argument(help="Files that readers sent back")],
) -> None:
    """Check and merge answers that were given in the self-contained file."""
    from echocascade.commands import study

    with user_errors(*study.USER_ERRORS):
        study.import_files(directory, files)


@study_app.command()
def analyse(
    directory: StudyDir,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """What the answers show, with intervals, and what they cannot show."""
    from echocascade.commands import study

    with user_errors(*study.USER_ERRORS):
        found = study.analyse(directory)
        if as_json:
            print_json(study.as_json(found))
        else:
            typer.echo(study.describe(found))
