"""The work of ``echocascade plan``."""

from collections.abc import Sequence
from pathlib import Path

from echocascade import runtime
from echocascade.cascade.plan import SamplingPlan, plan_sampling
from echocascade.cascade.training_plan import plan_training
from echocascade.commands.runs import find_run
from echocascade.params import Params, ParamsError, load_params
from echocascade.report.runs import RunError, find_params_file

__all__ = ["USER_ERRORS", "params_of", "plan_training", "plan_videos"]

USER_ERRORS = (ParamsError, RunError)


def params_of(source: str, overrides: Sequence[str]) -> Params:
    """The parameters of a YAML file or of a run."""
    is_file = source.endswith((".yaml", ".yml")) or Path(source).is_file()
    file = find_params_file(source) if is_file else find_run(source) / "params.yaml"
    return load_params(file, overrides)


def plan_videos(
    params: Params, videos: int, batch: int, guidance: float | None, tflops: float | None
) -> SamplingPlan:
    """`plan_sampling` with a rate in TFLOP/s."""
    runtime.prepare()
    rate = None if tflops is None else tflops * 1e12
    return plan_sampling(params, videos, batch, guidance, flop_per_s=rate)
