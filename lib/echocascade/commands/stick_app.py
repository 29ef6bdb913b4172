"""``echocascade stick-error``: the segmentation stick's error on phantoms."""

from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def stick_error(
    clips: Annotated[int, typer.Option(help="Phantoms, LVEF uniform in 10..90 %")] = 300,
    seed: Annotated[int, typer.Option(help="Of the phantoms; 9001 and 9003 tuned it")] = 9002,
    view: Annotated[
        str,
        typer.Option(help="judged (56 px, 32 frames at 16 frames/s) or drawn (112 px, native)"),
    ] = "judged",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """MAE, RMSE, R2, r and slope of the segmentation stick on phantoms of known LVEF."""
    from echocascade.evaluation.stick_error import phantom_error

    with user_errors(ValueError):
        found = phantom_error(seed, clips, view)
    if as_json:
        print_json(found.content)
    else:
        typer.echo(found.text)
