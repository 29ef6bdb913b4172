"""The paper's cascades as FACTS Sec. 3 gives them, file by file and network by network."""

import pytest

from echocascade.cascade.cost import sampling_cost
from echocascade.cascade.stage import Stage
from echocascade.diffusion import network_evaluations
from echocascade.params import load_params

# name, role, pixels, frames, fps, sampling steps, S_churn, training crop
STAGES = {
    "1scm": [("base", "base", 112, 16, 8, 64, 160, None)],
    "2scm": [
        ("base", "base", 56, 16, 8, 32, 80, None),
        ("tssr", "TSSR", 112, 64, 32, 64, 160, 56),
    ],
    "4scm": [
        ("base", "base", 56, 16, 8, 32, 40, None),
        ("tsr1", "TSR", 56, 32, 16, 32, 80, None),
        ("tsr2", "TSR", 56, 64, 32, 32, 160, None),
        ("ssr", "SSR", 112, 64, 32, 64, 160, 56),
    ],
}
# file, stage: millions of parameters, GFLOP of one evaluation of one video, by PyTorch's counter
AUTHORS = {
    ("1scm", "base"): (18.2, 977),
    ("2scm", "base"): (18.5, 266),
    ("2scm", "tssr"): (27.4, 2134),
    ("4scm", "base"): (18.5, 266),
    ("4scm", "ssr"): (19.8, 4174),
}
SIZES = [
    name + kind for name in STAGES for kind in ("", "_phantom") if name + kind != "1scm_phantom"
]


def paper_params(root, name):
    return load_params(root / "params" / f"{name}.yaml")


@pytest.mark.parametrize("name", SIZES)
def test_stages_have_the_papers_sizes_rates_steps_and_churn(root, name):
    params = paper_params(root, name)
    cascade = params.cascade
    found = [
        (
            *(s.name, cascade.role(i), s.size, s.n_frames, s.fps),
            *(s.sampler.steps, s.sampler.S_churn, s.training.crop),
        )
        for i, s in enumerate(cascade.stages)
    ]
    assert found == STAGES[name.removesuffix("_phantom")]
    for stage in cascade.stages:
        sampler = stage.sampler
        assert stage.duration_s == 2
        assert (sampler.method, sampler.rho) == ("heun", 7)
        assert (sampler.S_tmin, sampler.S_tmax, sampler.S_noise) == (0.05, 50, 1.003)
    assert (params.store_size, params.store_fps) == (112, 32)


@pytest.mark.parametrize("name", STAGES)
def test_stages_train_as_the_papers_did(root, name):
    params = paper_params(root, name)
    assert params.devices == 8
    for stage in params.cascade.stages:
        t = stage.training
        assert (stage.sigma_data, stage.target) == (0.25, "video")
        assert (t.P_mean, t.P_std, t.image_only, t.drop_condition) == (-1.2, 1.2, 0.25, 0.1)
        assert (t.learning_rate, t.decay_from, t.precision, t.max_hours) == (5e-4, 1, "fp32", 48)
        assert 4 <= t.device_batch <= 8
        assert 32 <= t.batch_size <= 64
        assert t.batch_size % (params.devices * t.device_batch) == 0
        assert (stage.sampler.sigma_min, stage.sampler.sigma_max) == (0.002, 80)


@pytest.mark.parametrize("name", STAGES)
def test_guidance_protocol_and_judge_are_the_papers(root, name):
    params = paper_params(root, name)
    assert (params.cascade.guidance.scale, params.cascade.guidance.apply_to) == (5, "all")
    e, judge = params.evaluation, params.regressor
    assert (e.split, e.clips, e.draws, e.lvef_percent) == ("VAL", 1288, 3, (15, 85))
    assert (judge.preset, judge.n_frames, judge.fps) == ("r2plus1d_18", 64, 32)
    assert not params.is_phantom


@pytest.mark.parametrize(("name", "evaluations"), [("1scm", 254), ("2scm", 380), ("4scm", 632)])
def test_a_video_takes_the_papers_number_of_network_evaluations(root, name, evaluations):
    stages = paper_params(root, name).cascade.stages
    plain = sum(network_evaluations(s.sampler.method, s.sampler.steps) for s in stages)
    assert 2 * plain == evaluations  # with and without the condition


@pytest.mark.parametrize(("place", "authors"), AUTHORS.items(), ids=lambda x: "-".join(map(str, x)))
def test_networks_have_the_size_and_the_flops_of_the_authors(root, place, authors):
    name, stage = place
    params = paper_params(root, name)
    cost = sampling_cost(Stage.of(params, params.cascade.index(stage)))
    assert cost.parameters / 1e6 == pytest.approx(authors[0], rel=0.15)
    assert cost.flops / 1e9 == pytest.approx(authors[1], rel=0.15)


def test_super_resolution_takes_less_memory_than_the_same_work_at_full_resolution(root):
    """The yardstick is the base's network, which spends as many FLOPs on a clip of that size."""
    params = paper_params(root, "4scm")
    own = sampling_cost(Stage.of(params, 3))
    change = {"cascade.stages.ssr.network.preset": "paper_base"}
    full = sampling_cost(Stage.of(load_params(root / "params" / "4scm.yaml", change), 3))
    assert own.flops == pytest.approx(full.flops, rel=0.15)
    assert own.activation_bytes < 0.65 * full.activation_bytes


@pytest.mark.parametrize("name", [n for n in SIZES if n.endswith("_phantom")])
def test_a_phantom_sibling_trains_on_one_gpu_in_under_half_an_hour(root, name):
    params = paper_params(root, name)
    assert params.is_phantom
    assert params.devices == 1
    assert sum(s.training.max_minutes for s in params.cascade.stages) < 25
