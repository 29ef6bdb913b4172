"""What is known of a judge is measured on real clips: bands, frame rates, averages."""

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.evaluation.calibration import (
    SHIFTS,
    AveragedReading,
    averaging_table,
    frame_rate_table,
    moved,
    residual_bands,
)
from echocascade.evaluation.frame_rate import at_random_rates, at_rate
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig, predict_lvef
from echocascade.rng import numpy_generator, torch_generator


def test_a_judge_that_pulls_to_the_mean_shows_it_in_the_bands():
    label = np.linspace(15, 85, 71)
    bands = residual_bands(label, 50 + 0.5 * (label - 50))
    assert bands.n.sum() == 71
    assert bands.bias.iloc[0] > 5 and bands.bias.iloc[-1] < -5
    assert (bands.low <= bands.bias).all() and (bands.bias <= bands.high).all()
    inside = (label >= 30) & (label < 40)
    assert bands.bias[bands.band == "30 to 40 %"].item() == pytest.approx(
        (-0.5 * (label - 50))[inside].mean()
    )


def test_bands_without_clips_are_left_out_and_unread_clips_too():
    bands = residual_bands([20.0, 25.0, 45.0], [22.0, np.nan, 44.0])
    assert bands.band.tolist() == ["0 to 30 %", "40 to 50 %"]
    assert bands.n.tolist() == [1, 1] and bands.low.isna().all()
    assert len(residual_bands([], [])) == 0


def test_a_clip_seen_at_half_the_rate_keeps_every_other_frame_and_fills_the_rest():
    clip = torch.rand(2, 1, 8, 4, 4, generator=torch_generator(0, "clip"))
    seen = at_rate(clip, 16, 8)
    assert seen.shape == clip.shape
    assert torch.equal(seen[:, :, ::2], clip[:, :, ::2])
    assert torch.allclose(seen[:, :, 1], (clip[:, :, 0] + clip[:, :, 2]) / 2)
    assert torch.equal(at_rate(clip, 16, 16), clip)
    for rate in (5, 32, 1.5):
        with pytest.raises(ValueError, match="whole steps"):
            at_rate(clip, 16, rate)


def test_a_judge_trains_on_all_the_rates_that_it_will_judge():
    clips = torch.rand(40, 1, 8, 4, 4, generator=torch_generator(0, "clips"))
    seen = at_random_rates(clips, 16, (8, 4), torch_generator(1, "rates"))
    kinds = [torch.stack([a.flatten() for a in at_rate(clips, 16, r)]) for r in (16, 8, 4)]
    flat = seen.flatten(1)
    of = [(flat == kind).all(dim=1).sum().item() for kind in kinds]
    assert sum(of) == 40 and min(of) > 4
    assert at_random_rates(clips, 16, (), torch_generator(1, "rates")) is clips


def test_a_frame_rate_out_of_distribution_shows_as_a_row_of_errors():
    rng = numpy_generator(0, "labels")
    label = rng.uniform(20, 80, 60)
    time = torch.arange(16)
    clips = [(v / 100) * (1 - 2 * (time % 2)).float()[None, :, None, None] for v in label]

    def read(videos):
        """LVEF is how far neighbouring frames differ: lost where frames are left out."""
        return np.array([50 * float((v[:, 1:] - v[:, :-1]).abs().mean()) for v in videos])

    table = frame_rate_table(clips, 16, label, (16, 8), read)
    assert table.fps.tolist() == [16, 8] and (table.n == 60).all()
    assert table.R2[0] > 0.99 and table.R2[1] < 0 and table.bias[1] < -20
    assert (table["MAE low"] <= table["MAE"]).all() and (table["MAE"] <= table["MAE high"]).all()


def test_averaged_readings_are_the_mean_over_moved_views():
    torch.manual_seed(0)
    model = LVEFRegressor(RegressorConfig(preset="tiny", size=16, n_frames=8)).eval()
    clips = torch.rand(3, 1, 8, 16, 16) * 2 - 1
    views = [
        predict_lvef(model, torch.stack([moved(c, shift) for c in clips])) for shift in SHIFTS[:5]
    ]
    assert AveragedReading(model, 5, batch_size=4)(clips) == pytest.approx(np.mean(views, axis=0))
    assert AveragedReading(model)(clips) == pytest.approx(predict_lvef(model, clips))
    with pytest.raises(ValueError, match="views is 10, allowed are 1 to 9"):
        AveragedReading(model, 10)


def test_averaging_takes_noise_off_a_noisy_judge():
    label = numpy_generator(0, "labels").uniform(20, 80, 100)
    clips = [torch.full((1, 2, 4, 4), float(v)) for v in label]

    def noisy(views):
        rng = numpy_generator(views, "judge")
        return lambda videos: np.array(
            [float(v.mean()) + rng.normal(0, 10, views).mean() for v in videos]
        )

    table = averaging_table(clips, label, {1: noisy(1), 9: noisy(9)})
    assert isinstance(table, pd.DataFrame) and table.views.tolist() == [1, 9]
    assert table.MAE[1] < 0.6 * table.MAE[0]


def test_a_moved_clip_has_black_where_nothing_was():
    clip = torch.zeros(1, 1, 4, 4)
    clip[..., 1, 2] = 1
    result = moved(clip, (1, -1))
    assert result[0, 0, 2, 1] == 1
    assert (result[..., 0, :] == -1).all() and (result[..., :, -1] == -1).all()
