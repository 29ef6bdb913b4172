"""``echocascade guidance``, ``evaluate`` (a run's samples, whole or a share) and ``weights``."""

from pathlib import Path

import pandas as pd

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.commands.runs import find_run
from echocascade.commands.scoring import describe
from echocascade.data.clips import StoreError
from echocascade.data.echonet import DatasetError
from echocascade.evaluation.counterfactual import score_table
from echocascade.evaluation.judge import JudgeError
from echocascade.evaluation.score_table import JUDGES, ScoreTableError
from echocascade.evaluation.weights import check_weights
from echocascade.params import Params, ParamsError, load_params
from echocascade.report.files import write_text
from echocascade.report.progress import progress_callback
from echocascade.report.runs import RunError, project_root
from echocascade.studies.chunks import Samples
from echocascade.studies.guidance import Row, choose_guidance, chosen_scale
from echocascade.studies.protocol import TASKS, Trained
from echocascade.studies.rebalancing.generate import Chunk, ChunkError

USER_ERRORS = (
    ScoreTableError, RunError, ParamsError, ChunkError, CheckpointError, JudgeError, StoreError,
    DatasetError,
)  # fmt: skip
TABLE, GUIDANCE = "scores.csv", "guidance.csv"


def guidance(run_name: str) -> list[Row]:
    """The rows of `studies.guidance.choose_guidance` for a run, kept in its tables/guidance.csv.

    What is there of the same weights and settings is not made again.
    """
    directory = find_run(run_name)
    trained = _trained(directory, load_params(directory / "params.yaml"))
    table = choose_guidance(trained, directory / "tables" / GUIDANCE, progress_callback("guidance"))
    defined = table.astype(object).where(table.notna(), None)
    return list(defined.to_dict("records"))


def describe_guidance(rows: list[Row]) -> str:
    """A line a scale, for people."""
    return "\n".join(
        f"scale {row['scale']:g}: R2 {_number(row['R2'])}, slope {_number(row['slope'])}, "
        f"r {_number(row['r'])} on {row['n_clips']} VAL clips{', chosen' * bool(row['chosen'])}"
        for row in rows
    )


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "not defined"


def evaluate(run_name: str, task: str | None, chunk: str | None) -> dict[str, object]:
    """Make and measure the samples of a run that are missing, and score every task that is whole.

    Args:
        task: one of them, or both.
        chunk: "2/8": every eighth unit from the second on, and no other.
    Returns:
        units, done and missing of the wanted tasks, and `scores`: task -> judge -> score table.
    """
    if task is not None and task not in TASKS:
        raise RunError(f"task is {task!r}, allowed are {', '.join(TASKS)}")
    share = Chunk.parse(chunk) if chunk else Chunk()
    directory = find_run(run_name)
    params = load_params(directory / "params.yaml")
    samples = run_samples(directory, params)
    wanted = samples.units((task,) if task else TASKS)
    samples.make([u for i, u in enumerate(wanted) if share.has(i)], progress_callback("samples"))
    missing = len(samples.missing(wanted))
    whole = [each for each in TASKS if not samples.missing(samples.units((each,)))]
    scores: dict[str, object] = {}
    if whole:
        table = pd.concat([samples.table(each) for each in whole], ignore_index=True)
        write_text(directory / "tables" / TABLE, table.to_csv(index=False))
        scores = {each: _scores(table, each, params) for each in whole if task in (None, each)}
    return {
        "units": len(wanted),
        "done": len(wanted) - missing,
        "missing": missing,
        "scores": scores,
    }


def run_samples(directory: Path, params: Params) -> Samples:
    """The samples of a run folder, as notebook 07 makes them."""
    trained = _trained(directory, params)
    scale = chosen_scale(directory / "tables" / GUIDANCE)
    folder = directory / "samples" / "evaluation"
    return Samples(trained, scale, folder, project_root() / Path(params.weights_dir).expanduser())


def _trained(directory: Path, params: Params) -> Trained:
    runtime.prepare()
    return Trained.load(params, directory / "checkpoints", project_root() / "data")


def _scores(table: pd.DataFrame, task: str, params: Params) -> dict[str, object]:
    """`score_table` of every judge that read two patients or more."""
    found: dict[str, object] = {}
    rows, e = table[table["task"] == task], params.evaluation
    for judge, (measured, _) in JUDGES.items():
        if rows.loc[rows[measured].notna(), "FileName"].nunique() >= 2:
            found[judge] = score_table(
                rows, judge=judge, level=e.level, resamples=e.bootstrap, seed=params.seed
            )
    return found


def describe_evaluation(evaluation: dict[str, object]) -> str:
    """What was done, and the scores of every task and judge, for people."""
    done, units = evaluation["done"], evaluation["units"]
    lines = [f"{done} of {units} units are made and measured"]
    if evaluation["missing"]:
        lines[0] += f"; {evaluation['missing']} are left to other chunks"
    scores = evaluation["scores"]
    for task, judges in scores.items() if isinstance(scores, dict) else ():
        lines += [
            f"{task}, judged by the {judge}: {describe(found)}" for judge, found in judges.items()
        ]
    return "\n".join(lines)


def weights_folder(folder: Path | None) -> Path:
    """The folder of the judges' weights: as given, or `weights` in the project."""
    return folder if folder is not None else project_root() / "weights"


def weights_report(folder: Path | None) -> dict[str, object]:
    """Every published file: whether it is there, and what it is for."""
    place = weights_folder(folder)
    files = [
        {
            "name": name, "file": found.weights.file, "state": found.state,
            "path": str(found.path) if found.path else None, "sha256": found.sha256 or None,
            "expected_sha256": found.weights.sha256 or None, "purpose": found.weights.purpose,
            "source": found.weights.source,
        }
        for name, found in check_weights(place).items()
    ]  # fmt: skip
    return {"folder": str(place), "files": files}


def describe_weights(report: dict[str, object]) -> str:
    """The report for people: a line a file, with its source where it is missing."""
    lines = [f"weights of the judges, looked for in {report['folder']} and in PyTorch's cache:"]
    files = report["files"]
    for entry in files if isinstance(files, list) else ():
        lines.append(f"  {entry['state']:9s} {entry['file']}: {entry['purpose']}")
        if entry["state"] != "present":
            lines.append(f"            from {entry['source']}")
        if entry["state"] == "different":
            lines.append(f"            found SHA-256 {entry['sha256']}")
            lines.append(f"            expected      {entry['expected_sha256']}")
    return "\n".join(lines)
