"""Figures of notebook 09: whole with many clips, few, or none, and plain about noise."""

import numpy as np
import pandas as pd
import pytest

from echocascade.report.headlines import present
from echocascade.report.rebalancing_figures import (
    band_figure,
    bands_table,
    curve_figure,
    gain_figure,
    kept_table,
    label_figure,
    paper_table,
    plan_figure,
    request_figure,
    spread_over,
)
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.analysis import Answers, compare, error_by_band
from echocascade.studies.rebalancing.held_out import HeldOut
from echocascade.studies.rebalancing.plan import Bins
from echocascade.studies.rebalancing.sets import Arm


def compared(n: int = 60, sizes=(10, 20), seeds: int = 3, gain: float = 6.0, arms: int = 9):
    """A table and bands of regressors, those with generated clips better by `gain` points."""
    lvef = np.linspace(12, 88, n)
    bins = Bins.regular(10, 90, 20)
    band = bins.find(lvef)
    count = np.bincount(band, minlength=4)
    bands = pd.DataFrame({"low": bins.low, "high": bins.high, "n": count, "there": count})
    held_out = HeldOut(np.arange(n), lvef, band, bands)
    answers = []
    for size in (*sizes, None):
        made = [Arm("generated", size, s, k) for s, k in
                ((0.25, "requested"), (0.5, "requested"), (0.5, "estimated"))] if size else [
                Arm("generated", None, labels=k) for k in ("requested", "estimated")]  # fmt: skip
        both = [Arm("real", size), Arm("oversampled", size), Arm("weighted", size), *made]
        for i, arm in enumerate(both[:arms]):
            error = 12 - gain * (arm.method == "generated")
            rng = numpy_generator(i, f"{size}")
            answers.append(Answers(arm, lvef + error * rng.standard_normal((seeds, n))))
    table = compare(answers, held_out, level=0.95, resamples=100, seed=0)
    return table, error_by_band(answers, held_out), held_out


def provenance_of(n: int) -> pd.DataFrame:
    rng = numpy_generator(0, "provenance")
    asked = rng.uniform(10, 90, n)
    read = asked + rng.normal(0, 8, n)
    kept = np.abs(read - asked) < 10
    return pd.DataFrame(
        {
            "target": range(n), "FileName": [f"G{i}" for i in range(n)], "draw": 0,
            "lvef_requested": asked, "lvef_estimated": read, "anatomy": "p", "kept": kept,
            "reason": np.where(kept, "", "LVEF off the request"),
        }
    )  # fmt: skip


def test_the_plan_shows_every_clip():
    bins = pd.DataFrame({"low": [10, 20], "high": [20, 30], "real": [3, 8], "generate": [5, 0]})
    figure = plan_figure(bins)
    assert [list(bar.y) for bar in figure.data] == [[3, 8], [5, 0]]
    assert "11 real" in figure.layout.title.text and "5 to generate" in figure.layout.title.text


@pytest.mark.parametrize("n", [0, 1, 40])
def test_every_draw_is_a_point_under_its_fate(n):
    provenance = provenance_of(n)
    figure = request_figure(provenance)
    assert sum(len(trace.x) for trace in figure.data[1:]) == n
    table = kept_table(provenance, 10, 90, 20)
    assert table["kept"].sum() == provenance["kept"].sum() and table["draws"].sum() == n


def test_lines_hold_every_set_of_the_label_in_use_once():
    table, _, _ = compared()
    figure = curve_figure(table, 100, "requested")
    shown = table[table["labels"].isin(["requested", ""])]
    assert sum(len(trace.x) for trace in figure.data) == len(shown)
    assert [trace.name for trace in figure.data][:3] == [
        "real",
        "real, oversampled",
        "real, weighted",
    ]
    assert list(figure.layout.xaxis.ticktext) == ["10", "20", "all 100"]


@pytest.mark.parametrize(("gain", "word"), [(9.0, "better"), (-9.0, "worse"), (0.0, "noise")])
def test_the_gain_figure_says_whichever_it_is(gain, word):
    table, _, _ = compared(n=200, seeds=6, gain=gain)
    figure = gain_figure(table)
    named = {
        trace.name.split(",")[0] for trace in figure.data if trace.x is not None and len(trace.x)
    }
    assert any(word in name for name in named)
    made = figure.layout.title.text.replace("<br>", " ").split(";")[0]
    counts = dict(zip(("better", "worse", "noise"), [int(s) for s in made.split() if s.isdigit()],
                      strict=True))  # fmt: skip
    assert counts[word] == max(counts.values()) and sum(counts.values()) == 8


def test_labels_are_compared_at_the_half_generated_sets():
    table, _, _ = compared()
    figure = label_figure(table)
    assert [trace.name for trace in figure.data] == [
        "labelled as requested",
        "labelled as estimated",
    ]
    assert all(len(trace.x) == 3 for trace in figure.data)


@pytest.mark.parametrize("size", [10, 0])
def test_errors_by_band_leave_the_other_label_out(size):
    _, bands, held_out = compared()
    names = [trace.name for trace in band_figure(bands, size, "requested").data]
    assert names[0] == "real" and not any("estimated" in name for name in names)
    assert bands_table(held_out.bands)["clips used"].sum() == 60


def test_the_papers_two_numbers_come_first():
    table, _, _ = compared()
    rows = paper_table(table, "requested", "phantom")
    assert rows["R2"].tolist()[:2] == [0.56, 0.59]
    assert rows["stands on"].iloc[0].startswith("EchoNet-Dynamic")
    assert len(rows) == 2 + 2 * 3


def test_one_repetition_two_clips_and_no_generated_set_are_drawn_too():
    table, bands, _ = compared(n=2, sizes=(), seeds=1, arms=3)
    for figure in (curve_figure(table, 5, "requested"), gain_figure(table), label_figure(table)):
        figure.to_json()
    band_figure(bands, 0, "requested").to_json()
    assert len(paper_table(table, "requested", "real clips")) == 3


def test_examples_go_from_the_least_to_the_largest():
    rows = spread_over(provenance_of(30), "lvef_requested", 4)
    assert rows["lvef_requested"].is_monotonic_increasing and len(rows) == 4
    assert len(spread_over(provenance_of(2), "lvef_requested", 4)) == 2
    assert len(spread_over(provenance_of(0), "lvef_requested", 4)) == 0


def test_the_first_page_quotes_the_gain_with_its_interval():
    results = {
        "rebalancing.headline.gain": -0.02,
        "rebalancing.headline.gain_interval": [-0.1, 0.06],
    }
    (headline,) = present(results)
    assert headline.value(results) == "−0.02" and headline.interval(results) == "−0.10 to 0.06"
