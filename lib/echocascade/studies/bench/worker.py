"""One case in a process of its own: `python -m echocascade.studies.bench.worker JSON`.

Prints one line of JSON, the last of its output. The memory it reports is then that case's alone.
"""

import json
import os
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from echocascade import runtime
from echocascade.studies.bench import peaks
from echocascade.studies.bench.cases import Case, Plan
from echocascade.studies.bench.clock import (
    Counted,
    Work,
    counted,
    peak_memory_mb,
    timed,
    where_time_goes,
)


def machine(plan: Plan) -> dict[str, Any]:
    """What the numbers were measured on, and the most it does."""
    device = torch.device(plan.device)
    rates = {}
    for dtype in plan.dtypes:
        with runtime.float32_arithmetic(dtype, device):  # type: ignore[arg-type]
            rates[dtype] = {
                "matmul_gflop_per_s": peaks.matmul_gflop_per_s(dtype, device),
                "convolution_gflop_per_s": peaks.convolution_gflop_per_s(dtype, device),
            }
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "peaks": rates,
        "bandwidth_gb_per_s": peaks.bandwidth_gb_per_s(device),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(case: Case, plan: Plan, root: Path) -> dict[str, Any]:
    """The case's result; see `runner` for what its keys mean."""
    device = torch.device(plan.device)
    part = case.name.partition("/")[0]
    with ExitStack() as stack:
        parameters = 0
        if case.peer is not None:
            from echocascade.studies.bench.peer import peer_work

            made = peer_work(case, plan)
            work, parameters = made.work, made.parameters
        elif part in ("network", "sampler"):
            from echocascade.studies.bench.networks import network_work, sampler_work

            made = (network_work if part == "network" else sampler_work)(case, plan, root)
            work, parameters = made.work, made.parameters
        else:
            from echocascade.studies.bench import pipeline

            if part == "data":
                work = stack.enter_context(pipeline.data_work(case))
            elif part == "phantom":
                work = pipeline.phantom_work(case)
            else:
                made = pipeline.regressor_work(case, plan)
                work, parameters = made.work, made.parameters
        before = peak_memory_mb(device)
        timing = timed(work, device, _runs(case, plan), plan.warmup)
        result = {
            **case.to_json(), "device": plan.device, "parameters": parameters,
            "median_s": timing.median_s, "times_s": list(timing.times_s),
            "peak_rss_mb": peak_memory_mb(device), "rss_before_mb": before,
        }  # fmt: skip
        if parameters:
            counts = _counts(case, plan, root) if plan.graphs or plan.compiled else counted(work)
            result |= {"gflop": counts.flops / 1e9, "gigabytes": counts.bytes / 1e9}
            if case.peer is None and part == "network" and case.batch == 1:
                result["where_s"] = where_time_goes(work, device)
    return result


def _counts(case: Case, plan: Plan, root: Path) -> Counted:
    """What a compiled or captured run computes, counted on the plain one."""
    plain = Plan.from_json({**plan.to_json(), "graphs": False, "compiled": False})
    from echocascade.studies.bench import networks, pipeline

    work: Work
    if case.name.startswith("regressor"):
        work = pipeline.regressor_work(case, plain).work
    else:
        of_part = (
            networks.network_work if case.name.startswith("network") else networks.sampler_work
        )
        work = of_part(case, plain, root).work
    return counted(work)


def _runs(case: Case, plan: Plan) -> int:
    """More of what is short and varies with the clip that is drawn or read."""
    return max(plan.runs, 12) if case.name.split("/")[0] in ("data", "phantom") else plan.runs


def main(text: str) -> None:
    runtime.end_with_parent()
    request = json.loads(text)
    plan = Plan.from_json(request["plan"])
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    case = None if request["case"] is None else Case(**request["case"])
    if case is None or case.allocator == "own":
        runtime.keep_freed_memory()
    result = machine(plan) if case is None else measure(case, plan, Path(request["root"]))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
