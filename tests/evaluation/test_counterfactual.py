"""The paper's protocol: score tables, rules, nulls and ceilings."""

import json

import numpy as np
import pandas as pd
import pytest

from echocascade.evaluation.counterfactual import counterfactual_targets, score_table
from echocascade.evaluation.rules import RULES
from echocascade.evaluation.score_table import ScoreTableError, read_score_table

PUBLISHED = "reference/scores_1scm_reconstruction.csv"


def table_of(requested, measured, **columns):
    """A table of patients x draws from matrices (P, K) of LVEF and further columns."""
    measured = np.asarray(measured, float)
    patients, draws = measured.shape
    rows = {
        "FileName": np.repeat([f"clip{p}" for p in range(patients)], draws),
        "draw": np.tile(np.arange(draws), patients),
        "lvef_requested": np.repeat(np.asarray(requested, float), draws),
        "lvef_measured": measured.ravel(),
    }
    return pd.DataFrame(rows | {name: np.ravel(values) for name, values in columns.items()})


@pytest.fixture
def two_patients():
    return table_of(
        [30, 60],
        [[40, 32, 20], [60, 70, 90]],
        SSIM=[[0.5, 0.1, 0.3], [0.2, 0.6, 0.4]],
        LPIPS=[[0.3, 0.9, 0.2], [0.8, 0.1, 0.5]],
    )


@pytest.fixture
def ignorant():
    """A model that ignores the request: answers around 50 whatever was asked, three draws."""
    rng = np.random.default_rng(0)
    return table_of(rng.uniform(15, 85, 400), rng.normal(50, 15, (400, 3)))


@pytest.fixture
def obedient():
    rng = np.random.default_rng(0)
    requested = rng.uniform(15, 85, 400)
    return table_of(requested, requested[:, None] + rng.normal(0, 4, (400, 3)))


@pytest.fixture(scope="module")
def published(shared_dir):
    return score_table(read_score_table(shared_dir / PUBLISHED))


def test_published_scores_give_the_row_of_the_paper(published):
    expected = {"R2": 0.7563, "MAE": 4.5143, "RMSE": 6.0742, "SSIM": 0.5291, "LPIPS": 0.2132}
    paper = published["rules"]["paper"]
    assert (published["n_patients"], published["n_draws"]) == (1288, 3)
    assert {name: round(paper[name], 4) for name in expected} == expected


def test_published_scores_without_choosing_a_draw(published):
    expected = {"R2": 0.452, "MAE": 7.39, "RMSE": 9.11, "SSIM": 0.509, "LPIPS": 0.225}
    single = published["rules"]["single"]
    # the last digit given
    assert {name: single[name] for name in expected} == pytest.approx(expected, abs=5e-3)


def test_published_scores_shuffled_still_reach_044_by_the_best_of_three(published):
    null = published["null"]
    # 0.435 and 6.60 are single permutations; their standard deviations are 0.02 and 0.12
    assert null["paper"]["R2"] == pytest.approx(0.435, abs=0.02)
    assert null["paper"]["MAE"] == pytest.approx(6.60, abs=0.1)
    assert null["single"]["R2"] < 0


def test_published_ceiling_is_the_regressor_on_the_real_clips(published):
    ceiling = published["ceiling"]
    assert published["ceiling_truth"] == "lvef_requested"
    assert ceiling["single"]["R2"] == pytest.approx(0.241, abs=5e-4)
    assert ceiling["single"]["MAE"] == pytest.approx(9.16, abs=5e-3)
    assert ceiling["single"]["RMSE"] == pytest.approx(10.72, abs=5e-3)
    assert ceiling["paper"]["R2"] == pytest.approx(0.376, abs=5e-4)


