"""``echocascade scale``: what 1, 8, 64, 512 GPUs give, on paper."""

from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def scale(
    source: Annotated[
        str, typer.Argument(metavar="PARAMS|RUN", help="Parameters or a run")
    ] = "params/2scm.yaml",
    gpus: Annotated[str, typer.Option(help="Numbers of GPUs")] = "1,8,64,512",
    clips: Annotated[int, typer.Option(help="Clips of the large synthesis")] = 1_000_000,
    tflops: Annotated[float | None, typer.Option(help="TFLOP/s that a GPU keeps up")] = None,
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter, e.g. devices=2"),
    ] = [],  # noqa: B006 - typer copies it
    page: Annotated[
        bool, typer.Option("--page", help="Write the tables of notebooks/howto/scale.md anew")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
) -> None:
    """Predicted time of training, of the evaluation and of many clips, and where it stops scaling.

    Arithmetic on counted FLOPs and bytes and on assumed rates of a cluster; nothing is measured.
    """
    from echocascade.commands import scaling

    with user_errors(*scaling.USER_ERRORS):
        if page:
            typer.echo(f"written: {scaling.write_page()}")
            return
        found = scaling.predict_for(source, overrides, gpus, clips, tflops)
        answer = found.to_json() if as_json else scaling.describe(found)
    if isinstance(answer, str):
        typer.echo(answer)
    else:
        print_json(answer)
