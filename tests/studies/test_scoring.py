"""Scores, controls and cases of a per-sample table, also where there is little to score."""

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.data.video import to_model
from echocascade.params import EvaluationParams, ParamsError
from echocascade.rng import numpy_generator
from echocascade.studies.controls import MEASURES, linear_baseline, picture_ratios, texture
from echocascade.studies.guidance import (
    AS_GOOD,
    agreement_of_read,
    best_scale,
    choose_guidance,
    chosen_scale,
)
from echocascade.studies.scoring import pick_cases, score_answers, score_rows

EVALUATION = EvaluationParams(bootstrap=50)


def table_of(n_clips: int, draws: int = 3, error: float = 5.0) -> pd.DataFrame:
    """Both tasks of `n_clips` patients whose hearts obey up to Gaussian errors."""
    rng = numpy_generator(0, "table", n_clips)
    rows = [
        {"FileName": f"p{i}", "task": task, "draw": draw, "lvef_requested": 15 + 70 * i / n_clips}
        for task in ("reconstruction", "generation")
        for draw in range(draws)
        for i in range(n_clips)
    ]
    table = pd.DataFrame(rows)
    for column in ("lvef_measured", "lvef_stick", "lvef_linear"):
        table[column] = table.lvef_requested + error * rng.standard_normal(len(table))
    for column in ("lvef_true", "lvef_reference", "lvef_stick_reference"):
        table[column] = 50.0 + table.FileName.str[1:].astype(int)
    return table.assign(SSIM=0.5)


def test_every_answer_has_every_rule_with_chance_and_ceiling():
    scores = score_answers(table_of(20), "generation", EVALUATION)
    assert set(scores) == {"regressor", "stick", "linear"}
    for found in scores.values():
        for rules in (found, found["null"], found["ceiling"]):
            assert {"single", "paper", "best_of_k"} <= set(rules)
        assert found["null"]["single"]["R2"] < 0.1 < 0.8 < found["single"]["R2"]


def test_rows_of_scores_survive_a_csv(tmp_path):
    rows = score_rows({"generation": score_answers(table_of(5), "generation", EVALUATION)})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "rows.csv"), rows)
    assert set(rows.kind) == {"measured", "chance", "ceiling"}


def test_the_linear_answer_is_the_base_enlarged_and_not_the_cascade():
    table = table_of(20).assign(lvef_linear=lambda t: t.lvef_requested)
    scores = score_answers(table, "generation", EVALUATION)
    assert scores["linear"]["single"]["R2"] == pytest.approx(1)
    assert scores["regressor"]["single"]["R2"] < 1


@pytest.mark.parametrize("n_clips", [1, 2, 5, 8])
@pytest.mark.parametrize("stick", ["reads all", "reads one", "reads nothing"])
def test_few_clips_and_an_unreadable_stick_are_scored_as_far_as_they_go(n_clips, stick):
    table = table_of(n_clips)
    kept = {"reads all": n_clips, "reads one": 1, "reads nothing": 0}[stick]
    unread = table.FileName.str[1:].astype(int) >= kept
    table.loc[unread, ["lvef_stick", "lvef_stick_reference"]] = np.nan
    scores = {"generation": score_answers(table, "generation", EVALUATION)}
    rows = score_rows(scores)
    assert ("stick" in scores["generation"]) == (kept >= 2)
    assert len(rows) == 0 if n_clips < 2 else set(rows.rule) == {"single", "paper", "best_of_k"}


def test_a_judge_that_fails_on_all_real_clips_has_no_ceiling():
    table = table_of(5).assign(lvef_stick_reference=np.nan)
    assert score_answers(table, "generation", EVALUATION)["stick"]["ceiling"] == {}


def test_a_constant_request_has_errors_but_no_r2():
    scores = score_answers(table_of(5).assign(lvef_requested=50.0), "generation", EVALUATION)
    single = scores["regressor"]["single"]
    assert single["R2"] is None and single["MAE"] > 0


def test_cases_are_the_best_the_median_and_the_worst_sample():
    table = table_of(7)
    cases = pick_cases(table, "generation")
    error = (table.lvef_measured - table.lvef_requested).abs()[table.task == "generation"]
    assert list(cases.case) == ["best", "median", "worst"]
    np.testing.assert_allclose(cases.error, [error.min(), error.median(), error.max()])


