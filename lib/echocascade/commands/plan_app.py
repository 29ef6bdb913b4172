"""``echocascade plan``: what sampling and training will take, before either starts."""

from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def plan(
    source: Annotated[str, typer.Argument(metavar="PARAMS|RUN", help="Parameters or a run")],
    videos: Annotated[int, typer.Option(help="Number of videos")] = 1,
    batch: Annotated[int, typer.Option(help="Videos at a time")] = 1,
    guidance: Annotated[float | None, typer.Option(help="Scale; the run's own by default")] = None,
    tflops: Annotated[
        float | None, typer.Option(help="Expected TFLOP/s; measured in seconds when not given")
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="Plan training instead")] = False,
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter, e.g. devices=2"),
    ] = [],  # noqa: B006 - typer copies it
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """Stages, shapes, network evaluations, FLOPs, memory and expected time of sampling."""
    from echocascade.commands import planning

    with user_errors(*planning.USER_ERRORS):
        params = planning.params_of(source, overrides)
        made = (
            planning.plan_training(params)
            if training
            else planning.plan_videos(params, videos, batch, guidance, tflops)
        )
    if as_json:
        print_json(made.to_json())
    else:
        typer.echo(made.text)
