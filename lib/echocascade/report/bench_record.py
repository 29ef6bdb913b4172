"""Recording a benchmark: its JSON, kept by git for every machine, and README's tables of them."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echocascade.report.files import read_json, write_text
from echocascade.report.runs import RunError

BEGIN, END = "<!-- numbers of the recorded benchmark: begin -->", "<!-- benchmark: end -->"


def recorded_benches(root: Path) -> list[dict[str, Any]]:
    """What was recorded, one machine after the other."""
    return [read_json(path) for path in sorted(_folder(root).glob("*.json"))]


def bench_tables(recorded: Sequence[Mapping[str, Any]]) -> str:
    """README's tables, Markdown: of every machine what it is and what it was measured to do."""
    return "\n\n".join(f"{_machine(content)}\n\n{bench_table(content)}" for content in recorded)


def _machine(content: Mapping[str, Any]) -> str:
    machine = content["machine"]
    peaks = " and ".join(
        f"{peak['convolution_gflop_per_s']:.0f} ({dtype})"
        for dtype, peak in machine["peaks"].items()
    )
    lines = [
        f"**{machine['processor']}**, {machine['threads']} threads: plain convolutions reach "
        f"{peaks} GFLOP/s."
    ]
    lines += [
        "The authors' way to make a training batch (decode every clip and zoom it) takes "
        f"{p['ratio']:.0f} times as long as reading one from the store."
        for p in content["peers"]
        if p["peer"] == "decode and zoom"
    ]
    return " ".join(lines)


def bench_table(content: Mapping[str, Any]) -> str:
    """README's table, Markdown: ours beside the peer as its package comes, one row a shape."""
    peers = [p for p in content["peers"] if p.get("peer_allocator") == "default"]
    if not peers:
        return "The recorded benchmark has no peer."
    dtypes = list(dict.fromkeys(p["dtype"] for p in peers))
    heads = [peers[0]["peer"] + ", fp32", *(f"ours, {dtype}" for dtype in dtypes)]
    lines = ["| | batch | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    ours = {_key(r): r for r in content["results"]}
    for name, batch in dict.fromkeys((p["name"], p["batch"]) for p in peers):
        row = {p["dtype"]: p for p in peers if (p["name"], p["batch"]) == (name, batch)}
        cells = [f"{_seconds(next(iter(row.values()))['median_s'])} s"]
        for dtype in dtypes:
            own = ours.get((name, dtype, batch))
            cells.append(_cell(own, row[dtype]["ratio"]) if own and dtype in row else "")
        what = name.removeprefix("network/").replace("/", ", ").replace("_", " ")
        what = re.sub(r"[1-4]scm|tssr|ssr", lambda found: found[0].upper(), what)
        lines.append(f"| {what} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _key(result: Mapping[str, Any]) -> tuple[str, str, int]:
    return result["name"], result["dtype"], result["batch"]


def _cell(own: Mapping[str, Any], ratio: float) -> str:
    share = f"{own['share_of_peak']:.0%}".replace("%", " %")
    return f"{_seconds(own['median_s'])} s: {ratio:.1f} times as fast, {share} of the peak"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def record_bench(bench: Path, root: Path) -> Path:
    """Copy the results of the benchmark in folder `bench` to outputs/recorded/bench, under the
    processor's name, and into README.

    Raises:
        RunError: there are none.
    """
    results = bench / "results.json"
    if not results.is_file():
        raise RunError(f"{bench.name}: no results; `make bench-peer` measures them")
    content: Mapping[str, Any] = read_json(results)
    processor = content["machine"]["processor"].replace("(R)", "").lower()
    name = "-".join(re.findall(r"[a-z0-9.]+", processor))
    kept = _folder(root) / f"{name}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(results, kept)
    readme = root / "README.md"
    block = f"{BEGIN}\n{bench_tables(recorded_benches(root))}\n{END}"
    text = readme.read_text(encoding="utf-8")
    write_text(readme, re.sub(f"{BEGIN}.*?{END}", lambda _: block, text, flags=re.DOTALL))
    return kept


def _folder(root: Path) -> Path:
    return root / "outputs" / "recorded" / "bench"
