"""The command line. Exit status 0; 2 for bad usage or input, in one line; 1 for a failure."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from echocascade.commands.bench_app import bench
from echocascade.commands.console import print_json, stop, user_errors
from echocascade.commands.explore_app import explore
from echocascade.commands.import_app import import_weights
from echocascade.commands.plan_app import plan
from echocascade.commands.rebalancing_app import app as rebalance_app
from echocascade.commands.sample_app import sample
from echocascade.commands.scale_app import scale
from echocascade.commands.stick_app import stick_error
from echocascade.commands.study_app import study_app
from echocascade.commands.weights_app import app as weights_app

app = typer.Typer(
    name="echocascade",
    help="Feature-conditioned cascaded video diffusion for echocardiogram synthesis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets in EchoNet-Dynamic layout.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(weights_app, name="weights")
app.command()(plan)
app.command()(scale)
app.command("stick-error")(stick_error)
app.command()(bench)
app.command("import-weights")(import_weights)
app.command()(sample)
app.command()(explore)
app.add_typer(rebalance_app, name="rebalance")

ParamsFile = Annotated[str, typer.Argument(help="Parameters, e.g. params/quick.yaml")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter, e.g. seed=3"),
]


@app.command()
def run(
    params_file: ParamsFile,
    data: Annotated[Path | None, typer.Option(help="Use this data set folder")] = None,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    name: Annotated[str | None, typer.Option(help="Name of the run folder")] = None,
    cores: Annotated[int | None, typer.Option(help="Processor cores; all by default")] = None,
    profile: Annotated[str, typer.Option(help="Workflow profile")] = "default",
) -> None:
    """Run every notebook and write the report to outputs/NAME/report/index.html."""
    from echocascade.commands import running

    with user_errors(running.ParamsError, running.RunError):
        prepared = running.prepare_run(params_file, overrides, data, name, cores, profile)
        status = running.start_run(prepared, ["echocascade", *sys.argv[1:]])
    raise typer.Exit(status)


@app.command()
def report(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
) -> None:
    """Write the report of a run anew from its executed notebooks."""
    from echocascade.commands.runs import find_run
    from echocascade.params import ParamsError
    from echocascade.report.index import write_report
    from echocascade.report.runs import RunError

    with user_errors(RunError, ParamsError):
        index = write_report(find_run(run_name))
    typer.echo(f"report written: {index.relative_to(index.parents[2])}")


@app.command()
def record(
    run_name: Annotated[
        str, typer.Argument(metavar="RUN", help="Name or folder of a run, or `bench`")
    ],
) -> None:
    """Keep a finished run's numbers and picture in outputs/recorded, and in README's table."""
    from echocascade.commands.runs import find_run
    from echocascade.report.bench_record import record_bench
    from echocascade.report.record import record_run
    from echocascade.report.runs import RunError, project_root, run_folder

    with user_errors(RunError, ValueError):
        root = project_root()
        if run_name == "bench":
            kept = record_bench(run_folder(run_name, root), root)
        else:
            kept = record_run(find_run(run_name), root)
    typer.echo(f"recorded in {kept.relative_to(root)}; README's table is written anew")


@app.command()
def train(
    params_file: ParamsFile,
    stage: Annotated[str, typer.Option(help="Name of the stage")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    name: Annotated[str | None, typer.Option(help="Name of the run folder")] = None,
) -> None:
    """Train one stage into outputs/NAME/checkpoints/STAGE, or go on where it stopped."""
    from echocascade.commands import training

    with user_errors(*training.USER_ERRORS):
        training.train(params_file, stage, overrides, name)


@app.command()
def guidance(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
    as_json: AsJson = False,
) -> None:
    """Choose a run's guidance scale on VAL clips; what is measured already is not made again."""
    from echocascade.commands import evaluation

    with user_errors(*evaluation.USER_ERRORS):
        rows = evaluation.guidance(run_name)
    if as_json:
        print_json({"scales": rows})
    else:
        typer.echo(evaluation.describe_guidance(rows))


