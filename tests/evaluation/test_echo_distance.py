"""Echo-domain measures against closed forms."""

import pytest
import torch

from echocascade.evaluation.echo_distance import (
    flicker,
    frame_difference,
    lvef_feature_distances,
    ratio_to_real,
    regressor_features,
)
from echocascade.evaluation.lvef import LVEFRegressor, RegressorConfig


def clips(batch=3, frames=4, size=24, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, channels, frames, size, size), generator=generator) * 2 - 1


def test_frame_difference_and_flicker_of_a_ramp_and_of_an_alternation():
    time = torch.arange(8.0)
    ramp = (time / 8).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 2, 2)
    alternating = ((-1.0) ** time / 16).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 2, 2)
    both = torch.cat([ramp, alternating])
    assert frame_difference(both) == pytest.approx([1 / 8, 1 / 8])
    assert flicker(both) == pytest.approx([0, 1 / 4], abs=1e-7)


def test_too_few_frames_are_an_error():
    with pytest.raises(ValueError, match="more than 1 frames"):
        frame_difference(clips(frames=1))
    with pytest.raises(ValueError, match="more than 2 frames"):
        flicker(clips(frames=2))


def test_ratio_to_real_is_one_for_the_same_clips_and_lies_in_its_interval():
    real = frame_difference(clips(batch=30))
    ratio = ratio_to_real(1.2 * real, real)
    assert ratio_to_real(real, real).value == 1
    assert ratio.value == pytest.approx(1.2)
    assert ratio.interval.low < 1.2 < ratio.interval.high
    with pytest.raises(ValueError, match="generated must be at least 2"):
        ratio_to_real([0.1], real)
    with pytest.raises(ValueError, match="do not change"):
        ratio_to_real(real, [0.0, 0.0])


def test_distances_in_lvef_features_do_not_depend_on_batch_or_order():
    torch.manual_seed(0)
    model = LVEFRegressor(RegressorConfig(preset="tiny", size=16, n_frames=8))
    real, other = clips(9, 8, 16, seed=1), 0.5 * clips(9, 8, 16, seed=2)
    patients = list(range(9))

    def distances(a, b, order=slice(None), batch_size=16):
        x, y = (regressor_features(model, v, batch_size) for v in (a, b))
        found = lvef_feature_distances((x[order], patients[order]), (y, patients))
        return {name: measured.value for name, measured in found.items()}

    expected = distances(real, other, batch_size=2)
    assert expected["frechet"] > 0 and set(expected) == {"frechet", "kernel"}
    # float32 features; a distance is a difference of larger numbers
    approx = pytest.approx(expected, rel=1e-3)
    assert distances(real, other, slice(None, None, -1), batch_size=5) == approx
    assert distances(other, real) == approx
    assert distances(real, real)["frechet"] == pytest.approx(0, abs=1e-6)
