"""Figures of notebooks 03 to 05 show what the networks did."""

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.report import training_figures


@pytest.fixture
def noise():
    return torch.randn(6, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_history_without_validation_has_a_training_curve_alone():
    history = [{"step": 1.0, "training_loss": 1.0}, {"step": 2.0, "training_loss": 0.5}]
    figure = training_figures.stage_curve(history, "base")
    assert [list(curve.y) for curve in figure.data] == [[1.0, 0.5]]


def test_validation_points_stand_at_their_own_steps():
    history = [
        {"step": k, "loss": 1 / k} | ({"valid_loss": 0.3} if k == 3 else {}) for k in (1, 2, 3)
    ]
    figure = training_figures.judge_curve(history)
    assert [list(curve.x) for curve in figure.data] == [[1, 2, 3], [3]]


def test_the_scatter_names_scores_with_their_intervals():
    table = pd.DataFrame({"FileName": ["a"], "lvef_percent": [50.0], "lvef_predicted": [52.0]})
    scores = {"R2": float("nan"), "MAE": 2.0, "MAE_interval": [1.5, 2.5], "RMSE": 2.0}
    title = training_figures.judge_scatter(table, scores).layout.title.text
    assert "R2 not defined" in title and "MAE 2.00 [1.50, 2.50]" in title


def test_each_clip_is_in_the_residual_band_of_its_label():
    table = pd.DataFrame(
        {"lvef_percent": [5.0, 12, 19.9, 100], "lvef_predicted": [6.0, 12, 18, 90]}
    )
    boxes = training_figures.residual_figure(table).data
    assert [box.name for box in boxes] == ["0-10<br>n = 1", "10-20<br>n = 2", "90-100<br>n = 1"]
    assert list(boxes[2].y) == [-10]


def test_the_liveliest_row_is_where_the_clip_moves():
    video = torch.zeros(1, 8, 32, 32)
    video[:, ::2, 19:22] = 1
    assert training_figures.liveliest_row(video) == 20


def test_m_mode_shows_one_line_of_pixels_over_time():
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    frames[:, 3, 5] = 9
    panel = training_figures.m_mode_figure([frames], ["a"], 3, 8).data[0]
    assert panel.z[5].tolist() == [9, 9, 9, 9]
    assert panel.z[0].tolist() == [0, 1, 2, 3]
    assert list(panel.x) == [0, 0.125, 0.25, 0.375]


def test_a_blurred_clip_has_less_texture_and_the_real_one_a_ratio_of_one(noise):
    blurred = torch.nn.functional.avg_pool3d(noise, (1, 3, 3), 1, (0, 1, 1))
    table = training_figures.sharpness_table({"blurred": blurred, "real": noise}, "real")
    ratio = table.set_index(["clips", "measure"])["ratio"]
    assert ratio["real", "texture"] == ratio["real", "frame difference"] == 1
    assert ratio["blurred", "texture"] < 0.5


def test_texture_is_blind_to_brightness_and_slopes(noise):
    ramp = torch.arange(16.0)[None, None, None, None] / 8
    flat = training_figures.texture((ramp + 0.5).expand(2, 1, 4, 16, 16))
    # only the border columns see a one-sided mean
    assert (flat < 0.05).all()
    assert training_figures.texture(noise + 3) == pytest.approx(training_figures.texture(noise))