def test_single_counts_every_draw(two_patients):
    single = score_table(two_patients)["rules"]["single"]
    errors = np.array([10, 2, -10, 0, 10, 30])
    assert single["R2"] == pytest.approx(1 - (errors**2).sum() / (6 * 15**2))
    assert single["MAE"] == pytest.approx(abs(errors).mean())
    assert single["bias"] == pytest.approx(errors.mean())
    assert single["SSIM"] == pytest.approx(2.1 / 6)
    assert single["LPIPS"] == pytest.approx(2.8 / 6)


def test_paper_takes_the_best_of_each_score_from_different_draws(two_patients):
    paper = score_table(two_patients)["rules"]["paper"]
    assert paper["MAE"] == pytest.approx((2 + 0) / 2)
    assert paper["SSIM"] == pytest.approx((0.5 + 0.6) / 2)
    assert paper["LPIPS"] == pytest.approx((0.2 + 0.1) / 2)


def test_best_of_k_takes_all_scores_from_the_draw_nearest_in_lvef(two_patients):
    best = score_table(two_patients)["rules"]["best_of_k"]
    assert best["MAE"] == pytest.approx((2 + 0) / 2)
    assert best["SSIM"] == pytest.approx((0.1 + 0.2) / 2)
    assert best["LPIPS"] == pytest.approx((0.9 + 0.8) / 2)


def test_with_one_draw_all_rules_agree(obedient):
    rules = score_table(obedient[obedient["draw"] == 0])["rules"]
    assert rules["paper"] == rules["single"] == rules["best_of_k"]


def test_an_ignorant_model_scores_like_its_null_under_every_rule(ignorant):
    found = score_table(ignorant)
    for rule in RULES:
        low, high = found["null"][rule]["R2_interval"]
        assert low - 0.03 < found["rules"][rule]["R2"] < high + 0.03, rule
    assert found["null"]["best_of_k"]["R2"] > 0.2 > 0 > found["null"]["single"]["R2"]


def test_an_obedient_model_beats_its_null_and_has_slope_one(obedient):
    found = score_table(obedient)
    single = found["rules"]["single"]
    assert single["R2"] > 0.9 > 0 > found["null"]["single"]["R2_interval"][1]
    assert single["slope"] == pytest.approx(1, abs=0.03)  # 4 / (20 * sqrt(400)) = 0.01 a s.d.
    assert abs(found["null"]["single"]["r"]) < 0.05


def test_every_score_lies_in_its_interval_and_the_level_is_given(obedient):
    found = score_table(obedient, level=0.9)
    wider = score_table(obedient, level=0.99)
    assert found["level"] == 0.9
    for rule in RULES:
        for name in ("R2", "MAE", "RMSE", "r", "slope", "bias"):
            low, high = found["rules"][rule][f"{name}_interval"]
            assert low < found["rules"][rule][name] < high
            assert wider["rules"][rule][f"{name}_interval"][0] < low


def test_same_seed_same_scores_in_any_order_of_rows(obedient):
    shuffled = obedient.sample(frac=1, random_state=1)
    one, other = score_table(obedient, seed=3), score_table(shuffled, seed=3)
    assert one["null"] == other["null"]
    for rule in RULES:
        assert one["rules"][rule]["R2"] == pytest.approx(other["rules"][rule]["R2"], abs=1e-12)
    assert score_table(obedient, seed=4)["null"] != one["null"]


def test_patients_with_fewer_draws_count_with_what_they_have(two_patients):
    found = score_table(two_patients.drop(index=2))
    assert (found["n_patients"], found["n_draws"], found["n_samples"]) == (2, 3, 5)
    assert found["rules"]["single"]["MAE"] == pytest.approx((10 + 2 + 0 + 10 + 30) / 5)
    assert found["rules"]["paper"]["LPIPS"] == pytest.approx((0.3 + 0.1) / 2)


