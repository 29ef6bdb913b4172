"""Figures of notebook 01: what the data set holds and how it looks beside real clips."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from echocascade.data.clips import ClipStore
from echocascade.data.decode import read_frames
from echocascade.data.echonet import SPLITS, DatasetReport
from echocascade.data.frames import Frames
from echocascade.data.tables import TRACINGS, VIDEOS
from echocascade.data.tracings import scan_tracings
from echocascade.report.data_statistics import BINS, ImageStatistics

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette: told apart also by colour-blind readers and in grey print."""

SPLIT_COLOURS = dict(zip(SPLITS, COLOURS, strict=False))
SHOWN_PROBLEMS = 20


def look(figure: go.Figure, title: str, height: int = 400) -> go.Figure:
    """The common look of a figure of the data and training notebooks."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 16}},
        font={"size": 13},
        height=height,
        legend={"orientation": "h", "y": -0.22},
        margin={"l": 70, "r": 20, "t": 70, "b": 60},
        colorway=COLOURS,
        hovermode="closest",
    )
    return figure


def check_table(report: DatasetReport) -> pd.DataFrame:
    """A data set check as a table with one column, problems by file and row at its end."""
    rows: dict[str, str] = {"usable clips": f"{report.n_clips:,}"}
    rows |= {f"of these in {split}": f"{n:,}" for split, n in report.splits.items()}
    ranges = {"frames per second": report.fps, "duration (s)": report.duration_s}
    for name, limits in ranges.items():
        rows[name] = "-" if limits is None else f"{limits[0]:.4g} to {limits[1]:.4g}"
    rows["problems"] = f"{len(report.problems):,}" if report.problems else "none"
    for problem in report.problems[:SHOWN_PROBLEMS]:
        place = problem.file if problem.row is None else f"{problem.file}, row {problem.row}"
        rows[place] = problem.what
    return pd.DataFrame.from_dict(rows, orient="index", columns=["this data set"])


def lvef_figure(table: pd.DataFrame) -> go.Figure:
    """Clips per band of 5 percent LVEF, one curve a split, as shares of the split.

    table: EF (percent) and Split, as `ClipStore.table`.
    """
    edges = np.arange(0, 105, 5)
    figure = go.Figure()
    for split, colour in SPLIT_COLOURS.items():
        lvef = table.loc[table["Split"] == split, "EF"]
        counts, _ = np.histogram(lvef, edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts / max(len(lvef), 1),
            name=f"{split} ({len(lvef):,})",
            customdata=counts,
            hovertemplate="around %{x:.1f} %: %{customdata} clips<extra></extra>",
            marker={"color": colour, "line": {"width": 0}},
        )
    figure.update_layout(bargap=0.15, bargroupgap=0.02)
    figure.update_xaxes(title="LVEF (percent)", range=[0, 100], dtick=10)
    figure.update_yaxes(title="share of the split", tickformat=".0%")
    return look(figure, "Which hearts the data set holds")


def rate_figure(store: ClipStore, window_s: float) -> go.Figure:
    """Histograms of frame rate and duration, with the store's rate and the window marked."""
    figure = make_subplots(1, 2, subplot_titles=("recorded frame rate", "duration"))
    fps = store.table["source_fps"].to_numpy(float)
    duration = store.table["n_frames"].to_numpy(float) / store.fps
    panels = (
        (fps, "frames per second", store.fps, f"stored: {store.fps:g}", 1.0),
        (duration, "seconds", window_s, f"window: {window_s:g} s", 1 / store.fps),
    )
    for column, (values, name, mark, text, unit) in enumerate(panels, 1):
        low, high = min(values.min(), mark), max(values.max(), mark)
        width = unit * max(1, math.ceil((high - low) / (30 * unit)))
        edges = low - width / 2 + width * np.arange(math.ceil((high - low) / width) + 2)
        counts, _ = np.histogram(values, edges)
        figure.add_bar(
            x=edges[:-1] + width / 2,
            y=counts,
            width=width * 0.92,
            row=1,
            col=column,
            showlegend=False,
            marker={"color": COLOURS[column - 1]},
        )
        figure.add_vline(
            x=mark,
            line={"width": 2, "dash": "dot", "color": COLOURS[3]},
            annotation_text=text,
            row=1,
            col=column,
        )
        figure.update_xaxes(title=name, row=1, col=column)
    figure.update_yaxes(title="clips", row=1, col=1)
    return look(figure, "Frame rates and durations", height=360)


def clips_over_lvef(store: ClipStore, n_clips: int = 5) -> pd.DataFrame:
    """Rows of `store.table` whose LVEF lie at evenly spread quantiles, lowest first."""
    order = np.argsort(store.table["EF"].to_numpy(), kind="stable")
    places = np.linspace(0.02, 0.98, n_clips) * (len(order) - 1)
    chosen = order[np.unique(places.round().astype(int))]
    return store.table.iloc[chosen]


