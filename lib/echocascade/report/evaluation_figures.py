"""Figures of notebooks 07 and 00: requested against measured LVEF, scores, pictures, cases."""

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from einops import rearrange, repeat

from echocascade.report.media import ClipRow, clip_html
from echocascade.report.paper import TABLE_1
from echocascade.report.sampling_figures import QUIET, new_figure
from echocascade.report.theory_figures import COLOURS
from echocascade.studies.guidance import agreement_of_read

TASK_NAMES = {"generation": "counterfactual (random LVEF)", "reconstruction": "factual (own LVEF)"}
JUDGE_COLUMNS = {"regressor": "lvef_measured", "stick": "lvef_stick"}
KINDS = {"measured": "this run", "chance": "requests shuffled", "ceiling": "judge on real clips"}
FLOOR = -2.0  # of the R2 axis: below it all scores are equally useless
GAP = 3  # pixels between the pictures of a case, dark


def scatter_figure(table: pd.DataFrame, judge: str) -> go.Figure:
    """Requested against measured LVEF, a panel a task, with the identity and the fitted line."""
    column = JUDGE_COLUMNS[judge]
    agreements = {task: _agreement(table, task, column) for task in TASK_NAMES}
    titles = [f"{name}<br>{_numbers(agreements[task])}" for task, name in TASK_NAMES.items()]
    figure = new_figure(f"Measured by the {judge}", 2, titles, height=520)
    for place, task in enumerate(TASK_NAMES, start=1):
        rows = table[table["task"] == task]
        figure.add_scatter(
            x=[0, 100], y=[0, 100], mode="lines", line={"width": 1, "dash": "dot", "color": QUIET},
            name="identity", hoverinfo="skip", showlegend=place == 1, row=1, col=place,
        )  # fmt: skip
        figure.add_scatter(
            x=rows["lvef_requested"], y=rows[column], mode="markers", name="a generated clip",
            marker={"size": 6, "opacity": 0.6, "color": COLOURS[0]}, showlegend=place == 1,
            text=[f"{name}, draw {draw}" for name, draw in
                  zip(rows["FileName"], rows["draw"], strict=True)],
            row=1, col=place,
        )  # fmt: skip
        ends, line = _fitted_line(rows, column, agreements[task])
        figure.add_scatter(
            x=ends, y=line, mode="lines", line={"width": 3, "color": COLOURS[1]}, hoverinfo="skip",
            name="fitted line", showlegend=place == 1, row=1, col=place,
        )  # fmt: skip
        figure.update_xaxes(title="requested LVEF, %", range=[0, 100], row=1, col=place)
    figure.update_yaxes(title="measured LVEF, %", row=1, col=1)
    figure.update_layout(margin={"t": 100}, legend={"y": -0.18})
    return figure


def _agreement(table: pd.DataFrame, task: str, column: str) -> dict[str, float]:
    rows = table[table["task"] == task]
    return agreement_of_read(rows["lvef_requested"].to_numpy(), rows[column].to_numpy(float))


def _numbers(found: Mapping[str, float]) -> str:
    fit = f"R² {found['R2']:.2f}, slope {found['slope']:.2f}"
    text = f"{fit}, bias {found['bias']:+.1f}, r {found['r']:.2f}"
    return text.replace("-", "−").replace("nan", "–")


def _fitted_line(
    rows: pd.DataFrame, column: str, found: Mapping[str, float]
) -> tuple[list[float], list[float]]:
    """Both ends of the least-squares line; nothing where its slope is undefined."""
    read = rows[rows[column].notna()]
    if not np.isfinite(found["slope"]):
        return [], []
    middle = float(read["lvef_requested"].mean())
    ends = [float(read["lvef_requested"].min()), float(read["lvef_requested"].max())]
    return ends, [middle + found["bias"] + found["slope"] * (x - middle) for x in ends]


def agreement_table(table: pd.DataFrame) -> pd.DataFrame:
    """Agreement of every draw, a row a task and judge; NaN where a score is undefined."""
    rows = []
    for task, name in TASK_NAMES.items():
        for judge, column in JUDGE_COLUMNS.items():
            wanted = table.loc[table["task"] == task, column]
            row = {"task": name, "judge": judge, "read": f"{wanted.notna().sum()} of {len(wanted)}"}
            rows.append(row | _agreement(table, task, column))
    return pd.DataFrame(rows)


def score_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """`scoring.score_rows` with chance and ceiling as columns beside the score, a row a rule."""
    keys = ["task", "answer", "rule"]
    measured = rows[rows["kind"] == "measured"].drop(columns="kind")
    for kind, name in (("chance", "R2 by chance"), ("ceiling", "R2 ceiling")):
        other = rows.loc[rows["kind"] == kind, [*keys, "R2"]].rename(columns={"R2": name})
        measured = measured.merge(other, on=keys, how="left")
    return measured.dropna(axis="columns", how="all")


