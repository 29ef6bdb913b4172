"""A cascade on one GPU from nothing to scores, without notebooks.

    python -m echocascade.commands.gpu_run params/2scm_phantom.yaml --minutes 25 --out outputs/NAME

makes the phantom, trains the regressor and every stage within the minutes, samples the evaluation's
clips and leaves in the output folder: run.json (scores, seconds a video, peak memory, device,
precision, batch, commit), summary.md, strips.png, tables, samples, checkpoints and params.yaml. The
same command goes on where it was stopped.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pandas as pd

from echocascade import runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.outcome import DivergedError, TrainedStage
from echocascade.cascade.plan import plan_sampling
from echocascade.cascade.signals import Interrupted
from echocascade.cascade.training import train_stage
from echocascade.commands.console import BAD_INPUT
from echocascade.commands.gpu_summary import TASKS, precisions, speed, stage_facts, summary
from echocascade.data.clips import ClipStore
from echocascade.data.echonet import DatasetError
from echocascade.data.prepare import prepare_data
from echocascade.evaluation.judge import judge_report, train_judge
from echocascade.params import Params, ParamsError, load_params
from echocascade.report import provenance
from echocascade.report.files import flatten, write_json, write_text
from echocascade.report.progress import progress_callback
from echocascade.report.record import contact_sheet
from echocascade.report.runs import PHANTOM_BANNER, RunError, find_params_file, project_root
from echocascade.studies.chunks import judge_task
from echocascade.studies.guidance import choose_guidance, chosen_scale
from echocascade.studies.protocol import Trained
from echocascade.studies.scoring import score_answers

USER_ERRORS = (ParamsError, RunError, DatasetError, CheckpointError, DivergedError)
STOPPED = 130
SHARE_FOR_TRAINING = 0.92  # of what is left after the regressor; the rest validates and saves


@dataclass(frozen=True)
class Place:
    """Where a run's files go, and where phantoms and prepared clips lie."""

    out: Path
    data: Path

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.out / "samples" / "evaluation"


def run(params: Params, place: Place, minutes: float, command: Sequence[str]) -> dict[str, object]:
    """Everything; returns what run.json holds.

    minutes: from the start until the last stage is trained. A run that goes on keeps the budget
    that it began with.
    """
    started = time.monotonic()
    origin = provenance.collect(project_root(), command)
    store = prepare_data(params, place.data, progress_callback("data"))
    prepared = time.monotonic() - started
    judge = train_judge(
        params, store, place.checkpoints / "regressor", progress_callback("regressor"),
        weights_dir=project_root() / params.weights_dir,
    )  # fmt: skip
    left = minutes - (time.monotonic() - started) / 60
    params = budgeted(params, place.out / "params.yaml", left)
    stages = train_stages(params, store, place.checkpoints)
    spent = {"data": prepared / 60, "regressor": judge.history[-1]["seconds"] / 60}
    spent |= {stage.directory.name: stage.history[-1]["seconds"] / 60 for stage in stages}
    trained = Trained.load(params, place.checkpoints, place.data)
    facts = {
        **origin,
        "data": PHANTOM_BANNER if params.is_phantom else "real clips",
        "precision": precisions(params),
        "batch": {s.name: s.training.batch_size for s in params.cascade.stages},
        "minutes": spent,
        "stages": {s.directory.name: stage_facts(s) for s in stages},
        "regressor": judge_report(
            trained.regressor, store, params.evaluation.split, seed=params.seed
        ).scores,
    }
    results = flatten({**facts, **sample_and_score(trained, place)})
    write_json(place.out / "run.json", results)
    write_text(place.out / "summary.md", summary(params, results))
    return results


def budgeted(params: Params, file: Path, minutes: float) -> Params:
    """`params` whose stages share `minutes` as their own `max_minutes` are to each other.

    They are kept in `file`; where it is there already, its budget stays.

    Raises:
        RunError: `file` is of a run with other parameters, or no time is left.
    """
    if file.is_file():
        kept = load_params(file)
        if _with_minutes(kept, None) != _with_minutes(params, None):
            raise RunError(f"{file}: a run with other parameters; choose another --out")
        return kept
    if minutes <= 0:
        raise RunError("no time is left to train the stages; give more --minutes")
    share = SHARE_FOR_TRAINING * minutes
    changed = _with_minutes(params, share)
    write_text(file, changed.dump_yaml())
    return changed


def _with_minutes(params: Params, minutes: float | None) -> Params:
    tree = params.model_dump()
    trainings = [stage["training"] for stage in tree["cascade"]["stages"]]
    wishes = [(s.training.limit_s or 3600.0) for s in params.cascade.stages]
    for training, wish in zip(trainings, wishes, strict=True):
        training["max_hours"] = None
        training["max_minutes"] = None if minutes is None else minutes * wish / sum(wishes)
    return Params.model_validate(tree)


def train_stages(params: Params, store: ClipStore, checkpoints: Path) -> list[TrainedStage]:
    """Every stage, one after the other on this device."""
    return [
        train_stage(params, i, store, checkpoints / stage.name, progress_callback(stage.name))
        for i, stage in enumerate(params.cascade.stages)
    ]


def sample_and_score(trained: Trained, place: Place) -> dict[str, object]:
    """Guidance, both tasks, scores, speed and memory; leaves tables, samples and strips.png."""
    e = trained.params.evaluation
    guidance = place.out / "tables" / "guidance.csv"
    choose_guidance(trained, guidance, progress_callback("guidance"))
    scale = chosen_scale(guidance)
    plan = plan_sampling(trained.params, len(TASKS) * e.clips * e.draws, e.batch_size, scale)
    print(plan.text, flush=True)
    table = pd.concat(
        [judge_task(trained, task, scale, place.samples, progress_callback(task)) for task in TASKS]
    )
    write_text(place.out / "tables" / "scores.csv", table.to_csv(index=False))
    strips = contact_sheet(trained, table, place.samples)
    cv2.imwrite(str(place.out / "strips.png"), strips)
    scores = {task: score_answers(table, task, e, trained.params.seed) for task in TASKS}
    return {"guidance_scale": scale, "sampling": speed(trained, scale), **scores}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above. Exit status 0; 2 for bad input; 130 when a signal stopped it, saved."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m echocascade.commands.gpu_run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("params", nargs="?", default="params/2scm_phantom.yaml")
    parser.add_argument("--minutes", type=float, default=25.0, help="until all is trained")
    parser.add_argument("--out", type=Path, help="output folder; outputs/NAME by default")
    parser.add_argument("--data", type=Path, help="folder of phantoms and prepared clips")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args(given)
    runtime.prepare()
    try:
        params = load_params(find_params_file(options.params), options.changes)
        root = project_root()
        place = Place(options.out or root / "outputs" / params.name, options.data or root / "data")
        words = ["python", "-m", "echocascade.commands.gpu_run", *given]
        results = run(params, place, options.minutes, words)
    except USER_ERRORS as error:
        print(f"echocascade: {error}", file=sys.stderr)
        return BAD_INPUT
    except Interrupted as stopped:
        print(f"echocascade: {stopped}; the same command goes on", file=sys.stderr)
        return STOPPED
    print(summary(params, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
