"""Figures of notebook 09: what was planned, what was kept, and whether it helps."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from echocascade.data.decode import read_frames
from echocascade.data.echonet import read_file_list
from echocascade.report.headlines import with_minus
from echocascade.report.media import ClipRow, clip_html
from echocascade.report.sampling_figures import QUIET, new_figure
from echocascade.report.theory_figures import COLOURS
from echocascade.studies.rebalancing.analysis import (
    NOISE,
    REAL_GAIN,
    REAL_LOSS,
    REFERENCES,
    spell_out,
)
from echocascade.studies.rebalancing.folder import GeneratedFolder
from echocascade.studies.rebalancing.plan import Bins

# FACTS Sec. 6: Reynaud23 Sec. 3, R2 on a balanced validation set of EchoNet-Dynamic
PAPER = (("790 real", 790, 0.0, 0.56), ("790, half of them generated", 790, 0.5, 0.59))
VERDICT_COLOURS = {NOISE: QUIET, REAL_GAIN: COLOURS[2], REAL_LOSS: COLOURS[1]}
VERDICT_NAMES = {
    NOISE: "within noise", REAL_GAIN: "better, beyond noise", REAL_LOSS: "worse, beyond noise"
}  # fmt: skip
PASSED = "kept"
SPREAD = 0.035  # of a decade: arms of one size stand side by side


def plan_figure(bins: pd.DataFrame) -> go.Figure:
    """Real clips of every LVEF bin and what is generated on top; `bins` as `Plan.bins`."""
    n = int(bins["generate"].sum())
    figure = new_figure(f"{int(bins['real'].sum())} real clips, {n} to generate", 1)
    middle, width = (bins["low"] + bins["high"]) / 2, bins["high"] - bins["low"]
    for column, name, colour in (
        ("real", "real TRAIN clips", COLOURS[0]), ("generate", "to generate", COLOURS[5])
    ):  # fmt: skip
        figure.add_bar(x=middle, y=bins[column], width=width, name=name, marker_color=colour)
    figure.update_layout(barmode="stack", bargap=0)
    figure.update_xaxes(title="LVEF, %")
    figure.update_yaxes(title="clips a bin")
    return figure


def request_figure(provenance: pd.DataFrame) -> go.Figure:
    """Requested against estimated LVEF of every draw: kept, or why not."""
    kept = int(provenance["kept"].sum())
    figure = new_figure(f"{len(provenance)} draws, {kept} kept", 1, height=480)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="as requested", hoverinfo="skip",
        line={"width": 1, "dash": "dot", "color": QUIET},
    )  # fmt: skip
    what = provenance["reason"].mask(provenance["kept"], PASSED)
    order = [PASSED, *sorted(set(what) - {PASSED})]
    for colour, name in zip((COLOURS[2], *COLOURS[:2], *COLOURS[3:]), order, strict=False):
        rows = provenance[what == name]
        figure.add_scatter(
            x=rows["lvef_requested"], y=rows["lvef_estimated"], mode="markers", name=name,
            marker={"size": 7, "opacity": 0.65, "color": colour},
            text=[f"{f}, draw {d}" for f, d in zip(rows["FileName"], rows["draw"], strict=True)],
        )  # fmt: skip
    figure.update_xaxes(title="requested LVEF, %", range=[0, 100])
    figure.update_yaxes(title="estimated LVEF, %", range=[0, 100])
    return figure


def kept_table(provenance: pd.DataFrame, low: float, high: float, width: float) -> pd.DataFrame:
    """Targets, draws and what was kept in bands of requested LVEF, and how far off it is."""
    bands = Bins.regular(low, high, width)
    place = bands.nearest(provenance["lvef_requested"])
    error = (provenance["lvef_estimated"] - provenance["lvef_requested"]).abs()
    rows = []
    for i, (start, end) in enumerate(zip(bands.low, bands.high, strict=True)):
        inside = provenance[place == i]
        kept = inside[inside["kept"]]
        rows.append(
            {
                "requested LVEF": f"{start:g} to {end:g} %", "targets": inside["target"].nunique(),
                "draws": len(inside), "kept": len(kept),
                "error of all draws, points": error[inside.index].mean(),
                "error of kept, points": error[kept.index].mean(),
                "patients": kept["anatomy"].nunique(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def bands_table(bands: pd.DataFrame) -> pd.DataFrame:
    """The bands of the held-out set in words; `bands` as `HeldOut.bands`."""
    names = [
        f"{low:g} to {high:g} %" for low, high in zip(bands["low"], bands["high"], strict=True)
    ]
    return pd.DataFrame({"LVEF": names, "clips used": bands["n"], "clips there": bands["there"]})


def curve_figure(table: pd.DataFrame, n_all: int, labels: str) -> go.Figure:
    """R2 over the size of the training set, a line an arm with intervals; `n_all`: all real clips.

    The last point of a line is all real clips (with all generated ones where it has any).
    """
    shown = table[(table["labels"] == labels) | (table["labels"] == "")]
    figure = new_figure("One balanced test set of real clips", 1, height=480)
    names = _lines(shown)
    for i, (name, rows) in enumerate(names.items()):
        rows = rows.sort_values("size", key=lambda s: s.mask(s == 0, np.inf))
        size = rows["size"].mask(rows["size"] == 0, n_all).astype(float)
        place = size * 10 ** (SPREAD * (i - (len(names) - 1) / 2))
        quiet = name == "real"
        figure.add_scatter(
            x=place, y=rows["R2"], name=name, mode="lines+markers",
            line={"width": 4 if quiet else 2, "color": "#222222" if quiet else COLOURS[i - 1]},
            marker={"size": 8}, error_y=_bars(rows, "R2"),
            text=[f"{arm}: {n:.0f}" for arm, n in zip(rows["arm"], size, strict=True)],
        )  # fmt: skip
    sizes = [*sorted({int(n) for n in table["size"] if n}), n_all]
    ticks = [*map(str, sizes[:-1]), f"all {n_all}"]
    figure.update_xaxes(
        title="clips in the training set", type="log", tickvals=sizes, ticktext=ticks
    )
    figure.update_yaxes(title="R² on real held-out clips")
    return figure


def _lines(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by line: the arms of all sizes, and "real + all generated" as the end of its own."""
    name = table["arm"].where(table["method"] != "generated", table["arm"].str.split(",").str[0])
    return {str(key): rows for key, rows in table.groupby(name, sort=False)}


