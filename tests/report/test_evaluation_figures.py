"""Figures and tables of notebooks 00, 06 and 07, also where numbers are missing."""

import numpy as np
import pandas as pd
import pytest

from echocascade.evaluation.stick import StickReading
from echocascade.params import load_params
from echocascade.report import evaluation_figures, overview, paper, sampling_figures
from echocascade.studies.sampling import Hearts
from echocascade.studies.scoring import score_rows


def scores(n: int, stick: float = 50.0) -> pd.DataFrame:
    asked = np.linspace(20, 80, n)
    parts = [
        pd.DataFrame(
            {"FileName": [f"p{i}" for i in range(n)], "task": task, "draw": 0,
             "lvef_requested": asked, "lvef_measured": 10 + asked / 2, "lvef_stick": stick}
        )
        for task in ("reconstruction", "generation")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_the_fitted_line_runs_through_points_that_lie_on_a_line():
    figure = evaluation_figures.scatter_figure(scores(5), "regressor")
    line = next(trace for trace in figure.data if trace.name == "fitted line")
    np.testing.assert_allclose(line.x, [20, 80])
    np.testing.assert_allclose(line.y, [20, 50])


@pytest.mark.parametrize("n, stick", [(1, 50.0), (1, np.nan), (2, np.nan), (8, np.nan)])
def test_points_without_a_line_where_agreement_is_undefined(n, stick):
    table = scores(n, stick)
    figure = evaluation_figures.scatter_figure(table, "stick")
    lines = [trace for trace in figure.data if trace.name == "fitted line"]
    assert [len(line.x) for line in lines] == [0, 0]
    assert evaluation_figures.agreement_table(table).R2.isna().any()


def test_a_run_without_scores_still_shows_the_papers_band():
    nothing = score_rows({"generation": {}})
    figure = evaluation_figures.score_figure(nothing, "generation")
    assert len(figure.data) == 0 and len(figure.layout.shapes) == 1
    assert len(evaluation_figures.score_summary(nothing)) == 0


def test_score_bars_end_at_the_interval():
    row = {"task": "generation", "answer": "regressor", "kind": "measured", "rule": "single"}
    rows = pd.DataFrame([row | {"R2": 0.8, "R2 low": 0.7, "R2 high": 0.85}])
    (trace,) = evaluation_figures.score_figure(rows, "generation").data
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(0.7)
    assert trace.y[0] + trace.error_y.array[0] == pytest.approx(0.85)


def test_a_score_below_the_axis_is_marked_at_its_end():
    row = {"task": "generation", "answer": "stick", "kind": "measured", "rule": "single"}
    rows = pd.DataFrame([row | {"R2": -22.0, "R2 low": -30.0, "R2 high": 0.5}])
    (trace,) = evaluation_figures.score_figure(rows, "generation").data
    assert trace.y[0] == evaluation_figures.FLOOR and trace.marker.symbol[0] == "triangle-down"
    assert trace.y[0] + trace.error_y.array[0] == pytest.approx(0.5)


def hearts(readable: bool) -> Hearts:
    area = np.array([100.0, 80, 60, 80]) if readable else np.full(4, np.nan)
    reading = StickReading(40.0, area / 100, area, np.zeros((4, 3, 2)), 0, 2)
    videos = np.arange(2 * 4 * 10 * 10).reshape(2, 4, 10, 10, 1).astype(np.uint8)
    return Hearts(
        videos[0, 0], np.array([20.0, 80]), videos, np.array([25.0, 70]), [reading] * 2, 8
    )


@pytest.mark.parametrize("readable", [True, False])
def test_each_step_of_the_slider_shows_one_heart_and_all_curves(readable):
    figure = sampling_figures.slider_figure(hearts(readable))
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["20 %", "80 %"]
    for step in steps:
        visible = step.args[0]["visible"]
        assert len(visible) == len(figure.data)
        assert sum(visible) == 2 + 3


def test_the_slider_shows_the_frames_of_the_largest_and_the_smallest_area():
    found = hearts(True)
    curve = sampling_figures.area_curve(found, 0)
    largest, smallest = sampling_figures.extreme_frames(found.videos[0], curve)
    assert (largest == found.videos[0, 0]).all() and (smallest == found.videos[0, 2]).all()


def test_the_hero_is_written_as_the_index_reads_it(tmp_path):
    from echocascade.report.index import _hero

    hearts(True).save(tmp_path / "hero.npz")
    assert [clip["requested"] for clip in _hero(tmp_path / "hero.npz")["clips"]] == ["20", "80"]


def test_a_table_escapes_its_texts_and_marks_what_is_missing():
    frame = pd.DataFrame({"name": ["<b>", None], "value": [-0.5, np.nan]})
    text = paper.readable(frame)._repr_html_()
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert "−0.5" in text and text.count("–") == 2


def test_few_clips_and_a_weak_judge_are_said(root):
    params = load_params(root / "params" / "ci.yaml", {"data.root": "somewhere"})
    text = overview.cautions({"counterfactual.n_clips": 5, "regressor.test.R2": None}, params)
    assert "Only 5 clips" in text and "no value" in text and "drawn hearts" not in text
    assert "Only" not in overview.cautions({"counterfactual.n_clips": 64}, params)


def test_the_basis_of_a_run_without_results_can_still_be_shown(root):
    params = load_params(root / "params" / "ci.yaml")
    assert "phantom" in overview.basis_table({}, params)._repr_html_()
