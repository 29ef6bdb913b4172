"""The work of ``echocascade sample``: files in, marked clips, a strip and their provenance out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echocascade import __version__, runtime
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.plan import SamplingPlan, plan_sampling
from echocascade.commands.runs import find_run
from echocascade.data.atomic import write_text
from echocascade.data.marked import FormatError, check_format, write_clip, write_marked_png
from echocascade.data.still import Placed, StillError
from echocascade.params import ParamsError, load_params
from echocascade.report import provenance
from echocascade.report.progress import Progress, progress_callback
from echocascade.report.runs import RunError, project_root, run_is_phantom
from echocascade.report.strips import comparison_strip
from echocascade.studies.stills import Ask, AskError, Made, StillGenerator, Watch

USER_ERRORS = (RunError, ParamsError, StillError, AskError, FormatError, CheckpointError)
STATEMENT = (
    "Every clip is synthetic: generated from one image and a requested LVEF. Not for diagnosis."
)


@dataclass(frozen=True)
class Asked:
    """The command's options as given."""

    image: Path
    frame: int
    lvef_percent: Sequence[float]
    seeds: Sequence[int]
    out: Sequence[Path]
    seconds: float | None = None
    guidance: float | None = None
    scalars: Sequence[str] = ()

    @property
    def asks(self) -> list[Ask]:
        """Every LVEF with every seed, each once."""
        seeds, lvefs = dict.fromkeys(self.seeds), dict.fromkeys(self.lvef_percent)
        return [Ask(lvef, seed) for seed in seeds for lvef in lvefs]


@dataclass(frozen=True)
class Done:
    """What was written, and the JSON that lies beside it."""

    files: list[Path]
    provenance: dict[str, Any]


def sample(run_name: str, asked: Asked) -> Done:
    """Read, generate, write; progress on stderr."""
    runtime.prepare()
    for path in asked.out:
        check_format(path)
        if not path.parent.is_dir():
            raise FormatError(f"{path.parent}: no such folder")
    run = find_run(run_name)
    scalars = read_scalars(asked.scalars)
    made_by = StillGenerator.load(run, project_root() / "data", asked.guidance, scalars)
    made_by.check(asked.asks, asked.seconds)
    placed = made_by.place(asked.image, asked.frame)
    watch = _watch(progress_callback("sampling"))
    made = made_by.make(placed.frame, asked.asks, seconds=asked.seconds, watch=watch)
    facts = _facts(run, made_by, placed, made, asked)
    files = _write(asked.out, made, run.name)
    facts["files"] = [file.name for file in files]
    record = asked.out[0].with_suffix(".json")
    write_text(record, json.dumps(facts, indent=1, allow_nan=False) + "\n")
    return Done([*files, record], facts)


def plan(run_name: str, asked: Asked) -> SamplingPlan:
    """What `sample` would take on this machine, from the run's parameters alone."""
    params = load_params(find_run(run_name) / "params.yaml")
    asks = asked.asks
    return plan_sampling(params, len(asks), min(len(asks), params.evaluation.batch_size),
                         asked.guidance)  # fmt: skip


def describe(done: Done) -> str:
    """One line a clip, the files after them."""
    lines = []
    for clip in done.provenance["clips"]:
        read = clip["lvef_regressor"]
        measured = "no regressor in this run" if read is None else f"regressor reads {read:.0f} %"
        lines.append(f"LVEF {clip['lvef_percent']:g} %, seed {clip['seed']}: {measured}")
    if done.provenance["warning"]:
        lines.append(f"note: {done.provenance['warning']}")
    return "\n".join([*lines, *(str(file) for file in done.files)])


def read_scalars(given: Sequence[str]) -> dict[str, float]:
    """Clinical parameters from NAME=VALUE; AskError names the one that is not."""
    scalars = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            scalars[name.strip()] = float(value)
        except ValueError:
            raise AskError(f"--scalar {text}: NAME=VALUE with a number is accepted") from None
    return scalars


def _watch(bar: Progress) -> Watch:
    def watch(stage: str, share: float, _: object) -> None:
        bar(round(100 * share), 100, stage)

    return watch


def _write(out: Sequence[Path], made: Made, run: str) -> list[Path]:
    """Every clip in every format, and the strip beside the first."""
    files = []
    for path in out:
        for ask, video in zip(made.asks, made.videos, strict=True):
            about = f"LVEF asked {ask.lvef_percent:g} %, seed {ask.seed}, run {run}."
            files.append(path if len(made.asks) == 1 else _named(path, ask))
            write_clip(files[-1], video, made.fps, about)
    strip = out[0].with_name(f"{out[0].stem}-strip.png")
    asked = ", ".join(f"{ask.lvef_percent:g} %" for ask in made.asks)
    write_marked_png(strip, comparison_strip(made), f"LVEF asked {asked}, run {run}.")
    return [*files, strip]


def _named(path: Path, ask: Ask) -> Path:
    return path.with_name(f"{path.stem}-lvef{ask.lvef_percent:g}-seed{ask.seed}{path.suffix}")


def _facts(
    run: Path, made_by: StillGenerator, placed: Placed, made: Made, asked: Asked
) -> dict[str, Any]:
    """Where the clips came from: nothing of the picture but its pixels' digest and geometry."""
    root = project_root()
    stages = made_by.params.cascade.stages
    return {
        "synthetic": True,
        "statement": STATEMENT,
        "made": provenance.timestamp(),
        "echocascade": __version__,
        **provenance.git_state(root),
        "packages": provenance.package_versions(),
        "device": provenance.device_name(),
        "run": run.name,
        "phantom": made_by.params.is_phantom or run_is_phantom(run),
        "weights_sha256": made_by.weights_digest(),
        "image": placed.facts(),
        "guidance_scale": made_by.scale,
        "scalars": dict(made_by.scalars),
        "samplers": {stage.name: stage.sampler.model_dump(mode="json") for stage in stages},
        "run_seed": made_by.params.seed,
        "fps": made.fps,
        "seconds": len(made.videos[0]) / made.fps,
        "extended": asked.seconds is not None and asked.seconds > made_by.last.duration_s,
        "warning": made_by.warning(made.asks),
        "clips": [
            {
                "lvef_percent": ask.lvef_percent, "seed": ask.seed,
                "lvef_regressor": _number(measured), "lvef_stick": _number(stick.lvef_percent),
            }
            for ask, measured, stick in zip(
                made.asks, made.lvef_measured, made.stick, strict=True
            )
        ],
    }  # fmt: skip


def _number(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
