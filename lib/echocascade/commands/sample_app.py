"""``echocascade sample``: from one still image to clips."""

from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def sample(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
    image: Annotated[
        Path, typer.Option(help="PNG, JPEG, DICOM, or a frame of an AVI, MP4 or DICOM clip")
    ],
    lvef: Annotated[list[float], typer.Option(help="Wanted LVEF in percent; once for each")],
    out: Annotated[
        list[Path], typer.Option(help=".mp4 .gif .webp .avi .npz or .npy; once for each")
    ],
    frame: Annotated[int, typer.Option(min=0, help="Which frame of a clip, from 0")] = 0,
    seed: Annotated[
        list[int], typer.Option(min=0, help="Same seed, same clip; once for each draw")
    ] = [0],  # noqa: B006 - typer copies it
    seconds: Annotated[
        float | None, typer.Option(help="Longer than the run's own clips: go on beating")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Scale; the one the run chose by default")
    ] = None,
    scalar: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="Another clinical parameter, e.g. EDV=120"),
    ] = [],  # noqa: B006 - typer copies it
    plan: Annotated[bool, typer.Option("--plan", help="Say what it takes, sample nothing")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """One ultrasound picture and wanted LVEFs in; clips, a strip and where they came from out."""
    from echocascade.commands import sampling

    with user_errors(*sampling.USER_ERRORS):
        asked = sampling.Asked(image, frame, lvef, seed, out, seconds, guidance, scalar)
        if plan:
            planned = sampling.plan(run_name, asked)
        else:
            done = sampling.sample(run_name, asked)
    if plan:
        print_json(planned.to_json()) if as_json else typer.echo(planned.text)
    elif as_json:
        print_json(done.provenance)
    else:
        typer.echo(sampling.describe(done))