@app.command()
def evaluate(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="Name or folder of a run")],
    task: Annotated[str | None, typer.Option(help="generation or reconstruction")] = None,
    chunk: Annotated[
        str | None, typer.Option("--chunk", metavar="I/N", help="Part I of N, for many processes")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make, measure and score a run's samples; what is there already is not made again."""
    from echocascade.commands import evaluation

    with user_errors(*evaluation.USER_ERRORS):
        found = evaluation.evaluate(run_name, task, chunk)
    if as_json:
        print_json(found)
    else:
        typer.echo(evaluation.describe_evaluation(found))


@app.command()
def score(
    table: Annotated[Path, typer.Argument(metavar="SCORES.csv", help="One row a sample")],
    judge: Annotated[str, typer.Option(help="regressor or stick")] = "regressor",
    task: Annotated[str | None, typer.Option(help="Which task of the table")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="FileList.csv with the clips' own LVEF, for the ceiling")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The paper's protocol on a table of samples, in our columns or the authors'."""
    from echocascade.commands import scoring

    with user_errors(*scoring.USER_ERRORS):
        scores = scoring.score(table, judge, task, labels)
    if as_json:
        print_json(scores)
    else:
        typer.echo(scoring.describe(scores))


@data_app.command("phantom")
def data_phantom(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it")],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips")] = 200,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes")] = 0,
    lvef: Annotated[str, typer.Option(help="echonet, uniform or mixed")] = "echonet",
    workers: Annotated[int, typer.Option(min=1, help="Processes")] = 2,
) -> None:
    """Draw a data set of beating ventricles with known ejection fractions."""
    from echocascade.data.phantom import make_phantom
    from echocascade.report.progress import progress_callback

    with user_errors(ValueError, OSError):
        bar = progress_callback("phantom")
        folder = make_phantom(directory, clips, seed=seed, lvef=lvef, workers=workers, progress=bar)
    typer.echo(f"{clips} clips in {folder}")


@data_app.command("check")
def data_check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The data set")],
    as_json: AsJson = False,
) -> None:
    """Check a data set and name every problem; exit status 2 when there are any."""
    from echocascade.data.echonet import check_dataset
    from echocascade.report.progress import progress_callback

    if not directory.is_dir():
        raise stop(f"{directory} is no folder")
    found = check_dataset(directory, progress=progress_callback("check"))
    if as_json:
        print_json(found.to_json())
    else:
        splits = ", ".join(f"{count} {split}" for split, count in found.splits.items())
        typer.echo(f"{found.n_clips} usable clips ({splits})")
        for problem in found.problems:
            where = problem.file + (f", row {problem.row}" if problem.row else "")
            typer.echo(f"  {where}: {problem.what}")
        if found.notes:
            first = found.notes[0]
            typer.echo(f"  note: {len(found.notes)} frame rates differ; {first.file}: {first.what}")
    if not found.ok:
        count = len(found.problems)
        raise stop(f"{directory}: {count} problem{'s' if count > 1 else ''}")


@data_app.command("import")
def data_import(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.csv", help="Columns File, EF, ...")],
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of the clips")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder")],
    seed: Annotated[int, typer.Option(help="Which patients go into which split")] = 0,
    skip: Annotated[bool, typer.Option("--skip", help="Leave broken clips out")] = False,
) -> None:
    """Your own AVI, MP4 or DICOM clips as a data set: cut to the sector, without names."""
    from echocascade.data.adopt import AdoptError, adopt
    from echocascade.report.progress import progress_callback

    with user_errors(AdoptError, OSError):
        done = adopt(labels, clips, out, seed=seed, skip=skip, progress=progress_callback("clips"))
    splits = ", ".join(f"{count} {split}" for split, count in done.splits.items())
    typer.echo(f"{done.n_clips} clips in {out} ({splits})")
    if not done.volumes_known:
        typer.echo("  note: no ESV and EDV were given; EDV is written as 100, so they are no ml")
    for problem in done.problems:
        typer.echo(f"  {problem.file}, row {problem.row}: {problem.what}")
    if done.problems and not skip:
        count = len(done.problems)
        raise stop(f"{labels}: {count} problem{'s' if count > 1 else ''}; --skip leaves them out")


@data_app.command("shard")
def data_shard(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The data set")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder")],
    clips: Annotated[int, typer.Option(min=1, help="Clips in a shard")] = 1000,
) -> None:
    """Copy a data set into tar shards, which every command here reads as it reads files."""
    from echocascade.commands.sharding import USER_ERRORS, shard

    with user_errors(*USER_ERRORS):
        n_clips, n_shards = shard(directory, out, clips)
    typer.echo(f"{n_clips} clips in {n_shards} shards of {out}")


def main() -> None:
    """Entry point of the `echocascade` command."""
    app()


if __name__ == "__main__":
    main()
