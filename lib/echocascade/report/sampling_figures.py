"""Figures of notebook 06: guidance, solvers, one patient at several LVEFs."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from einops import rearrange
from plotly.subplots import make_subplots

from echocascade.report.theory_figures import COLOURS
from echocascade.studies.sampling import Hearts

QUIET = "#888888"  # identity lines, references, what stands behind


def new_figure(
    title: str, n_columns: int, names: Sequence[str] = (), height: int = 420
) -> go.Figure:
    """An empty figure of `n_columns` panels side by side in the common look."""
    figure = make_subplots(
        1, n_columns, subplot_titles=list(names) or None, horizontal_spacing=0.08
    )
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 16}},
        font={"size": 13},
        height=height,
        legend={"orientation": "h", "y": -0.22},
        margin={"l": 60, "r": 20, "t": 80 if names else 55, "b": 55},
        colorway=COLOURS,
        hovermode="closest",
    )
    return figure


def guidance_figure(table: pd.DataFrame) -> go.Figure:
    """R2, slope and correlation of `guidance.choose_guidance` over the scale, the choice marked."""
    figure = new_figure("Guidance on validation clips", 1)
    names = {"R2": "R²", "slope": "slope", "r": "correlation r"}
    for column, name in names.items():
        figure.add_scatter(
            x=table["scale"], y=table[column], name=name, mode="lines+markers", line={"width": 3},
            marker={"size": 8},
        )  # fmt: skip
    figure.add_hline(y=1, line={"width": 1, "dash": "dot", "color": QUIET})
    for scale in table.loc[table["chosen"], "scale"]:
        figure.add_vline(
            x=scale, line={"width": 2, "dash": "dash", "color": QUIET},
            annotation_text=f"chosen: {scale:g}", annotation_position="bottom right",
        )  # fmt: skip
    figure.update_xaxes(title="guidance scale (1 is none)")
    return figure


def slider_figure(hearts: Hearts) -> go.Figure:
    """A slider over the requested LVEF: the fullest and the emptiest frame, and the area curve."""
    panels = ["fullest frame", "emptiest frame", "cavity area by segmentation"]
    figure = new_figure("One patient, one noise: slide the LVEF", 3, panels, height=460)
    curves = [area_curve(hearts, i) for i in range(len(hearts.videos))]
    seconds = np.arange(hearts.videos.shape[1]) / hearts.fps
    for curve in curves:
        line = {"width": 1, "color": "rgba(136,136,136,0.45)"}
        figure.add_scatter(
            x=seconds, y=curve, mode="lines", line=line, hoverinfo="skip", showlegend=False,
            row=1, col=3,
        )  # fmt: skip
    for video, curve in zip(hearts.videos, curves, strict=True):
        for column, frame in enumerate(extreme_frames(video, curve), start=1):
            figure.add_trace(go.Image(source=png_source(frame), hoverinfo="skip"), 1, column)
        figure.add_scatter(
            x=seconds, y=curve, mode="lines+markers", line={"width": 3, "color": COLOURS[1]},
            showlegend=False, row=1, col=3,
        )  # fmt: skip
    first = len(hearts.videos) // 2
    figure.update_layout(sliders=[_slider(hearts, first)], margin={"b": 110})
    _show_only(figure, len(hearts.videos), first)
    for column in (1, 2):
        figure.update_xaxes(visible=False, row=1, col=column)
        figure.update_yaxes(visible=False, row=1, col=column)
    figure.update_xaxes(title="seconds", row=1, col=3)
    figure.update_yaxes(title="share of the frame, %", rangemode="tozero", row=1, col=3)
    return figure


def _slider(hearts: Hearts, active: int) -> dict[str, object]:
    n = len(hearts.videos)
    steps = [
        {"label": f"{asked:g} %", "method": "restyle", "args": [{"visible": _visible(n, i)}]}
        for i, asked in enumerate(hearts.lvef_percent)
    ]
    return {
        "active": active, "steps": steps, "pad": {"t": 45},
        "currentvalue": {"prefix": "requested LVEF: "},
    }  # fmt: skip


def _visible(n: int, chosen: int) -> list[bool]:
    """n curves always, then three traces a heart of which one heart's show."""
    return [True] * n + [i == chosen for i in range(n) for _ in range(3)]


def _show_only(figure: go.Figure, n: int, chosen: int) -> None:
    for trace, shown in zip(figure.data, _visible(n, chosen), strict=True):
        trace.visible = shown


def area_curve(hearts: Hearts, index: int) -> np.ndarray:
    """Cavity area over time in percent of the frame (T,); NaN where the stick cannot read."""
    height, width = hearts.videos.shape[2:4]
    area = np.asarray(hearts.stick[index].area, dtype=float)
    return 100 * area / (height * width)


def extreme_frames(video: np.ndarray, curve: np.ndarray) -> list[np.ndarray]:
    """The frames of the largest and the smallest area; first and middle where no area is known."""
    known = np.isfinite(curve).any()
    places = (int(np.nanargmax(curve)), int(np.nanargmin(curve))) if known else (0, len(video) // 2)
    return [video[place] for place in places]


def strip_figure(videos: np.ndarray, labels: Sequence[str], n_columns: int = 8) -> go.Figure:
    """Evenly spaced frames of clips uint8 (N, T, H, W, C), one clip a row."""
    places = np.linspace(0, videos.shape[1] - 1, n_columns).round().astype(int)
    picture = rearrange(videos[:, places], "n t h w c -> (n h) (t w) c")
    height = videos.shape[2]
    figure = new_figure("", 1, height=60 + 118 * len(videos))
    figure.add_trace(go.Image(source=png_source(picture), hoverinfo="skip"))
    figure.update_layout(margin={"l": 90, "r": 10, "t": 10, "b": 30})
    middles = [(i + 0.5) * height for i in range(len(videos))]
    figure.update_yaxes(tickvals=middles, ticktext=list(labels), showgrid=False, zeroline=False)
    figure.update_xaxes(visible=False)
    return figure


def png_source(image: np.ndarray) -> str:
    """uint8 (H, W, 1 or 3) RGB as a data URI."""
    done, png = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise ValueError(f"an image of shape {image.shape} could not be encoded as PNG")
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode("ascii")
