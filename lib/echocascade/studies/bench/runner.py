"""Runs all cases, one process each, and puts what they say together."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from echocascade.studies.bench.cases import PEERS, Case, Plan
from echocascade.studies.bench.kept import Kept

Progress = Callable[[int, int, str], None]
PEER_ENVIRONMENT = ".venv-peer"


class BenchError(RuntimeError):
    """A case that could not be measured; the message says which and why."""


def peer_python(root: Path) -> Path:
    """The interpreter of the environment that holds the peer's package.

    Raises:
        BenchError: it is not there.
    """
    python = root / PEER_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise BenchError(
            f"no {PEER_ENVIRONMENT} in the project: `make peer` makes it, with "
            + ", ".join(f"{name} {version}" for name, version in PEERS.items())
        )
    return python


def run_bench(
    plan: Plan, root: Path, progress: Progress | None = None, kept: Kept | None = None
) -> dict[str, Any]:
    """Measure everything in `plan` that is not in `kept`.

    Returns machine, results, peers and left_out. A result: name, dtype, batch, median_s, gflop,
    gflop_per_s, share_of_peak (of the best plain convolution in that dtype), peak_rss_mb (GPU
    memory on a GPU) and more; what does no arithmetic to speak of has null there. A peer: name,
    dtype and batch of our result, median_s of theirs, ratio (theirs over ours) and what both were.
    left_out: the cases that could not be measured, each with its reason.

    Raises:
        BenchError: the peer's environment is not there, or nothing could be measured.
    """
    cases = plan.cases()
    pythons: dict[str | None, Path] = {None: Path(sys.executable)}
    if any(case.peer for case in cases):
        pythons[plan.peer] = peer_python(root)

    def answer(case: Case | None) -> dict[str, Any]:
        found = None if kept is None else kept.get(case)
        if found is None:
            found = _in_process(pythons[case.peer if case else None], plan, case, root)
            if kept is not None:
                kept.add(case, found)
        return found

    facts = answer(None)
    raw, left_out = [], []
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases), case.label)
        try:
            raw.append(answer(case))
        except BenchError as error:  # the others' time is not to be lost with it
            left_out.append({**case.to_json(), "reason": str(error)})
    if progress is not None:
        progress(len(cases), len(cases), "done")
    if not raw:
        raise BenchError(left_out[0]["reason"])
    own = [_with_rates(r, facts) for r in raw if r["peer"] is None]
    theirs = [r for r in raw if r["peer"] is not None]
    peers = [_against(r, t) for t in theirs for r in own if _same_work(r, t)]
    peers += _data_peers(own)
    return {"machine": facts, "results": own, "peers": peers, "left_out": left_out}


def _in_process(python: Path, plan: Plan, case: Case | None, root: Path) -> dict[str, Any]:
    request = {"plan": plan.to_json(), "case": case and case.to_json(), "root": str(root)}
    command = [str(python), "-W", "ignore", "-m", "echocascade.studies.bench.worker"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, json.dumps(request)], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if done.returncode < 0:
            reason = f"it was killed by signal {-done.returncode} (out of memory?)"
        raise BenchError(f"{case.label if case else 'the machine'} could not be measured: {reason}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _with_rates(result: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    gflop, seconds = result.get("gflop"), result["median_s"]
    if not gflop:
        return {**result, "gflop": None, "gflop_per_s": None, "share_of_peak": None}
    peaks = facts["peaks"][result["dtype"]]
    rate = gflop / seconds
    return {
        **result,
        "gflop_per_s": rate,
        "share_of_peak": rate / peaks["convolution_gflop_per_s"],
        "share_of_matmul": rate / peaks["matmul_gflop_per_s"],
        "floor_s": {
            "arithmetic": gflop / max(peaks.values()),
            "memory": result["gigabytes"] / facts["bandwidth_gb_per_s"],
        },
    }


def _same_work(own: Mapping[str, Any], peer: Mapping[str, Any]) -> bool:
    return (own["name"], own["batch"]) == (peer["name"], peer["batch"])


def _against(own: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": own["name"],
        "dtype": own["dtype"],
        "batch": own["batch"],
        "median_s": peer["median_s"],
        "ratio": peer["median_s"] / own["median_s"],
        "peer": f"{peer['peer']} {PEERS[peer['peer']]}",
        "peer_dtype": peer["dtype"],
        "peer_allocator": peer["allocator"],
        "peer_gflop_per_s": peer["gflop"] / peer["median_s"],
        "peer_peak_rss_mb": peer["peak_rss_mb"],
        "parameters_share": own["parameters"] / peer["parameters"],
        "gflop_share": own["gflop"] / peer["gflop"],
    }


def _data_peers(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Decoding and resampling the clips of a batch one by one, over reading the batch."""
    by_name = {r["name"]: r for r in results}
    batch = by_name.get("data/read batch")
    found = []
    for name in ("data/decode and zoom", "data/decode and resample"):
        if batch is not None and name in by_name:
            seconds = by_name[name]["median_s"] * batch["batch"]
            found.append({
                "name": batch["name"], "dtype": batch["dtype"], "batch": batch["batch"],
                "median_s": seconds, "ratio": seconds / batch["median_s"],
                "peer": name.removeprefix("data/"),
            })  # fmt: skip
    return found