def gain_figure(table: pd.DataFrame) -> go.Figure:
    """R2 over real clips alone and over oversampled ones, with intervals coloured by verdict.

    The title says what of it is more than noise.
    """
    rows = table[table["gain verdict"] != ""].iloc[::-1]
    names = ["than real clips alone", "than real clips, oversampled"]
    figure = new_figure("", 2, names, height=200 + 24 * len(rows))
    labels = [f"{n or 'all'} · {arm}" for n, arm in zip(rows["size"], rows["arm"], strict=True)]
    for column, name in enumerate(REFERENCES, start=1):
        for verdict, colour in VERDICT_COLOURS.items():
            here = (rows[f"{name} verdict"] == verdict).to_numpy()
            figure.add_scatter(
                x=rows.loc[here, name], y=np.array(labels)[here], mode="markers",
                name=VERDICT_NAMES[verdict], marker={"size": 9, "color": colour},
                error_x=_bars(rows[here], name, colour), showlegend=column == 1,
                row=1, col=column,
            )  # fmt: skip
        figure.add_vline(x=0, line={"width": 1, "dash": "dot", "color": QUIET}, row=1, col=column)
        figure.update_yaxes(
            categoryorder="array", categoryarray=labels, automargin=True, tickfont={"size": 11},
            range=[-0.7, len(labels) - 0.3], showticklabels=column == 1, row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(title="R² more", row=1, col=column)
    title = "<br>".join(_wrapped(spell_out(table)))
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "y": 0.98, "yanchor": "top"}, margin={"t": 135},
        legend={"y": -70 / (80 + 24 * len(rows))},
    )  # fmt: skip
    return figure


def _wrapped(text: str, width: int = 95) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _bars(rows: pd.DataFrame, name: str, colour: str | None = None) -> dict[str, object]:
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": colour,
        "array": rows[f"{name} high"] - rows[name], "arrayminus": rows[name] - rows[f"{name} low"],
    }  # fmt: skip


