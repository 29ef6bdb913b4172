"""The resize path between stages."""

import pytest
import torch

from echocascade.cascade.conditioning import Conditioning, enlarge, shrink


def test_shrinking_picks_frames_and_averages_pixels():
    video = torch.arange(2 * 4 * 4 * 4.0).reshape(1, 2, 4, 4, 4)
    small = shrink(video, 2, 2)
    assert small.shape == (1, 2, 2, 2, 2)
    assert small[0, 0, 1, 0, 0] == video[0, 0, 2, :2, :2].mean()


def test_enlarging_keeps_a_linear_ramp_in_time_at_its_instants():
    ramp = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    big = enlarge(ramp, 4, 8)
    # Instants 0, 0.5, 1 ...; after the last known frame it is repeated.
    expected = torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    torch.testing.assert_close(big[0, 0, :, 0, 0], expected)


def test_cubic_enlarging_keeps_a_parabola_in_time_that_linear_enlarging_flattens():
    at, between = torch.arange(8.0), torch.arange(16.0) / 2
    turn = (-((at - 3.5) ** 2)).reshape(1, 1, 8, 1, 1)
    true = -((between - 3.5) ** 2)
    cubic, linear = (enlarge(turn, 1, 16, cubic=c).flatten() for c in (True, False))
    # in the first and the last gap the frame beyond is missing, and the last one is repeated
    torch.testing.assert_close(cubic[2:13], true[2:13])
    torch.testing.assert_close(cubic[::2], true[::2])
    assert cubic[15] == cubic[14]
    assert (true - linear)[1:13:2].min() == pytest.approx(0.25)


def test_shrinking_undoes_enlarging_for_smooth_videos():
    y = torch.linspace(-1, 1, 8)
    smooth = y[:, None] * y[None] * torch.linspace(0, 1, 4)[:, None, None]
    video = smooth.expand(1, 1, 4, 8, 8)
    back = shrink(enlarge(video, 16, 8), 8, 4)
    # Bilinear enlarging flattens the outermost pixels only.
    torch.testing.assert_close(back[..., 1:-1, 1:-1], video[..., 1:-1, 1:-1], atol=1e-6, rtol=0)


def test_a_size_that_is_no_whole_fraction_is_refused():
    with pytest.raises(ValueError, match="whole fractions"):
        shrink(torch.zeros(1, 1, 4, 8, 8), 3, 4)


def test_the_null_condition_keeps_the_anatomy():
    cond = Conditioning(torch.rand(2, 1), torch.rand(2, 1, 4, 4), torch.ones(2))
    both = cond.joined(cond.without_lambda())
    assert both.given.tolist() == [1, 1, 0, 0]
    assert torch.equal(both.I_c[:2], both.I_c[2:])
