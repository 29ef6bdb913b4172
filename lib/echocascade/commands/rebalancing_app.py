"""``echocascade rebalance``: plan, generate, label and try a rebalanced data set."""

from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors

app = typer.Typer(help="Generate the rare hearts that a data set lacks.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")]
ChunkText = Annotated[
    str | None, typer.Option("--chunk", metavar="I/N", help="Part I of N, for several processes")
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter, e.g. seed=3"),
]


@app.command()
def plan(
    table: Annotated[Path, typer.Argument(metavar="FileList.csv")],
    out: Annotated[Path | None, typer.Option(help="Write the plan here")] = None,
    per_bin: Annotated[int, typer.Option(min=1, help="Clips that each bin is filled up to")] = 100,
    uniform: Annotated[bool, typer.Option("--uniform", help="Fill up to the fullest bin")] = False,
    histogram: Annotated[
        Path | None, typer.Option(help="CSV of low, high, count in place of bins of one width")
    ] = None,
    bin_width: Annotated[float, typer.Option(help="Percent of LVEF")] = 1.0,
    low: Annotated[float, typer.Option(help="Lowest LVEF in percent")] = 10.0,
    high: Annotated[float, typer.Option(help="Highest LVEF in percent")] = 90.0,
    most: Annotated[int | None, typer.Option(min=1, help="At most so many clips in all")] = None,
    pairing: Annotated[str, typer.Option(help="Whose anatomy: random or nearest LVEF")] = "random",
    cap: Annotated[int | None, typer.Option(min=1, help="Most clips of one patient")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same plan")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say which LVEFs the TRAIN clips of a data set lack, and on whose anatomy to make them."""
    from echocascade.commands import rebalancing

    wanted = {
        "per_bin": "uniform" if uniform else per_bin, "bin_width": bin_width, "low": low,
        "high": high, "histogram": None if histogram is None else str(histogram), "most": most,
        "pairing": pairing, "cap": cap,
    }  # fmt: skip
    with user_errors(*rebalancing.USER_ERRORS):
        planned = rebalancing.plan(table, wanted, seed, out)
    if as_json:
        print_json(planned.to_json())
    else:
        typer.echo(rebalancing.describe_plan(planned, out))


@app.command()
def generate(
    run_name: RunName,
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="What `plan --out` wrote")],
    out: Annotated[Path, typer.Option(help="The data set's folder")],
    chunk: ChunkText = None,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Make the clips of a plan as an EchoNet-Dynamic folder, or go on where that stopped."""
    from echocascade.commands import rebalancing

    with user_errors(*rebalancing.USER_ERRORS):
        made = rebalancing.generate(run_name, plan_file, out, chunk, overrides)
    if as_json:
        print_json(made)
    else:
        typer.echo(rebalancing.describe_generation(made))


@app.command()
def label(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generated data set")],
    by: Annotated[str, typer.Option(help="requested or estimated")] = "requested",
) -> None:
    """Write FileList.csv of a generated data set anew with the other kind of LVEF label."""
    from echocascade.commands import rebalancing

    with user_errors(*rebalancing.USER_ERRORS):
        n_clips = rebalancing.label(directory, by)
    typer.echo(f"{n_clips} clips of {directory} are labelled as {by}")


@app.command()
def experiment(
    run_name: RunName,
    generated: Annotated[
        Path | None, typer.Option(help="A generated data set; by default notebook 09's")
    ] = None,
    chunk: ChunkText = None,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Train regressors on real and rebalanced sets and compare them on real held-out clips."""
    from echocascade.commands import rebalancing

    with user_errors(*rebalancing.USER_ERRORS):
        compared = rebalancing.experiment(run_name, generated, chunk, overrides)
    if as_json:
        print_json(compared)
    else:
        typer.echo(rebalancing.describe_experiment(compared))
