"""The plan of a sampling, against what sampling does."""

import json
import math

import pytest

from echocascade.cascade.plan import (
    WEIGHT_BYTES,
    clock,
    evaluated_levels,
    measure_rate,
    plan_sampling,
    tera,
)
from echocascade.cascade.stage import Stage
from echocascade.diffusion import network_evaluations
from echocascade.params import Params, SamplerParams, load_params
from echocascade.runtime import default_device


def changed(params: Params, **guidance) -> Params:
    tree = params.model_dump()
    tree["cascade"]["guidance"].update(guidance)
    tree["evaluation"]["split"] = "TEST"
    return Params.model_validate(tree)


def plan(params, n_videos=1, batch_size=1, scale=None):
    return plan_sampling(params, n_videos, batch_size, scale, flop_per_s=1e12)


@pytest.mark.parametrize("method", ["heun", "dpmpp_2m"])
def test_levels_are_as_many_as_evaluations_and_fall_without_churn(method):
    levels = evaluated_levels(SamplerParams(method=method, steps=7))
    assert len(levels) == network_evaluations(method, 7)
    assert levels[0] == pytest.approx(80)
    assert levels == sorted(levels, reverse=True)


def test_levels_are_raised_by_churn():
    plain = evaluated_levels(SamplerParams(steps=8))
    churned = evaluated_levels(SamplerParams(steps=8, S_churn=2.0, S_tmax=100.0))
    assert churned[0] == pytest.approx(plain[0] * 1.25)


def test_guidance_counts_twice_where_it_applies(tiny_params):
    first = plan(changed(tiny_params, scale=2.0, sigma_interval=None))
    everywhere = plan(changed(tiny_params, scale=2.0, sigma_interval=None, apply_to="all"))
    none = plan(changed(tiny_params, scale=1.0, apply_to="all"))
    assert [s.evaluations for s in none.stages] == [5, 5]
    assert [s.evaluations for s in first.stages] == [10, 5]
    assert [s.evaluations for s in everywhere.stages] == [10, 10]
    assert [s.guided for s in first.stages] == [True, False]
    assert first.stages[0].flops == 2 * none.stages[0].flops


def test_guidance_within_an_interval_counts_twice_only_there(tiny_params):
    levels = evaluated_levels(tiny_params.cascade.stages[0].sampler)
    inside = sum(1.0 < level <= 50.0 for level in levels)
    assert 0 < inside < len(levels)
    limited = plan(changed(tiny_params, scale=2.0, sigma_interval=(1.0, 50.0)))
    assert limited.stages[0].evaluations == len(levels) + inside


def test_a_scale_that_is_given_replaces_the_runs_own(tiny_params):
    assert plan(tiny_params).guidance_scale is None
    assert plan(tiny_params).stages[0].guided  # chosen later: guidance is counted
    assert not plan(tiny_params, scale=1.0).stages[0].guided


def test_time_follows_the_videos_and_memory_the_batch(tiny_params):
    one, many, batched = (plan(tiny_params, *x) for x in ((1, 1), (12, 1), (12, 4)))
    assert many.seconds == pytest.approx(12 * one.seconds)
    assert batched.seconds == pytest.approx(many.seconds)
    assert one.seconds == pytest.approx(one.flops / 1e12)
    assert many.memory_bytes == one.memory_bytes
    weights = sum(WEIGHT_BYTES[s.precision] * s.parameters for s in one.stages)
    ratio = (batched.memory_bytes - weights) / (one.memory_bytes - weights)
    assert ratio == pytest.approx(4, rel=0.1)


def test_a_batch_is_never_larger_than_the_number_of_videos(tiny_params):
    assert plan(tiny_params, 2, 16).batch_size == 2


def test_the_rate_is_measured_where_none_is_given(tiny_params):
    found = plan_sampling(tiny_params, 1, 1)
    assert found.rate_from == "measured"
    for stage in found.stages:
        assert 1e6 < stage.flop_per_s < 1e15
        assert math.isclose(stage.seconds, stage.flops / stage.flop_per_s)
    assert measure_rate(Stage.of(tiny_params, 0), default_device(), batch_size=2) > 1e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0, 1), "n_videos is 0"), ((1, 0), "batch_size is 0"), ((1, 1, -1.0), "guidance_scale")],
)
def test_numbers_that_make_no_sense_are_refused(tiny_params, arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_sampling(tiny_params, *arguments, flop_per_s=1e12)


def test_a_rate_of_zero_is_refused(tiny_params):
    with pytest.raises(ValueError, match="flop_per_s is 0"):
        plan_sampling(tiny_params, 1, 1, flop_per_s=0.0)


def test_the_text_names_stages_shapes_evaluations_and_totals(root):
    found = plan(load_params(root / "params" / "2scm.yaml"), 3, 2)
    base, tssr, together = found.text.splitlines()[2:5]
    for word in ("base", "16 x 56 x 56", "126", "20.0 M"):
        assert word in base
    for word in ("TSSR", "64 x 112 x 112", "254"):
        assert word in tssr
    assert "380" in together
    assert "3 videos, 2 at a time, guidance 5" in found.text


def test_the_plan_is_plain_json(tiny_params):
    content = json.loads(json.dumps(plan(tiny_params).to_json()))
    assert content["total_evaluations"] == sum(s["evaluations"] for s in content["stages"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.23, "4.2 s"), (185, "3 min 05 s"), (7810, "2 h 10 min")],
)
def test_durations_in_words(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(2.81e10, "0.0281"), (2.97e13, "29.7"), (1.278e15, "1278")]
)
def test_large_numbers_in_units_of_1e12(number, text):
    assert tera(number) == text
