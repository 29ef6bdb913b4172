"""The page of `echocascade bench`: what was measured, as numbers, figures and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from echocascade import __version__
from echocascade.report import html
from echocascade.report.files import write_json, write_text

Row = Mapping[str, Any]
COLOURS = {"fp32": "#0072B2", "tf32": "#56B4E9", "bf16": "#D55E00", "peer": "#7A7A7A"}
KIND_COLOURS = ("#0072B2", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
UNRUN_GPU = (
    "This part has not been run on a GPU by its authors: its code path was tested on a CPU alone."
)


def write_bench(content: Mapping[str, Any], directory: Path) -> Path:
    """results.json and report/index.html of a benchmark in `directory`; returns the page."""
    page = directory / "report" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_json(directory / "results.json", content)
    html.write_assets(page.parent)
    write_text(page, render_bench(content))
    return page


def render_bench(content: Mapping[str, Any]) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(html.TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    machine, results, peers = content["machine"], content["results"], content["peers"]
    networks = [r for r in results if r["name"].startswith("network/")]
    figures = [speed_figure(networks, peers), where_figure(networks)]
    return environment.get_template("bench.html.j2").render(
        version=__version__,
        style=html.asset("style.css"),
        script=html.asset("page.js"),
        banner=UNRUN_GPU if machine["device"] != "cpu" else "",
        summary=_summary(machine),
        numbers=_numbers(peers),
        figures=[html.figure_html(f.to_plotly_json()) if f.data else "" for f in figures],
        peers=[_peer_row(p) for p in peers],
        results=[_result_row(r) for r in results],
        left_out=[case["reason"] for case in content["left_out"]],
        peaks=[(dtype, _number(rates["matmul_gflop_per_s"]),
                _number(rates["convolution_gflop_per_s"]))
               for dtype, rates in machine["peaks"].items()],
        machine_facts=_machine_facts(machine),
    )  # fmt: skip


def speed_figure(networks: Sequence[Row], peers: Sequence[Row]) -> go.Figure:
    """GFLOP/s of every network, ours by dtype and the peer's beside them."""
    figure = _figure("Arithmetic done each second", "GFLOP/s")
    for dtype in dict.fromkeys(r["dtype"] for r in networks):
        rows = [r for r in networks if r["dtype"] == dtype]
        figure.add_bar(
            x=[_label(r) for r in rows], y=[r["gflop_per_s"] for r in rows],
            name=f"ours, {dtype}", marker_color=COLOURS[dtype],
        )  # fmt: skip
    theirs = {(_label(p)): p for p in peers if "peer_gflop_per_s" in p
              and p["peer_allocator"] == "default"}  # fmt: skip
    if theirs:
        figure.add_bar(
            x=list(theirs), y=[p["peer_gflop_per_s"] for p in theirs.values()],
            name=f"{next(iter(theirs.values()))['peer']}, fp32", marker_color=COLOURS["peer"],
        )  # fmt: skip
    return figure


def where_figure(networks: Sequence[Row]) -> go.Figure:
    """Shares of one forward pass or training step by kind of operation."""
    figure = _figure("Where the time goes", "share of the time")
    rows = [r for r in networks if "where_s" in r]
    kinds = list(dict.fromkeys(k for r in rows for k in r["where_s"]))
    for kind, colour in zip(kinds, KIND_COLOURS, strict=False):
        figure.add_bar(
            x=[f"{_label(r)}, {r['dtype']}" for r in rows],
            y=[r["where_s"].get(kind, 0) / (sum(r["where_s"].values()) or 1) for r in rows],
            name=kind, marker_color=colour,
        )  # fmt: skip
    figure.update_layout(barmode="stack")
    figure.update_yaxes(tickformat=".0%")
    return figure


def _figure(title: str, y: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white", title={"text": title, "font": {"size": 16}}, height=430,
        margin={"l": 70, "r": 20, "t": 55, "b": 110}, legend={"orientation": "h", "y": 1.08},
        font={"size": 13},
    )  # fmt: skip
    return figure.update_yaxes(title=y)


def _label(row: Row) -> str:
    _, size, what = row["name"].split("/")
    batch = f", {row['batch']} at a time" if row["batch"] > 1 else ""
    return f"{size.replace('_', ' ')}<br>{what.replace('_', ' ')}{batch}"


def _numbers(peers: Sequence[Row]) -> list[dict[str, str]]:
    found = []
    for p in peers:
        published = p.get("peer_allocator", "default") == "default"
        if p["batch"] in (1, 16) and published:
            what = p["name"].replace("network/", "").replace("/", ", ").replace("_", " ")
            found.append({
                "label": f"{what}, {p['dtype']}", "value": f"{_number(p['ratio'])} ×",
                "reading": f"as fast as {p['peer']}, which takes {_seconds(p['median_s'])}",
            })  # fmt: skip
    return found


def _peer_row(p: Row) -> list[str]:
    share = "parameters_share" in p
    allocator = {"own": "as ours", "default": "as it comes"}.get(p.get("peer_allocator", ""), "")
    return [
        p["name"], p["dtype"], str(p["batch"]), p["peer"], allocator, _seconds(p["median_s"]),
        f"{_number(p['ratio'])} ×",
        f"{p['parameters_share']:.0%}" if share else "", f"{p['gflop_share']:.0%}" if share else "",
    ]  # fmt: skip


def _result_row(r: Row) -> list[str]:
    floor = r.get("floor_s")
    return [
        r["name"], r["dtype"], str(r["batch"]), _seconds(r["median_s"]),
        _number(r["gflop"]), _number(r["gflop_per_s"]),
        "" if r["share_of_peak"] is None else f"{r['share_of_peak']:.0%}",
        "" if floor is None else _seconds(max(floor.values())), f"{r['peak_rss_mb']:.0f}",
    ]  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _summary(machine: Row) -> str:
    where = machine["processor"] if machine["device"] == "cpu" else machine["device"]
    threads = f", {machine['threads']} threads" if machine["device"] == "cpu" else ""
    return f"{where}{threads}, PyTorch {machine['torch']}. Medians of several runs after a warm-up."


def _machine_facts(machine: Row) -> list[tuple[str, object]]:
    names = {"device": "Device", "processor": "Processor", "cores": "Cores", "threads": "Threads",
             "torch": "PyTorch", "python": "Python", "measured": "Measured",
             "command": "Command", "commit": "Commit"}  # fmt: skip
    facts = [(names[key], machine[key]) for key in names if machine.get(key) is not None]
    return [*facts, ("Memory", f"{machine['bandwidth_gb_per_s']:.0f} GB/s copied")]
