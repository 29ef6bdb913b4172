"""Figures of notebook 02: the claims of Karras22 Table 1 on a mixture with a known denoiser."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from echocascade.diffusion import GaussianMixture, Trajectory

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette: told apart also by colour-blind readers and in grey print."""

SAMPLER_NAMES = {"euler": "Euler", "heun": "Heun", "dpmpp_2m": "DPM-Solver++(2M)"}


def _figure(title: str, x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    """An empty figure in the common look."""
    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 16}},
        font={"size": 13},
        height=420,
        legend={"orientation": "h", "y": -0.22},
        margin={"l": 70, "r": 20, "t": 55, "b": 55},
        colorway=COLOURS,
        hovermode="closest",
    )
    for update, name, is_log in (
        (figure.update_xaxes, x, log_x),
        (figure.update_yaxes, y, log_y),
    ):
        update(title=name, type="log" if is_log else "linear", exponentformat="power")
        if is_log:
            update(minor={"showgrid": True, "ticks": "inside"}, dtick=1)
    return figure


def _add_curves(
    figure: go.Figure, table: pd.DataFrame, x: str, names: Mapping[str, str], dash: Sequence[str]
) -> None:
    """One line for each named column of the table; names: column -> legend."""
    for (column, legend), style in zip(names.items(), dash, strict=True):
        figure.add_scatter(
            x=table[x], y=table[column], name=legend, mode="lines", line={"width": 3, "dash": style}
        )


def unit_variance_figure(table: pd.DataFrame) -> go.Figure:
    """Standard deviations of `theory.scale_table` over sigma."""
    figure = _figure(
        "What the network sees has unit variance at every noise level",
        "noise level sigma",
        "standard deviation",
        log_x=True,
        log_y=True,
    )
    names = {
        "noisy": "noisy signal y + n, unscaled",
        "input": "network input c_in (y + n)",
        "target": "network target (y - c_skip x) / c_out",
    }
    _add_curves(figure, table, "sigma", names, ["dot", "solid", "dash"])
    return figure


def loss_weight_figure(table: pd.DataFrame) -> go.Figure:
    """Losses of `theory.loss_table` over sigma, with the density of the training noise levels."""
    figure = _figure(
        "The weight lambda(sigma) flattens the loss; training samples where it can fall",
        "noise level sigma",
        "expected loss",
        log_x=True,
    )
    names = {
        "untrained": "weighted loss, untrained (F = 0)",
        "perfect": "weighted loss, perfect denoiser",
    }
    _add_curves(figure, table, "sigma", names, ["solid", "solid"])
    figure.add_scatter(
        x=table.sigma,
        y=table.unweighted / table.unweighted.max(),
        name="unweighted loss, untrained (largest = 1)",
        mode="lines",
        line={"width": 3, "dash": "dot"},
    )
    figure.add_scatter(
        x=table.sigma,
        y=table.density,
        name="density of ln(sigma) in training",
        mode="lines",
        fill="tozeroy",
        line={"width": 1},
    )
    return figure


def schedule_figure(schedules: Mapping[float, Tensor]) -> go.Figure:
    """Noise levels over the step index; schedules: rho -> karras_sigmas (steps + 1,)."""
    figure = _figure("rho decides where the steps go", "step i", "noise level sigma_i", log_y=True)
    for rho, sigmas in schedules.items():
        figure.add_scatter(
            y=sigmas[:-1].tolist(), name=f"rho = {rho:g}", mode="lines+markers", line={"width": 2}
        )
    return figure


def rho_error_figure(table: pd.DataFrame) -> go.Figure:
    """Errors of a `theory.solver_table` over rho, a curve for each sampler."""
    steps = int(table.steps.iloc[0])
    figure = _figure(
        f"Error of a run of {steps} steps against rho", "rho", "error (rms, units of x)", log_y=True
    )
    for name, rows in table.groupby("sampler", sort=False):
        figure.add_scatter(
            x=rows.rho, y=rows.error, name=SAMPLER_NAMES[str(name)], mode="lines+markers"
        )
    return figure


