"""Figures of notebooks 03 to 05: how trainings went and what the trained networks do."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from einops import rearrange, reduce
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from torch import Tensor

from echocascade.data.frames import Frames
from echocascade.evaluation.echo_distance import frame_difference, ratio_to_real
from echocascade.report.data_figures import COLOURS, look

BAND = 10  # percent LVEF


def stage_curve(history: Sequence[Mapping[str, float]], name: str) -> go.Figure:
    """Training and validation loss of a stage; history: as `TrainedStage.history`."""
    names = {
        "training_loss": "training (mean since the point before)",
        "validation_loss": "validation (averaged weights, fixed clips and noise)",
    }
    return _curves(history, names, f"Loss of stage {name}", "EDM loss (untrained = 1)")


def judge_curve(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Training and validation loss of the regressor; history: as `FittedRegressor.history`."""
    names = {"loss": "training", "valid_loss": "validation"}
    return _curves(history, names, "Learning curve of the judge", "smooth L1, (10 points)²")


def _curves(
    history: Sequence[Mapping[str, float]], names: Mapping[str, str], title: str, unit: str
) -> go.Figure:
    table = pd.DataFrame(list(history))
    figure = go.Figure()
    for column, label in names.items():
        if column in table:
            rows = table[np.isfinite(table[column])]
            few = len(rows) < 20
            figure.add_scatter(
                x=rows["step"],
                y=rows[column],
                name=label,
                mode="lines+markers" if few else "lines",
                line={"width": 3 if few else 1.5},
                marker={"size": 8},
            )
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title=unit, type="log", exponentformat="power", minor={"showgrid": True})
    return look(figure, title)


def judge_scatter(table: pd.DataFrame, scores: Mapping[str, object]) -> go.Figure:
    """Predicted over labelled LVEF, a point a clip; as `JudgeReport` has them."""
    figure = go.Figure()
    ends = [0, 100]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="identity",
        line={"dash": "dot", "width": 2, "color": "#888888"},
    )
    figure.add_scatter(
        x=table["lvef_percent"],
        y=table["lvef_predicted"],
        mode="markers",
        name="clips",
        text=table["FileName"],
        marker={"size": 7, "opacity": 0.6, "color": COLOURS[0]},
        hovertemplate="%{text}<br>label %{x:.1f} %, read %{y:.1f} %<extra></extra>",
    )
    words = ", ".join(score_text(scores, name) for name in ("R2", "MAE", "RMSE"))
    figure.update_xaxes(title="LVEF by label (percent)", range=ends, constrain="domain")
    figure.update_yaxes(
        title="LVEF by the judge (percent)", range=ends, scaleanchor="x", constrain="domain"
    )
    look(figure, f"Held-out clips<br><sup>{words}</sup>", height=520)
    return figure.update_layout(legend={"y": -0.15})


def score_text(scores: Mapping[str, object], name: str) -> str:
    """One score and its interval: "MAE 3.10 [2.80, 3.42]"; "not defined" where it is none."""
    value, interval = scores[name], scores.get(f"{name}_interval")
    if not isinstance(value, float) or not np.isfinite(value):
        return f"{name} not defined"
    limits = "" if not isinstance(interval, list) else " [{:.2f}, {:.2f}]".format(*interval)
    return f"{name} {value:.2f}{limits}"


def residual_figure(table: pd.DataFrame) -> go.Figure:
    """Judge minus label in bands of 10 percent of labelled LVEF."""
    residual = table["lvef_predicted"] - table["lvef_percent"]
    low = (table["lvef_percent"] // BAND * BAND).clip(0, 100 - BAND).astype(int)
    figure = go.Figure()
    for start in sorted(low.unique()):
        values = residual[low == start]
        figure.add_box(
            y=values,
            name=f"{start}-{start + BAND}<br>n = {len(values)}",
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            marker={"size": 4, "opacity": 0.5, "color": COLOURS[0]},
            line={"width": 1.5},
            showlegend=False,
        )
    figure.add_hline(y=0, line={"dash": "dot", "color": "#888888"})
    figure.update_xaxes(title="LVEF by label (percent)")
    figure.update_yaxes(title="judge - label (points)")
    return look(figure, "Where the judge errs")


def liveliest_row(video: Tensor) -> int:
    """The row of (C, T, H, W) whose intensities change most over time, in the middle half."""
    height = video.shape[2]
    change = reduce(video.float().var(dim=1), "c h w -> h", "mean")
    smooth = torch.nn.functional.avg_pool1d(change[None], 3, 1, 1, count_include_pad=False)[0]
    inner = smooth[height // 4 : height - height // 4]
    return height // 4 + int(inner.argmax())


def m_mode_figure(
    videos: Sequence[Frames], labels: Sequence[str], row: int, fps: float
) -> go.Figure:
    """One line of pixels across the heart over time, a panel a clip.

    videos: uint8 (T, H, W, C) each; row: which line of pixels; time runs to the right.
    """
    figure = make_subplots(1, len(videos), subplot_titles=list(labels), shared_yaxes=True)
    for column, video in enumerate(videos, 1):
        lines = rearrange(video[:, row].mean(axis=-1).round().astype(np.uint8), "t w -> w t")
        figure.add_heatmap(
            z=lines,
            x=np.arange(len(video)) / fps,
            zmin=0,
            zmax=255,
            colorscale="gray",
            showscale=False,
            hoverinfo="skip",
            row=1,
            col=column,
        )
        figure.update_xaxes(title="time (s)", row=1, col=column)
    figure.update_yaxes(title=f"pixel along row {row}", row=1, col=1)
    return look(figure, "The same line of pixels over time (M-mode)", height=360)


def texture(videos: Tensor) -> NDArray[np.float64]:
    """Standard deviation of what a 3 x 3 mean leaves of the frames: (B, C, T, H, W) -> (B,)."""
    frames = rearrange(videos.float(), "b c t h w -> (b t) c h w")
    mean = torch.nn.functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)
    energy = reduce((frames - mean) ** 2, "(b t) c h w -> b", "mean", b=len(videos))
    return energy.sqrt().double().cpu().numpy()


def sharpness_table(videos: Mapping[str, Tensor], real: str) -> pd.DataFrame:
    """Texture and frame difference of sets of clips, as ratios to those of the set `real`.

    videos: name -> (B, C, T, H, W) in [-1, 1], B of at least 2, all of one size and frame rate.
    Columns: clips, measure, ratio, low, high (95 % bootstrap interval over clips).
    """
    measures = {"texture": texture, "frame difference": frame_difference}
    rows = []
    for measure, compute in measures.items():
        truth = compute(videos[real])
        for name, clips in videos.items():
            found = ratio_to_real(compute(clips), truth)
            limits = (found.interval.low, found.interval.high)
            rows.append((name, measure, found.value, *limits))
    return pd.DataFrame(rows, columns=["clips", "measure", "ratio", "low", "high"])


def sharpness_figure(table: pd.DataFrame) -> go.Figure:
    """Bars of a `sharpness_table`, 1 being as in real clips."""
    figure = go.Figure()
    for name, rows in table.groupby("clips", sort=False):
        figure.add_bar(
            x=rows["measure"],
            y=rows["ratio"],
            name=str(name),
            error_y={
                "array": rows["high"] - rows["ratio"],
                "arrayminus": rows["ratio"] - rows["low"],
                "symmetric": False,
            },
        )
    figure.add_hline(y=1, line={"dash": "dot", "color": "#888888"})
    figure.update_yaxes(title="ratio to real clips", rangemode="tozero")
    return look(figure, "Fine texture and motion, relative to real clips", height=380)
