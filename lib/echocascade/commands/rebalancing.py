"""The work of ``echocascade rebalance``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.commands.runs import find_run
from echocascade.data.clips import StoreError
from echocascade.data.echonet import DatasetError
from echocascade.data.prepare import open_store
from echocascade.evaluation.judge import JudgeError
from echocascade.params import ParamsError, PlanParams, load_params
from echocascade.report.files import flatten
from echocascade.report.headlines import with_minus
from echocascade.report.progress import progress_callback
from echocascade.report.runs import RunError, project_root
from echocascade.studies.guidance import chosen_scale
from echocascade.studies.protocol import Trained
from echocascade.studies.rebalancing import analysis, layout
from echocascade.studies.rebalancing import experiment as experiments
from echocascade.studies.rebalancing.folder import GeneratedFolder, GenerationError
from echocascade.studies.rebalancing.generate import Chunk, ChunkError, begin_generation
from echocascade.studies.rebalancing.generate import generate as generate_blocks
from echocascade.studies.rebalancing.labels import check_kind
from echocascade.studies.rebalancing.plan import Plan, PlanError, plan_file_list, read_targets

USER_ERRORS = (
    PlanError, GenerationError, ChunkError, DatasetError, RunError, ParamsError, CheckpointError,
    JudgeError, StoreError,
)  # fmt: skip


def plan(table: Path, wanted: Mapping[str, object], seed: int, out: Path | None) -> Plan:
    """The plan for a FileList.csv, written to `out`; `wanted`: the keys of PlanParams."""
    try:
        params = PlanParams.model_validate(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]).replace("_", "-")
        raise PlanError(f"--{key}: found {first['input']!r}; {first['msg'].lower()}") from None
    planned = plan_file_list(table, params, seed)
    if out is not None:
        planned.write(out)
    return planned


def describe_plan(planned: Plan, out: Path | None) -> str:
    """What a plan asks for, in a line or two."""
    bins = planned.bins
    asked = int((bins["generate"] > 0).sum())
    text = (
        f"{planned.n_real} real TRAIN clips; {len(planned.targets)} to generate in {asked} of"
        f" {len(bins)} bins, on {planned.targets['anatomy'].nunique()} patients' anatomies"
    )
    return text if out is None else f"{text}\nplan in {out}"


def generate(
    run_name: str, plan_file: Path, out: Path, chunk: str | None, overrides: Sequence[str]
) -> dict[str, object]:
    """Make the blocks of a plan that are missing; what there is now, as a JSON object."""
    part = None if chunk is None else Chunk.parse(chunk)
    targets = read_targets(plan_file)
    directory = find_run(run_name)
    params = load_params(directory / "params.yaml", overrides)
    runtime.prepare()
    scale = chosen_scale(directory / "tables" / "guidance.csv")
    trained = Trained.load(params, directory / "checkpoints", project_root() / "data")
    folder = begin_generation(trained, targets, scale, out)
    missing = generate_blocks(trained, folder, part, progress_callback("generate"))
    made: dict[str, object] = {
        "folder": str(out), "n_targets": len(targets), "n_blocks": folder.n_blocks,
        "missing_blocks": len(missing),
    }  # fmt: skip
    if not missing:
        made |= layout.summary(folder.provenance())
    return made


def describe_generation(made: Mapping[str, object]) -> str:
    """`generate`'s object for people."""
    if made["missing_blocks"]:
        return (
            f"{made['missing_blocks']} of {made['n_blocks']} blocks are still to be made, by other"
            " chunks or by the same command again"
        )
    return (
        f"{made['n_kept']} clips of {made['n_targets']} targets in {made['folder']}"
        f" ({made['n_draws']} draws)"
    )


def label(directory: Path, by: str) -> int:
    """Label a generated data set anew; the number of its clips."""
    try:
        check_kind(by)
    except ValueError as error:
        raise GenerationError(str(error)) from None
    return int(GeneratedFolder.open(directory).assemble(by)["kept"].sum())


def experiment(
    run_name: str, generated: Path | None, chunk: str | None, overrides: Sequence[str]
) -> dict[str, object]:
    """Train what is missing and compare: one flat object, as notebook 09 records it.

    {"missing": n} while a chunk leaves some to others.
    """
    part = None if chunk is None else Chunk.parse(chunk)
    directory = find_run(run_name)
    params = load_params(directory / "params.yaml", overrides)
    runtime.prepare()
    places = layout.Places(directory / "samples" / "rebalancing")
    folder = GeneratedFolder.open(generated or places.latest_clips())
    store = open_store(params, project_root() / "data")
    try:
        planned = experiments.plan_experiment(params, store, folder, places.stores)
    except ValueError as error:
        raise GenerationError(str(error)) from None
    bar = progress_callback("experiment")
    answers = experiments.run_experiment(planned, places.trainings, bar, part)
    if not answers:
        return {"missing": experiments.n_missing(planned, places.trainings)}
    wanted = params.rebalancing.experiment
    table = analysis.compare(
        answers, planned.held_out, level=wanted.level, resamples=wanted.bootstrap, seed=params.seed
    )
    labels = params.rebalancing.generation.labels
    return flatten(analysis.recorded(table, labels)) | {"left_out": planned.left_out}


def describe_experiment(compared: Mapping[str, object]) -> str:
    """`experiment`'s object for people."""
    if "missing" in compared:
        return f"{compared['missing']} trainings are left to other chunks"
    lines = [str(compared["verdict"])]
    for key in [name.removesuffix(".R2") for name in compared if name.endswith(".R2")]:
        interval = compared[f"{key}.R2_interval"]
        shown = [compared[f"{key}.R2"], *(interval if isinstance(interval, list) else [])]
        value, low, high = ("–" if number is None else f"{number:.2f}" for number in shown)
        lines.append(with_minus(f"  {key}: R2 {value} ({low} to {high})"))
    return "\n".join(lines)
