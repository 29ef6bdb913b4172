"""What `gpu_run` notes down: facts of the training, speed, memory, and a page beside the paper."""

import torch

from echocascade import runtime
from echocascade.cascade.outcome import TrainedStage
from echocascade.params import Params
from echocascade.report.paper import CITATION, TABLE_1
from echocascade.report.runs import PHANTOM_BANNER
from echocascade.studies.protocol import Trained, task_clips
from echocascade.studies.sampling import time_stages

TASKS = ("generation", "reconstruction")
RULES = {"single": "every draw", "paper": "best of the draws, as published"}


def stage_facts(stage: TrainedStage) -> dict[str, object]:
    """Steps, parameters and the last losses."""
    last = stage.history[-1]
    facts: dict[str, object] = {"steps": stage.step, "parameters": stage.parameters}
    return facts | {key: last[key] for key in ("training_loss", "validation_loss") if key in last}


def precisions(params: Params) -> dict[str, str]:
    """What each stage computes in on this device."""
    device = runtime.default_device()
    return {
        s.name: runtime.resolve_precision(s.training.precision, device)
        for s in params.cascade.stages
    }


def speed(trained: Trained, scale: float) -> dict[str, object]:
    """Seconds a video of one batch, stage by stage, and the memory that it takes at its peak.

    On a GPU the memory is what PyTorch allocated there; on a CPU it is the whole process so far.
    """
    e = trained.params.evaluation
    clips = task_clips(trained, e.split, 1, 1)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    stages = time_stages(trained, clips, scale, e.batch_size)
    peak = torch.cuda.max_memory_allocated() if on_gpu else runtime.peak_resident_bytes()
    return {
        "batch": e.batch_size,
        "seconds_per_video": float(stages["seconds_per_clip"].sum()),
        "evaluations_per_video": int(stages["evaluations"].sum()),
        "seconds_per_video_by_stage": dict(
            zip(stages["stage"], stages["seconds_per_clip"].astype(float), strict=True)
        ),
        "peak_memory_bytes": peak,
        "peak_memory_of": "tensors on the GPU" if on_gpu else "the process",
    }


def summary(params: Params, results: dict[str, object]) -> str:
    """This run beside the paper's row, as Markdown."""
    lines = [f"# {params.title}", ""]
    if params.is_phantom:
        lines += [f"**{PHANTOM_BANNER}**", ""]
    lines += ["| | R2 | MAE | RMSE | s a video |", "|---|---|---|---|---|"]
    seconds = _number(results["sampling.seconds_per_video"])
    model = params.name.partition("_")[0].upper()
    for task in TASKS:
        for rule, words in RULES.items():
            scores = (results.get(f"{task}.regressor.{rule}.{s}") for s in ("R2", "MAE", "RMSE"))
            cells = " | ".join(map(_number, scores))
            lines.append(f"| {task}, this run, {words} | {cells} | {seconds} |")
        for row in TABLE_1:
            if (row.model, row.task) == (model, task):
                cells = f"{row.R2} | {row.MAE} | {row.RMSE} | {row.seconds:g}"
                lines.append(f"| {task}, the paper's {model}, best of 3 | {cells} |")
    gigabytes = _number(float(str(results["sampling.peak_memory_bytes"])) / 2**30)
    lines += [
        "",
        f"{results['device']}, batch {results['sampling.batch']},"
        f" {gigabytes} GB ({results['sampling.peak_memory_of']}),"
        f" guidance {_number(results['guidance_scale'])}, commit {results['commit']}"
        f"{' with changes' if results['dirty'] else ''}.",
        f"The paper: {CITATION}; EchoNet-Dynamic, 1288 VAL clips.",
        "",
    ]
    return "\n".join(lines)


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "not computed"