def test_a_single_sample_is_one_case():
    assert len(pick_cases(table_of(1, draws=1), "generation")) == 1


def test_texture_is_of_noise_and_not_of_a_ramp():
    ramp = torch.linspace(-1, 1, 32).expand(2, 1, 3, 32, 32)
    noise = torch.randn(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert texture(ramp).max() < 0.01  # only the replicated border departs from its mean
    # white noise less its mean over 9 pixels keeps 8/9 of its variance; borders a little less
    assert texture(noise) == pytest.approx(np.full(2, (8 / 9) ** 0.5), rel=0.05)


def test_enlarging_linearly_keeps_a_constant_clip_and_loses_texture(tiny_params):
    flat = np.full((1, 4, 8, 8, 1), 77, np.uint8)
    assert (linear_baseline(tiny_params, flat) == 77).all()
    noise = numpy_generator(0, "noise").integers(0, 256, (1, 4, 8, 8, 1), dtype=np.uint8)
    assert texture(to_model(linear_baseline(tiny_params, noise))) < texture(to_model(noise)) / 2


def test_ratios_of_equal_clips_are_one_and_of_one_clip_undefined():
    names = MEASURES
    columns = {name + end: 0.5 for name in names for end in ("", "_linear", "_real")}
    many = pd.DataFrame([{"FileName": f"p{i}", **columns} for i in range(4)])
    assert (picture_ratios(many).ratio == 1).all()
    assert picture_ratios(many[:1]).ratio.isna().all()


def test_agreement_leaves_out_what_was_not_read():
    found = agreement_of_read(np.array([10.0, 50, 90]), np.array([12.0, np.nan, 92]))
    assert found["bias"] == pytest.approx(2)
    assert all(np.isnan(v) for v in agreement_of_read(np.ones(2), np.full(2, np.nan)).values())


def test_the_chosen_scale_is_one_of_the_best_and_is_read_back(tiny_trained, tmp_path):
    path = tmp_path / "tables" / "guidance.csv"
    table = choose_guidance(tiny_trained, path)
    assert list(table.scale) == [1.0, 1.5]
    assert table.loc[table.chosen, "R2"].item() >= table.R2.max() - AS_GOOD
    assert chosen_scale(path) == table.loc[table.chosen, "scale"].item()
    assert (table.seconds_per_clip > 0).all()


def test_a_choice_that_was_cut_off_goes_on_and_one_of_other_weights_is_made_anew(
    tiny_trained, tmp_path, monkeypatch
):
    path = tmp_path / "guidance.csv"
    made = []
    generate = type(tiny_trained).generate

    def counted(self, frames, requested, seeds, scale, rows):
        made.append(scale)
        return generate(self, frames, requested, seeds, scale, rows)

    monkeypatch.setattr(type(tiny_trained), "generate", counted)

    def stop(done, total, note):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose_guidance(tiny_trained, path, stop)
    assert made == [1.0]
    with pytest.raises(ParamsError, match="0 scales are marked as chosen, not 1"):
        chosen_scale(path)  # half a choice is none
    whole = choose_guidance(tiny_trained, path)
    assert made == [1.0, 1.5]
    pd.testing.assert_frame_equal(choose_guidance(tiny_trained, path), whole)
    assert made == [1.0, 1.5]

    weight = next(tiny_trained.cascade.stages[0].denoiser.parameters())
    before = weight.detach().clone()
    try:
        weight.data.add_(0.01)
        choose_guidance(tiny_trained, path)
    finally:
        weight.data.copy_(before)
    assert made == [1.0, 1.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("r2", "best"),
    [
        ([0.6, 0.75, 0.79, 0.785], 2.0),  # clearly the best
        ([0.6, 0.782, 0.785, 0.79], 1.5),  # as good as the best with less guidance
        ([np.nan, 0.7, 0.5, 0.4], 1.5),
        ([np.nan] * 4, 1.0),
    ],
)
def test_of_scales_that_are_as_good_the_least_guidance_is_taken(r2, best):
    assert best_scale(pd.DataFrame({"scale": [1.0, 1.5, 2.0, 3.0], "R2": r2})) == best


def test_a_missing_choice_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ParamsError, match="`echocascade guidance RUN` chooses it"):
        chosen_scale(tmp_path / "guidance.csv")