def tracing_figure(store: ClipStore, root: Path) -> go.Figure:
    """A reader's outline of the ventricle at end diastole and end systole of one clip.

    The clip is the one with tracings at two frames whose LVEF is the middle one of them all.
    """
    tracings = scan_tracings(root)[0] if (root / TRACINGS).is_file() else pd.DataFrame()
    figure = make_subplots(1, 2, subplot_titles=("end diastole", "end systole"))
    look(figure, "The traced ventricle", height=430)
    clip = _middle_clip(store, tracings)
    if clip is None:
        figure.add_annotation(text=f"this data set has no {TRACINGS}", showarrow=False)
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        return figure
    frames = read_frames(root / VIDEOS / f"{clip['FileName']}.avi", 1)
    rows = tracings[tracings["FileName"] == clip["FileName"]]
    outlines = {int(frame): _outline(disks) for frame, disks in rows.groupby("Frame", sort=False)}
    ordered = sorted(outlines, key=lambda frame: -_area(outlines[frame]))
    for column, frame in enumerate((ordered[0], ordered[-1]), 1):
        still = frames[min(frame, len(frames) - 1), ..., 0]
        _add_outline(figure, still, outlines[frame], column)
    figure.update_layout(title_text=f"The traced ventricle of a clip with LVEF {clip['EF']:.0f} %")
    return figure


def _middle_clip(store: ClipStore, tracings: pd.DataFrame) -> pd.Series | None:
    if tracings.empty:
        return None
    n_traced = tracings.groupby("FileName")["Frame"].nunique()
    traced = store.table[store.table["FileName"].isin(n_traced.index[n_traced >= 2])]
    if traced.empty:
        return None
    return traced.sort_values(["EF", "FileName"]).iloc[len(traced) // 2]


def _outline(disks: pd.DataFrame) -> np.ndarray:
    """(N, 2) x and y of a closed line: one end of every disk, then back along the other ends."""
    ends = disks[["X1", "Y1", "X2", "Y2"]].to_numpy(float)[1:]  # the first row is the long axis
    return np.concatenate([ends[:, :2], ends[::-1, 2:], ends[:1, :2]])


def _area(outline: np.ndarray) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return 0.5 * abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])))


def _add_outline(figure: go.Figure, still: Frames, outline: np.ndarray, column: int) -> None:
    place = {"row": 1, "col": column}
    figure.add_heatmap(z=still, colorscale="gray", showscale=False, hoverinfo="skip", **place)
    figure.add_scatter(
        x=outline[:, 0],
        y=outline[:, 1],
        mode="lines",
        line={"color": COLOURS[5], "width": 3},
        hoverinfo="skip",
        showlegend=False,
        **place,
    )
    axis = "x" if column == 1 else f"x{column}"
    figure.update_yaxes(autorange="reversed", scaleanchor=axis, visible=False, **place)
    figure.update_xaxes(visible=False, constrain="domain", **place)


def intensity_figure(found: ImageStatistics, real: ImageStatistics) -> go.Figure:
    """Histogram of grey levels inside the sector: this data set and recorded real clips."""
    centres = (np.arange(BINS) + 0.5) * 256 / BINS
    figure = go.Figure()
    _add_pair(figure, centres, found.histogram, real.histogram, _names(found, real), COLOURS[0])
    figure.update_xaxes(title="grey level", range=[0, 256])
    figure.update_yaxes(title="density", type="log", exponentformat="power", dtick=1)
    return look(figure, "How bright the pixels are")


def speckle_figure(found: ImageStatistics, real: ImageStatistics) -> go.Figure:
    """Autocorrelation of speckle along and across the beam, near and far from the probe."""
    figure = make_subplots(
        1, 2, subplot_titles=("near the probe", "far from it"), shared_yaxes=True
    )
    for column, band in enumerate(("near", "far"), 1):
        for direction, colour in zip(("lateral", "axial"), COLOURS, strict=False):
            key = f"{band} {direction}"
            lags = np.arange(len(real.correlation[key]))
            names = [f"{direction}, {name}" for name in _names(found, real)]
            curves = (found.correlation[key], real.correlation[key])
            _add_pair(figure, lags, *curves, names, colour, column, legend=column == 1)
        figure.update_xaxes(title="lag (pixels)", dtick=1, row=1, col=column)
    figure.update_yaxes(title="autocorrelation", row=1, col=1)
    return look(figure, "How large the speckle is")


def _names(found: ImageStatistics, real: ImageStatistics) -> list[str]:
    return [f"this data set ({found.n_clips} clips)", f"real ({real.n_clips} clips)"]


def _add_pair(
    figure: go.Figure,
    x: np.ndarray,
    found: object,
    real: object,
    names: list[str],
    colour: str,
    column: int | None = None,
    *,
    legend: bool = True,
) -> None:
    """A solid line for this data set and a dashed one for real clips."""
    place: Mapping[str, int] = {} if column is None else {"row": 1, "col": column}
    for y, name, dash in zip((found, real), names, ("solid", "dash"), strict=True):
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            mode="lines",
            line={"width": 3, "dash": dash, "color": colour},
            showlegend=legend,
            **place,
        )
