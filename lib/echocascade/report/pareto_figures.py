"""The figure of quality against sampling time in notebook 06."""

import pandas as pd
import plotly.graph_objects as go

from echocascade.report.sampling_figures import QUIET, new_figure
from echocascade.report.theory_figures import COLOURS
from echocascade.studies.pareto import cheapest

PANELS = {
    "MAE": ("LVEF error", "mean |measured - requested|, points"),
    "frechet": ("Distance to real clips", "Fréchet distance, LVEF regressor's features"),
    "flicker": ("Flicker", "generated / real"),
}


def pareto_figure(table: pd.DataFrame) -> go.Figure:
    """MAE, Fréchet distance and flicker of `pareto.pareto_table` over seconds a clip."""
    titles = [title for title, _ in PANELS.values()]
    figure = new_figure("Quality against sampling time, single draws", len(PANELS), titles, 500)
    kinds = list(table.groupby("kind", sort=False))
    for column, (measure, (_, axis)) in enumerate(PANELS.items(), start=1):
        for i, (kind, rows) in enumerate(kinds):
            figure.add_scatter(
                x=rows["seconds_per_clip"], y=rows[measure], name=str(kind), row=1, col=column,
                legendgroup=str(kind), showlegend=column == 1, mode="lines+markers",
                marker={"size": 9}, line={"width": 2, "color": COLOURS[i % len(COLOURS)]},
                error_y=_interval(rows) if measure == "MAE" else None,
                text=[f"{label}<br>{n} evaluations" for label, n in
                      zip(rows["label"], rows["evaluations"], strict=True)],
            )  # fmt: skip
        figure.update_xaxes(title="seconds a clip", type="log", row=1, col=column)
        figure.update_yaxes(title=axis, rangemode="tozero", row=1, col=column)
    figure.add_hline(
        y=1, line={"width": 1, "dash": "dot", "color": QUIET}, annotation_text="as real",
        row=1, col=3,
    )  # fmt: skip
    return figure


def _interval(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "type": "data", "symmetric": False, "array": rows["MAE_high"] - rows["MAE"],
        "arrayminus": rows["MAE"] - rows["MAE_low"], "thickness": 1, "color": QUIET,
    }  # fmt: skip


def pareto_reading(table: pd.DataFrame) -> str:
    """What the table says, in plain sentences."""
    paper, best = table.iloc[0], cheapest(table)
    lines = [
        f"The paper's sampler: MAE {paper['MAE']:.1f} points "
        f"[{paper['MAE_low']:.1f}, {paper['MAE_high']:.1f}] at {paper['evaluations']} evaluations, "
        f"{paper['seconds_per_clip']:.2f} s a clip.",
        f"As good at the fewest evaluations: {best['kind']}, {best['label']}: MAE "
        f"{best['MAE']:.1f} at {best['evaluations']} evaluations, {best['seconds_per_clip']:.2f} s "
        f"a clip, {paper['seconds_per_clip'] / best['seconds_per_clip']:.0f} times as fast.",
    ]
    for _, row in table[table["kind"] == "distilled"].iterrows():
        verdict = (
            "within the paper's interval" if row["as_good"] else "outside it: it costs accuracy"
        )
        lines.append(
            f"Distilled, {row['label']}: MAE {row['MAE']:.1f}, {verdict}, "
            f"{row['seconds_per_clip']:.3f} s a clip."
        )
    return " ".join(lines)