def trajectory_figure(mixture: GaussianMixture, trajectory: Trajectory) -> go.Figure:
    """Paths of a sampler through the density of a 1-d mixture, both scaled to unit variance.

    The background is p(x; sigma), each column scaled to its own largest value.
    """
    figure = _figure(
        "From noise to the three modes: trajectories through p(x; sigma)",
        "noise level sigma (falls to the right)",
        "x / sqrt(sigma^2 + sigma_data^2)",
        log_x=True,
    )
    levels = np.array(trajectory.sigmas)
    kept = levels > 0
    scale = np.sqrt(levels[kept] ** 2 + mixture.sigma_data**2)
    height = torch.linspace(-3, 3, 241, dtype=mixture.means.dtype)
    columns = [
        mixture.log_density(height[:, None] * s, torch.tensor(level)).numpy()
        for level, s in zip(levels[kept], scale, strict=True)
    ]
    density = np.exp([column - column.max() for column in columns])
    figure.add_heatmap(
        x=levels[kept], y=height.numpy(), z=density.T, colorscale="Blues", showscale=False
    )
    states = torch.stack(trajectory.states).squeeze(2).numpy()[kept] / scale[:, None]
    for path in states.T:
        figure.add_scatter(
            x=levels[kept],
            y=path,
            mode="lines",
            showlegend=False,
            line={"width": 1.3, "color": COLOURS[1]},
        )
    figure.update_xaxes(autorange="reversed")
    return figure


def solver_error_figure(table: pd.DataFrame) -> go.Figure:
    """Error of a `theory.solver_table` over network evaluations, with slopes 1 and 2 as guides."""
    figure = _figure(
        "Error against network evaluations",
        "network evaluations",
        "error (rms, units of x)",
        log_x=True,
        log_y=True,
    )
    for name, rows in table.groupby("sampler", sort=False):
        figure.add_scatter(
            x=rows.evaluations,
            y=rows.error,
            name=SAMPLER_NAMES[str(name)],
            mode="lines+markers",
            line={"width": 3},
        )
    ends = np.array([table.evaluations.min(), table.evaluations.max()], dtype=float)
    for order in (1, 2):
        figure.add_scatter(
            x=ends,
            y=table.error.max() * (ends / ends[0]) ** -order,
            name=f"slope -{order}",
            mode="lines",
            line={"width": 1, "dash": "dot", "color": "#888888"},
        )
    return figure


def churn_figure(table: pd.DataFrame) -> go.Figure:
    """Distance of samples from the data over S_churn, a curve for each denoiser."""
    figure = _figure(
        "What churn corrects, and what it cannot",
        "S_churn",
        "Wasserstein distance to the data",
    )
    figure.update_yaxes(rangemode="tozero")
    for name, rows in table.groupby("denoiser", sort=False):
        figure.add_scatter(
            x=rows.S_churn, y=rows.distance, name=str(name), mode="lines+markers", line={"width": 3}
        )
    return figure


def guidance_figure(samples: pd.DataFrame, mixture: GaussianMixture, k: int) -> go.Figure:
    """Histograms of `theory.guidance_samples`, with the means of the mixture's components."""
    figure = _figure("Guidance pushes past its target and narrows", "x", "density")
    edges = np.linspace(samples.x.min(), samples.x.max(), 61)
    for name, rows in samples.groupby("setting", sort=False):
        density, _ = np.histogram(rows.x, bins=edges, density=True)
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            y=density,
            name=str(name),
            mode="lines",
            line={"width": 2, "shape": "hvh"},
            fill="tozeroy",
        )
    for i, mean in enumerate(mixture.means[:, 0].tolist()):
        label = "wanted component" if i == k else ""
        dash = "solid" if i == k else "dot"
        figure.add_vline(x=mean, line={"width": 1.5, "dash": dash}, annotation_text=label)
    return figure