def test_the_result_is_plain_json(two_patients):
    found = score_table(two_patients.drop(columns="SSIM"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "SSIM" not in found["rules"]["paper"]
    assert found["not_computed"]["SSIM"] == "not computed: no SSIM column"


def test_a_constant_request_has_no_r2_but_an_error(two_patients):
    single = score_table(two_patients.assign(lvef_requested=50.0))["rules"]["single"]
    assert single["R2"] is None and single["R2_interval"] is None
    assert single["MAE"] == pytest.approx((10 + 18 + 30 + 10 + 20 + 40) / 6)


def test_the_stick_judges_by_its_own_columns_and_may_fail_on_a_clip(two_patients):
    stick = two_patients.assign(lvef_stick=[30.0, np.nan, 33, 60, 60, 63])
    found = score_table(stick, judge="stick")
    assert found["n_unread"] == 1
    assert found["rules"]["single"]["MAE"] == pytest.approx(6 / 5)
    assert score_table(stick)["rules"]["paper"]["MAE"] == pytest.approx(1)
    with pytest.raises(ScoreTableError, match="no column lvef_stick"):
        score_table(two_patients, judge="stick")


def test_ceiling_of_generation_needs_the_label_of_the_real_clip(two_patients):
    asked = two_patients.assign(task="generation", lvef_reference=[50.0, 50, 50, 40, 40, 40])
    assert score_table(asked)["ceiling"] == {}
    assert score_table(asked)["not_computed"]["ceiling"] == "not computed: no lvef_true column"
    labelled = score_table(asked.assign(lvef_true=[52.0, 52, 52, 40, 40, 40]))
    assert labelled["ceiling_truth"] == "lvef_true"
    assert labelled["ceiling"]["single"]["MAE"] == pytest.approx(1)


def test_tasks_are_scored_one_at_a_time(two_patients, obedient):
    lvef_only = two_patients.drop(columns=["SSIM", "LPIPS"])
    both = pd.concat([lvef_only.assign(task="generation"), obedient.assign(task="reconstruction")])
    with pytest.raises(ScoreTableError, match="choose one of generation, reconstruction"):
        score_table(both)
    assert score_table(both, task="generation")["n_patients"] == 2
    with pytest.raises(ScoreTableError, match="task is 'sampling'"):
        score_table(both, task="sampling")


def test_a_published_table_of_random_requests_has_no_ceiling_without_labels():
    rng = np.random.default_rng(1)
    requested = rng.uniform(15, 85, 200)
    asked = table_of(requested, requested[:, None] + rng.normal(0, 9, (200, 3)))
    asked["lvef_reference"] = np.repeat(rng.normal(55, 8, 200), 3)
    found = score_table(asked)
    assert found["ceiling"] == {}
    assert "the requests are not the clips' own LVEF" in found["not_computed"]["ceiling"]
    own = asked.assign(lvef_reference=asked.lvef_requested + rng.normal(0, 9, 600))
    assert score_table(own)["ceiling_truth"] == "lvef_requested"
    assert score_table(own, task="generation")["ceiling"] == {}


def test_n_stands_beside_every_rule_its_null_and_its_ceiling(two_patients):
    labelled = two_patients.assign(lvef_true=50.0, lvef_reference=[51.0, 51, 51, 48, 48, 48])
    found = score_table(labelled)
    for group in ("rules", "null", "ceiling"):
        assert {found[group][rule]["N"] for rule in RULES} == {2}, group


def test_targets_are_uniform_15_to_85_and_do_not_depend_on_how_many_are_drawn():
    targets = counterfactual_targets(2000, seed=1)
    assert 15 <= targets.min() < 16 and 84 < targets.max() <= 85
    assert targets.mean() == pytest.approx(50, abs=4 * 70 / 12**0.5 / 2000**0.5)
    assert (counterfactual_targets(10, seed=1) == targets[:10]).all()
    assert (counterfactual_targets(10, seed=2) != targets[:10]).all()
    with pytest.raises(ValueError, match="low < high"):
        counterfactual_targets(3, seed=0, low=85, high=15)
