"""The paper's tables with this run's rows, and the figures of what stands beside the scores."""

import numpy as np
import pandas as pd
import pytest

from echocascade.params import load_params
from echocascade.report import paper, published, quality_figures
from echocascade.studies.copies import Copies

KEY = "counterfactual.generation.regressor"


@pytest.fixture
def params(root):
    return load_params(root / "params" / "ci.yaml")


@pytest.fixture
def results():
    return {
        f"{KEY}.single.R2": 0.8, f"{KEY}.single.R2_interval": [0.7, 0.85],
        f"{KEY}.paper.R2": 0.9, f"{KEY}.null.paper.R2": 0.4, f"{KEY}.ceiling.single.R2": 0.95,
        f"{KEY}.n_patients": 8, f"{KEY}.n_draws": 3,
        "counterfactual.generation.quality.LPIPS": "not computed: vgg16.pth, https://a.org/b/vgg16",
        "counterfactual.generation.quality.paper.FID": 31.5,
        "counterfactual.generation.quality.clean.FID": 11.5,
        "counterfactual.generation.quality.paper.FVD": "not computed: i3d.pt, https://www.c.com/d",
    }  # fmt: skip


def test_tables_hold_the_papers_numbers():
    row = next(r for r in paper.TABLE_1 if r.model == "4SCM" and r.task == "generation")
    assert (row.R2, row.MAE, row.RMSE, row.FVD) == (0.93, 3.77, 5.26, 230)
    assert [(r.model, r.R2) for r in paper.TABLE_2] == [
        ("Dartagnan", 0.51), ("2SCM", 0.89), ("Dartagnan", 0.87), ("2SCM", 0.93),
    ]  # fmt: skip


def test_the_run_stands_under_the_paper_with_what_it_stands_on(params, results):
    table = paper.beside_paper(results, params)
    ours = table[table.model.str.startswith("this run")]
    assert ours.R2.tolist() == [0.8, 0.9] and ours.N.tolist() == [8, 8]
    assert ours["stands on"].iloc[0] == "phantom TEST, 56 px × 32, 3 draws"
    assert ours.interval.tolist() == ["0.70 to 0.85", ""]
    assert len(paper.beside_paper({}, params)) == len(paper.TABLE_1)
    one = paper.beside_paper(results, params, tasks=("generation",))
    assert "task" not in one and len(one) == 5


def test_like_is_put_beside_like(params, results):
    """The rule is a column; FID is the one of the paper's own preparation, once a task."""
    table = paper.beside_paper(results, params, released=paper.RELEASED)
    assert set(table.rule) == {"every draw", "best draw"}
    printed = table[table["stands on"].str.contains("as printed")]
    assert set(printed.rule) == {"best draw"} and set(printed.N) == {1288}
    ours = table[table.model.str.startswith("this run")]
    assert ours.FID.tolist()[0] == 31.5 and ours.FID.isna().tolist() == [False, True]
    assert ours["R2 by chance"].tolist()[1] == 0.4


def test_a_missing_network_is_named_in_the_table(params, results):
    frame = paper.beside_paper(results, params)
    ours = frame[frame.model.str.startswith("this run")]
    assert ours.LPIPS.tolist() == ["not computed: vgg16.pth, a.org"] * 2
    assert ours.FVD.tolist()[0] == "not computed: i3d.pt, c.com"
    assert "not computed: vgg16.pth, a.org" in paper.readable(frame)._repr_html_()


def test_the_released_scores_give_the_constants(shared_dir, tmp_path):
    """Where the authors' files are, the rows are computed; the constants are those numbers."""
    source = shared_dir / "reference" / "scores_1scm_reconstruction.csv"
    (tmp_path / "factual.csv").write_bytes(source.read_bytes())
    rows = {(row.task, row.rule): row for row in published.released_rows(tmp_path)}
    for constant in published.RELEASED:
        row = rows[constant.task, constant.rule]
        for name in ("R2", "MAE", "RMSE", "SSIM", "LPIPS", "chance", "ceiling"):
            wanted = getattr(constant, name)
            if wanted is not None:
                assert getattr(row, name) == pytest.approx(wanted, abs=6e-3), name
    assert rows["reconstruction", "paper"].basis.endswith("computed here")
    assert not rows["generation", "paper"].basis.endswith("computed here")


def test_at_a_glance_stand_one_draw_the_best_the_best_of_shuffled_and_the_judge(params, results):
    rows = paper.glance_rows(results, params)
    known = rows[(rows.task == "generation") & (rows.who == "paper, 1SCM")].set_index("what").R2
    assert known.tolist() == [0.64, 0.44, 0.42]
    assert known.index.tolist() == [paper.GLANCE[1], paper.GLANCE[2], paper.GLANCE[0]]
    ours = rows[rows.who == "this run, regressor"].set_index("what").R2
    assert ours[paper.GLANCE[0]] == 0.8 and ours[paper.GLANCE[2]] == 0.4
    figure = quality_figures.glance_figure(rows)
    shown = {(t.name, x): y for t in figure.data for x, y in zip(t.x, t.y, strict=True)
             if t.xaxis == "x"}  # fmt: skip
    assert shown["paper, 1SCM", paper.GLANCE[2]] == 0.44
    assert shown["this run, regressor", paper.GLANCE[3]] == 0.95


def test_a_run_without_results_still_shows_what_choosing_does_to_the_paper(params):
    figure = quality_figures.glance_figure(paper.glance_rows({}, params))
    assert {trace.name for trace in figure.data} == {"paper, 1SCM"}


@pytest.mark.parametrize("threshold", [0.3, np.nan])
def test_the_threshold_of_copies_is_drawn_where_there_is_one(threshold):
    found = Copies(pd.DataFrame({"score": [0.1, 0.5]}), np.array([0.0, 0.2]), threshold, 10)
    figure = quality_figures.copies_figure(found)
    assert len(figure.data) == 2 and len(figure.layout.shapes) == (0 if np.isnan(threshold) else 1)


def test_pairs_are_shown_side_by_side_with_their_scores():
    pairs = pd.DataFrame({"score": [0.42], "nearest": ["<b>"]})
    clips = np.zeros((1, 4, 16, 16, 1), np.uint8)
    text = quality_figures.pair_clips(pairs, clips, clips, 8)._repr_html_()
    assert text.count("<video") == 1 and "score 0.42" in text
    assert "<b>" not in text and "&lt;b&gt;" in text


def test_a_rate_that_the_judge_never_met_is_hollow():
    bands = pd.DataFrame({"band": ["0 to 30 %"], "n": [3], "bias": [1.0], "low": [0], "high": [2]})
    rates = pd.DataFrame({"fps": [16, 8], "MAE": [3, 5], "bias": [0, -4], "met": [True, False],
                          "MAE low": [2, 4], "MAE high": [4, 6]})  # fmt: skip
    figure = quality_figures.judge_figure(bands, rates)
    assert list(figure.data[1].marker.symbol) == ["circle", "circle-open"]
    assert figure.data[1].y[1] + figure.data[1].error_y.array[1] == 6


def test_distances_have_a_bar_a_maker_and_a_panel_a_distance():
    rows = [("generation", d, m, 2.0, 1.0, 3.0, 8) for d in ("frechet", "kernel")
            for m in ("generated", "linear")]  # fmt: skip
    columns = ["task", "distance", "maker", "value", "low", "high", "clips"]
    figure = quality_figures.distance_figure(pd.DataFrame(rows, columns=columns))
    assert len(figure.data) == 2
    assert figure.data[0].y[0] - figure.data[0].error_y.arrayminus[0] == 1