def score_figure(rows: pd.DataFrame, task: str) -> go.Figure:
    """R2 of `scoring.score_rows` with intervals: answers and rules, chance and ceiling beside.

    The axis ends at FLOOR; a triangle marks a score below it.
    """
    figure = new_figure(f"R² of {TASK_NAMES[task]} clips", 1, height=440)
    rows = rows[rows["task"] == task]
    for colour, (kind, name) in zip(COLOURS, KINDS.items(), strict=False):
        shown = rows[rows["kind"] == kind]
        if shown.empty:
            continue
        labels = [f"{a}<br>{r}" for a, r in zip(shown["answer"], shown["rule"], strict=True)]
        below = pd.to_numeric(shown["R2"]) < FLOOR
        symbols = ["triangle-down" if low else "circle" for low in below]
        figure.add_scatter(
            x=labels, y=pd.to_numeric(shown["R2"]).clip(lower=FLOOR), mode="markers", name=name,
            marker={"size": 11, "color": colour, "symbol": symbols},
            error_y=_error_bars(shown, colour), text=[f"R² {r2:.2f}" for r2 in shown["R2"]],
        )  # fmt: skip
    published = [row.R2 for row in TABLE_1 if row.task == task]
    figure.add_hrect(
        y0=min(published), y1=max(published), line_width=0, fillcolor=QUIET, opacity=0.15,
        exclude_empty_subplots=False, annotation_text="the paper's three cascades",
        annotation_position="bottom right",
    )  # fmt: skip
    figure.update_layout(scattermode="group", scattergap=0.7)
    figure.update_yaxes(title="R²", range=[FLOOR - 0.1, 1.1])
    return figure


def _error_bars(rows: pd.DataFrame, colour: str) -> dict[str, object]:
    value = pd.to_numeric(rows["R2"]).clip(lower=FLOOR)
    low, high = (pd.to_numeric(rows[f"R2 {end}"]).clip(lower=FLOOR) for end in ("low", "high"))
    return {
        "type": "data", "symmetric": False, "color": colour,
        "array": high - value, "arrayminus": value - low,
    }  # fmt: skip


def picture_figure(ratios: pd.DataFrame) -> go.Figure:
    """Texture and frame-to-frame change of `controls.picture_ratios`, 1 is as real."""
    figure = new_figure("Pictures beside real ones", 1, height=380)
    for colour, (maker, rows) in zip(COLOURS, ratios.groupby("maker", sort=False), strict=False):
        bars = {
            "type": "data", "symmetric": False, "array": rows["high"] - rows["ratio"],
            "arrayminus": rows["ratio"] - rows["low"],
        }  # fmt: skip
        figure.add_bar(
            x=rows["measure"], y=rows["ratio"], name=str(maker), error_y=bars,
            marker={"color": colour},
        )  # fmt: skip
    figure.add_hline(
        y=1, line={"width": 1, "dash": "dot", "color": QUIET}, annotation_text="as real"
    )
    figure.update_yaxes(title="generated / real", rangemode="tozero")
    figure.update_layout(barmode="group")
    return figure


def case_clips(
    cases: pd.DataFrame, frames: np.ndarray, generated: np.ndarray, real: np.ndarray, fps: float
) -> ClipRow:
    """A card a case: conditioning frame, generated clip and real clip side by side, in step.

    cases: rows of `scoring.pick_cases`; frames uint8 (N, H, W, C); generated, real uint8
    (N, T, H, W, C).
    """
    still = repeat(frames, "n h w c -> n t h w c", t=generated.shape[1])
    parts = [np.pad(v, ((0, 0),) * 3 + ((0, GAP), (0, 0))) for v in (still, generated, real)]
    clips = rearrange(np.stack(parts), "k n t h w c -> n t h (k w) c")[..., :-GAP, :]
    clips = repeat(clips, "n t h w c -> n t (h p) (w q) c", p=2, q=2)
    labels = [case_label(row) for row in cases.to_dict("records")]
    return clip_html([_even(clip) for clip in clips], fps, labels, width=318)


def case_label(row: Mapping[Hashable, object]) -> str:
    """What a case shows: which, what was asked, what the judges read."""
    asked, measured = f"{row['lvef_requested']:.0f} %", f"{row['lvef_measured']:.0f} %"
    return f"{row['case']}: asked {asked}, measured {measured}, real {row['lvef_true']:.0f} %"


def _even(clip: np.ndarray) -> np.ndarray:
    """Height and width cut to even numbers, as H.264 needs them."""
    return clip[:, : clip.shape[1] // 2 * 2, : clip.shape[2] // 2 * 2]
