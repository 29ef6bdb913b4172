"""What ``echocascade bench`` does."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from echocascade.params import ParamsError
from echocascade.report.bench_page import write_bench
from echocascade.report.progress import progress_callback
from echocascade.report.provenance import clean_command, git_state, timestamp
from echocascade.report.runs import RunError, find_params_file, project_root, run_folder
from echocascade.studies.bench.cases import Plan
from echocascade.studies.bench.kept import Kept
from echocascade.studies.bench.runner import BenchError, run_bench

USER_ERRORS = (BenchError, RunError, ParamsError, ValueError)


@dataclass(frozen=True)
class Bench:
    """content: the JSON; text: the same for a console."""

    content: dict[str, Any]
    text: str


def plan_of(given: Mapping[str, Any]) -> Plan:
    """The plan that options ask for; a GPU samples the paper's 2SCM by default."""
    on_gpu = {"params_file": "params/2scm.yaml", "dtypes": ["tf32", "bf16"]}
    return Plan.from_json({**(on_gpu if given.get("device") == "cuda" else {}), **given})


def bench(given: Mapping[str, Any], quiet: bool = False) -> Bench:
    """Measure, and write results.json and a page to outputs/bench (outputs/bench-cuda on a GPU).

    Cut off, the same command on the same machine and commit goes on with the case that it was in.
    """
    root = project_root()
    plan = plan_of(given)
    plan = replace(plan, params_file=str(find_params_file(plan.params_file)))
    if plan.device == "cuda":
        _require_cuda()
    state = git_state(root)  # of what is measured, not of what it may be changed to meanwhile
    folder = run_folder("bench" if plan.device == "cpu" else "bench-cuda", root)
    # outputs may lie on a disk that other machines see
    of = {"plan": plan.to_json(), "machine": platform.node(), **state}
    kept = Kept(folder / "measured.jsonl", of)
    content = run_bench(plan, root, None if quiet else progress_callback("bench"), kept)
    content["machine"] |= {
        "measured": timestamp(), "command": clean_command(root, ["echocascade", *sys.argv[1:]]),
        **state,
    }  # fmt: skip
    page = write_bench(content, folder)
    kept.path.unlink()
    return Bench(content, f"{_table(content)}\n\nreport: {page}")


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BenchError(
            "--device cuda: PyTorch finds no GPU here; leave it out to measure the CPU"
        )


def _table(content: Mapping[str, Any]) -> str:
    lines = [f"{'what':38} {'dtype':6} {'batch':>5} {'median s':>10} {'GFLOP/s':>9} {'of peak':>8}"]
    for r in content["results"]:
        rate = "" if r["gflop_per_s"] is None else f"{r['gflop_per_s']:.0f}"
        share = "" if r["share_of_peak"] is None else f"{r['share_of_peak']:.0%}"
        lines.append(
            f"{r['name']:38} {r['dtype']:6} {r['batch']:5} {r['median_s']:10.4f} {rate:>9} "
            f"{share:>8}"
        )
    for p in content["peers"]:
        note = {"own": ", with our malloc"}.get(p.get("peer_allocator", ""), "")
        lines.append(
            f"{p['name']} {p['dtype']}, batch {p['batch']}: {p['ratio']:.1f} times as fast as "
            f"{p['peer']}{note} ({p['median_s']:.3f} s)"
        )
    lines += [f"left out: {case['reason']}" for case in content["left_out"]]
    return "\n".join(lines)
