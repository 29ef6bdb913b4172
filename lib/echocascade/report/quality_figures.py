"""Figures of notebook 07 beside the scores: choosing at a glance, distances, copies, the judge."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from einops import repeat

from echocascade.report.evaluation_figures import GAP, TASK_NAMES
from echocascade.report.media import ClipRow, clip_html
from echocascade.report.paper import GLANCE
from echocascade.report.sampling_figures import QUIET, new_figure
from echocascade.report.theory_figures import COLOURS
from echocascade.studies.copies import Copies

LOWEST = -1.0  # of the R2 axis at a glance
DISTANCES = {"frechet": "Fréchet distance", "kernel": "kernel distance"}


def glance_figure(rows: pd.DataFrame) -> go.Figure:
    """R2 of one draw, of the best draw, of the best of shuffled answers, and of the judge itself.

    rows: `paper.glance_rows`. What a score says is the gap between the second bar and the third.
    """
    names = list(TASK_NAMES.values())
    figure = new_figure("What choosing the best draw does to R²", 2, names, height=440)
    for place, task in enumerate(TASK_NAMES, start=1):
        of_task = rows[rows["task"] == task]
        for colour, (who, shown) in zip(COLOURS, of_task.groupby("who", sort=False), strict=False):
            values = pd.to_numeric(shown["R2"]).clip(lower=LOWEST)
            figure.add_bar(
                x=shown["what"], y=values, name=str(who), legendgroup=str(who),
                showlegend=place == 1,
                marker={"color": colour}, error_y=_bars(shown), row=1, col=place,
                text=[f"{v:.2f}".replace("-", "−") for v in shown["R2"]], textposition="inside",
                insidetextanchor="start", textangle=0,
            )  # fmt: skip
        figure.update_xaxes(
            categoryorder="array", categoryarray=list(GLANCE), tickangle=0, row=1, col=place
        )
    figure.update_yaxes(title="R²", range=[LOWEST - 0.1, 1.2])
    figure.update_layout(barmode="group", legend={"y": -0.2}, margin={"t": 100, "b": 80})
    return figure


def _bars(shown: pd.DataFrame) -> dict[str, object]:
    value, low, high = (
        pd.to_numeric(shown[name]).clip(lower=LOWEST) for name in ("R2", "low", "high")
    )
    return {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": high - value, "arrayminus": value - low,
    }  # fmt: skip


def distance_figure(distances: pd.DataFrame) -> go.Figure:
    """Distances in the regressor's features, each maker's with its interval; low is near to real.

    distances: `echo.EchoDomain.distances`.
    """
    figure = new_figure("Distance to real clips in the regressor's features", 2,
                        list(DISTANCES.values()), height=360)  # fmt: skip
    for place, distance in enumerate(DISTANCES, start=1):
        shown = distances[distances["distance"] == distance]
        bars = {"type": "data", "symmetric": False, "array": shown["high"] - shown["value"],
                "arrayminus": shown["value"] - shown["low"]}  # fmt: skip
        figure.add_bar(
            x=shown["maker"], y=shown["value"], error_y=bars, showlegend=False,
            marker={"color": COLOURS[0]}, row=1, col=place,
        )  # fmt: skip
    return figure


def copies_figure(copies: Copies) -> go.Figure:
    """Memorisation scores of generated clips beside those of unseen real clips."""
    figure = new_figure("How close to a training clip: 1 is a copy, 0 an unseen patient", 1)
    sets = {"generated": copies.table["score"], "real, not trained on": copies.real_scores}
    for colour, (name, scores) in zip(COLOURS, sets.items(), strict=False):
        figure.add_histogram(
            x=scores, name=name, opacity=0.6, histnorm="probability", marker={"color": colour},
            xbins={"start": -1, "end": 1.001, "size": 0.05},
        )  # fmt: skip
    if np.isfinite(copies.threshold):
        figure.add_vline(
            x=copies.threshold, line={"width": 2, "dash": "dash", "color": QUIET},
            annotation_text=f"threshold {copies.threshold:.2f}", annotation_position="top right",
        )  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title="memorisation score", range=[-1, 1.05])
    figure.update_yaxes(title="share of clips")
    return figure


def pair_clips(pairs: pd.DataFrame, made: np.ndarray, train: np.ndarray, fps: float) -> ClipRow:
    """Generated clips beside the training clips that they come closest to, in step.

    pairs: rows of `copies.closest_pairs`; made, train uint8 (N, T, H, W, C).
    """
    dark = np.pad(made, ((0, 0),) * 3 + ((0, GAP), (0, 0)))
    clips = np.concatenate([dark, train], axis=3)
    clips = repeat(clips, "n t h w c -> n t (h p) (w q) c", p=2, q=2)
    clips = clips[:, :, : clips.shape[2] // 2 * 2, : clips.shape[3] // 2 * 2]
    labels = [f"score {row['score']:.2f}: generated, and {row['nearest']}"
              for row in pairs.to_dict("records")]  # fmt: skip
    return clip_html(list(clips), fps, labels, width=230)


def judge_figure(bands: pd.DataFrame, rates: pd.DataFrame) -> go.Figure:
    """The judge on real clips: residual by LVEF band, and error by frame rate.

    bands, rates: tables of `judging.Calibration`. A hollow mark is a rate that the judge was not
    trained on.
    """
    titles = ["Reading minus label, by LVEF", "Mean error, by frame rate"]
    figure = new_figure("The judge on held-out real clips", 2, titles)
    figure.add_scatter(
        x=bands["band"], y=bands["bias"], mode="markers", marker={"size": 10, "color": COLOURS[0]},
        error_y={"type": "data", "symmetric": False, "array": bands["high"] - bands["bias"],
                 "arrayminus": bands["bias"] - bands["low"]},
        text=[f"{n} clips" for n in bands["n"]], showlegend=False, row=1, col=1,
    )  # fmt: skip
    figure.add_hline(y=0, line={"width": 1, "dash": "dot", "color": QUIET}, row=1, col=1)
    figure.add_scatter(
        x=[f"{rate:g} fps" for rate in rates["fps"]], y=rates["MAE"], mode="markers+lines",
        marker={"size": 11, "color": COLOURS[1], "line": {"width": 2, "color": COLOURS[1]},
                "symbol": ["circle" if met else "circle-open" for met in rates["met"]]},
        line={"width": 1, "dash": "dot"}, showlegend=False, row=1, col=2,
        error_y={"type": "data", "symmetric": False, "array": rates["MAE high"] - rates["MAE"],
                 "arrayminus": rates["MAE"] - rates["MAE low"]},
        text=[f"bias {bias:+.1f} points" for bias in rates["bias"]],
    )  # fmt: skip
    figure.update_yaxes(title="points of LVEF", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    return figure