def band_figure(bands: pd.DataFrame, size: int, labels: str) -> go.Figure:
    """Mean absolute error by LVEF band at one size, a line an arm; `bands`: `error_by_band`."""
    here = bands[(bands["size"] == size) & ~bands["key"].str.endswith(_other(labels))]
    here = here[here["n"] > 0]
    title = f"Where the error lies, {size} clips" if size else "Where the error lies, all clips"
    figure = new_figure(title, 1)
    for i, (name, rows) in enumerate(here.groupby("arm", sort=False)):
        quiet = name == "real"
        figure.add_scatter(
            x=(rows["low"] + rows["high"]) / 2, y=rows["MAE"], name=str(name),
            mode="lines+markers", marker={"size": 8},
            line={"width": 4 if quiet else 2, "color": "#222222" if quiet else COLOURS[i - 1]},
        )  # fmt: skip
    figure.update_xaxes(title="LVEF by label, %")
    figure.update_yaxes(title="mean error, points", rangemode="tozero")
    return figure


def _other(labels: str) -> str:
    return ".estimated" if labels == "requested" else ".requested"


def label_figure(table: pd.DataFrame) -> go.Figure:
    """R2 of half-generated sets, and of all clips, labelled as requested and as estimated."""
    generated = table[table["method"] == "generated"]
    half = generated[(generated["share"] == 0.5) | (generated["size"] == 0)]
    figure = new_figure("The same clips under two labels", 1)
    for colour, (kind, rows) in zip(COLOURS, half.groupby("labels", sort=False), strict=False):
        names = [f"{size}, half generated" if size else "all + generated" for size in rows["size"]]
        figure.add_scatter(
            x=names, y=rows["R2"], mode="markers", name=f"labelled as {kind}",
            marker={"size": 11, "color": colour}, error_y=_bars(rows, "R2", colour),
        )  # fmt: skip
    figure.update_layout(scattermode="group", scattergap=0.7)
    figure.update_yaxes(title="R² on real held-out clips")
    return figure


def paper_table(table: pd.DataFrame, labels: str, data: str) -> pd.DataFrame:
    """The paper's two numbers, and this run's real and half-generated sets in the same columns."""
    rows: list[dict[str, object]] = [
        {"training set": name, "R2": r2, "stands on": "EchoNet-Dynamic, one number, no interval"}
        for name, _, _, r2 in PAPER
    ]
    ours = table[
        (table["method"] == "real")
        | ((table["labels"] == labels) & (table["share"] == 0.5))
        | ((table["labels"] == labels) & (table["size"] == 0))
    ]
    for row in ours.to_dict("records"):
        size = row["size"] or "all"
        interval = f"{row['R2 low']:.2f} to {row['R2 high']:.2f}"
        rows.append(
            {
                "training set": f"this run: {size}, {row['arm']}", "R2": row["R2"],
                "interval": with_minus(interval).replace("nan to nan", "–"),
                "stands on": f"{data}, {row['n_seeds']} repetitions",
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["training set", "R2", "interval", "stands on"])


def generated_clips(folder: GeneratedFolder, rows: pd.DataFrame) -> ClipRow:
    """Kept clips as their files hold them, with what was asked for and what is read in them."""
    places = read_file_list(folder.root).set_index("FileName")["path"]
    labels = [
        f"asked {asked:.0f} %, read {read:.0f} %"
        for asked, read in zip(rows["lvef_requested"], rows["lvef_estimated"], strict=True)
    ]
    return clip_html(
        [read_frames(places[name], 1) for name in rows["FileName"]],
        float(folder.facts["fps"]), labels,
    )  # fmt: skip


def spread_over(rows: pd.DataFrame, column: str, n: int) -> pd.DataFrame:
    """`n` rows from the least to the largest of a column; all of them where there are fewer."""
    ordered = rows.sort_values(column, kind="stable")
    places: list[int] = np.unique(np.linspace(0, len(rows) - 1, n).round().astype(int)).tolist()
    return ordered.iloc[places] if len(rows) else ordered
