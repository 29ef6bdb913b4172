"""Figures of notebook 08: right answers by class, guessing or not, response times."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from echocascade.report.sampling_figures import QUIET, new_figure
from echocascade.report.study_tables import CLASSES, PaperStudy
from echocascade.report.theory_figures import COLOURS


def accuracy_figure(found: Mapping[str, Any]) -> go.Figure:
    """Accuracy by class with intervals: each reader, all together, the paper; chance as a line."""
    title = "Share of right answers" + (" (simulated readers)" if found["simulated"] else "")
    figure = new_figure(title, 1, height=460)
    pooled = found["pooled"]
    makers = [*found["readers"].items(), ("all", pooled)]
    for colour, (name, scores) in zip(cycle(COLOURS), makers, strict=False):
        labels = [kind for kind in CLASSES if kind in scores]
        ends = [scores[kind]["accuracy_interval"] for kind in labels]
        if name == "all":
            ends = [pooled[f"{kind}_accuracy_cluster_interval"] for kind in labels]
        values = [scores[kind]["accuracy"] for kind in labels]
        figure.add_scatter(
            x=labels, y=_hundred(values), name=name,
            mode="markers", marker={"size": 12 if name == "all" else 9, "color": colour},
            error_y={
                "type": "data", "symmetric": False,
                "array": _hundred([high - v for v, (_, high) in zip(values, ends, strict=True)]),
                "arrayminus": _hundred([v - low for v, (low, _) in zip(values, ends, strict=True)]),
            },
        )  # fmt: skip
    paper = PaperStudy()
    figure.add_scatter(
        x=list(CLASSES), y=_hundred([getattr(paper, kind) for kind in CLASSES]),
        name="the paper", mode="markers",
        marker={"size": 11, "color": QUIET, "symbol": "diamond-open", "line": {"width": 2}},
    )  # fmt: skip
    figure.add_hline(
        y=50, line={"width": 1, "dash": "dot", "color": QUIET}, annotation_text="guessing"
    )
    figure.update_layout(scattermode="group", scattergap=0.6)
    figure.update_yaxes(title="right answers, %", range=[-3, 103])
    return figure


def equivalence_figure(found: Mapping[str, Any]) -> go.Figure:
    """The 90 % interval of each reader and of all against the band that counts as guessing."""
    score = "accuracy" if found["mode"] == "pairs" else "balanced accuracy"
    figure = new_figure(f"Is it guessing? 90 % intervals of {score}", 1, height=360)
    makers = {**found["readers"], "all": found["pooled"]}
    margin = 100 * found["pooled"]["equivalence"]["margin"]
    for colour, (name, scores) in zip(cycle(COLOURS), makers.items(), strict=False):
        low, high = _hundred(scores["equivalence"]["interval_90"])
        figure.add_scatter(
            x=[low, high], y=[name, name], mode="lines+markers", showlegend=False,
            line={"width": 4, "color": colour}, marker={"size": 9, "symbol": "line-ns-open"},
        )  # fmt: skip
    figure.add_vrect(
        x0=50 - margin, x1=50 + margin, line_width=0, fillcolor=QUIET, opacity=0.18,
        annotation_text=f"guessing, ± {margin:g} points", annotation_position="top left",
    )  # fmt: skip
    figure.update_xaxes(title=f"{score}, %", range=[0, 100])
    figure.update_yaxes(range=[len(makers) - 0.5, -0.9])
    return figure


def time_figure(table: pd.DataFrame) -> go.Figure:
    """Seconds an answer, a box a reader and class; `table` as `expert.analysis.Answers` has it."""
    figure = new_figure("Response times", 1, height=400)
    rows = table[table["role"] != "practice"]
    for colour, kind in zip(COLOURS, CLASSES, strict=False):
        own = rows[rows["kind"] == kind]
        if own.empty:
            continue
        figure.add_box(
            x=own["reader"], y=own["seconds"], name=kind, marker={"color": colour}, boxpoints=False
        )
    figure.update_yaxes(
        title="seconds, from the first frame", type="log", tickvals=[1, 2, 5, 10, 20, 50, 100, 200]
    )
    figure.update_layout(boxmode="group")
    return figure


def _hundred(values: list[float]) -> list[float]:
    return [100 * value for value in values]
