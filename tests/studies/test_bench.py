"""The benchmark counts what it says, runs each case alone and compares like with like."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from echocascade.cascade.cost import sampling_cost
from echocascade.cascade.stage import Stage
from echocascade.params import load_params
from echocascade.studies.bench import networks, runner
from echocascade.studies.bench.cases import SIZES, Plan
from echocascade.studies.bench.clock import counted, kind_of, peak_memory_mb, timed, where_time_goes
from echocascade.studies.bench.kept import Kept
from echocascade.studies.bench.peaks import matmul_gflop_per_s
from echocascade.studies.bench.peer import CONFIGURATIONS

CPU = torch.device("cpu")
# FACTS Sec. 3: millions of parameters and GFLOP of the authors' networks
AUTHORS = {
    "1scm_base": (18.15, 976.8), "2scm_base": (18.45, 266.2), "2scm_tssr": (27.40, 2134.1),
    "4scm_ssr": (19.80, 4173.6),
}  # fmt: skip


def test_the_median_of_the_runs_after_the_warm_up_counts():
    calls = []

    def work():
        calls.append(time.perf_counter())
        time.sleep(0.2 if len(calls) == 1 else 0.01)

    timing = timed(work, CPU, runs=3, warmup=1)
    assert len(calls) == 4 and len(timing.times_s) == 3
    assert 0.01 <= timing.median_s < 0.1


def test_runs_stop_when_the_time_is_spent_but_never_below_three():
    assert len(timed(lambda: time.sleep(0.02), CPU, 50, 0, limit_s=0.05).times_s) == 3


def test_flops_of_products_convolutions_and_attention_are_counted():
    a = torch.ones(2, 3, 4)
    assert counted(lambda: a[0] @ torch.ones(4, 5)).flops == 2 * 3 * 4 * 5
    x, w = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3, 3)
    convolution = counted(lambda: nn.functional.conv2d(x, w, padding=1))
    assert convolution.flops == 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)
    assert convolution.bytes == 4 * (x.numel() + w.numel() + 2 * 4 * 8 * 8)
    q = torch.ones(1, 2, 256, 16)
    attention = nn.functional.scaled_dot_product_attention
    assert counted(lambda: attention(q, q, q)).flops == 2 * 2 * (2 * 256 * 256 * 16)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution"),
        ("sm90_xmma_fprop_implicit_gemm_bf16", "convolution"),
        ("aten::addmm", "matrix product"),
        ("nvjet_hsh_gemm", "matrix product"),
        ("fmha_cutlassF_bf16_aligned", "attention"),
        ("aten::_softmax", "attention"),
        ("aten::copy_", "copies"),
        ("aten::silu", "norms, activations, sums"),
    ],
)
def test_time_is_booked_on_the_kind_of_work(kernel, kind):
    assert kind_of(kernel) == kind


def test_the_profile_finds_where_a_convolution_spends_its_time():
    x, w = torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3)
    found = where_time_goes(lambda: nn.functional.conv2d(x, w), CPU)
    assert max(found, key=found.get) == "convolution"


def test_memory_grows_with_what_is_held():
    before = peak_memory_mb(CPU)
    held = torch.ones(3 * 10**8 + int(before * 1e6), dtype=torch.uint8)
    assert peak_memory_mb(CPU) >= before + 250
    del held


def test_a_machine_multiplies_matrices_at_some_rate():
    assert matmul_gflop_per_s("fp32", CPU) > 0.1


@pytest.mark.parametrize("size", SIZES)
def test_our_networks_have_nine_tenths_of_the_authors_parameters_and_flops(root, size):
    """At the peer's three channels, as they are measured."""
    params = load_params(root / "params" / SIZES[size].params_file, {"data.channels": 3})
    cost = sampling_cost(Stage.of(params, params.cascade.index(SIZES[size].stage)))
    parameters, gflop = AUTHORS[size]
    assert cost.parameters / 1e6 > 0.9 * parameters
    assert cost.flops / 1e9 > 0.9 * gflop
    assert CONFIGURATIONS[size]["dim"] == 64


def test_equal_inputs_for_ours_and_the_peer(root):
    one, two = (networks.inputs_of("2scm_base", 2, CPU) for _ in range(2))
    assert torch.equal(one.noisy, two.noisy) and torch.equal(one.frame, two.frame)
    assert one.noisy.shape == (2, 3, 16, 56, 56) and one.lowres is None
    assert networks.inputs_of("2scm_tssr", 1, CPU).lowres is not None


def test_a_peers_case_follows_ours_of_the_same_shape():
    cases = Plan(sizes=("2scm_base",), peer="imagen-pytorch").cases()
    first = [(c.peer, c.dtype, c.allocator) for c in cases[:4]]
    assert first == [
        (None, "fp32", "own"), (None, "bf16", "own"),
        ("imagen-pytorch", "fp32", "default"), ("imagen-pytorch", "fp32", "own"),
    ]  # fmt: skip
    assert {c.name for c in cases[:4]} == {"network/2scm_base/forward"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sizes": ("8scm",)}, "size 8scm; allowed: 1scm_base"),
        ({"dtypes": ("fp8",)}, "dtype fp8"),
        ({"graphs": True}, "CUDA graphs need --device cuda"),
        ({"dtypes": ("tf32",)}, "tf32 needs --device cuda"),
        ({"peer": "diffusers"}, "peer diffusers; allowed: imagen-pytorch"),
        ({"runs": 0}, "runs 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Plan(**given)


@pytest.fixture
def tiny_sampler(tiny_params, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_params.dump_yaml(), encoding="utf-8")
    return Plan(dtypes=("fp32",), runs=2, only=("sampler/one video",), threads=1,
                params_file=str(tmp_path / "tiny.yaml"))  # fmt: skip


def test_a_bench_has_the_shape_that_scripts_rely_on(root, tiny_sampler, monkeypatch):
    monkeypatch.setattr(runner, "_in_process", quick_peaks(runner._in_process))
    told = []
    found = runner.run_bench(tiny_sampler, root, lambda *a: told.append(a[:2]))
    assert told == [(0, 1), (1, 1)]
    (result,) = found["results"]
    assert (result["name"], result["dtype"], result["batch"]) == ("sampler/one video", "fp32", 1)
    assert result["median_s"] > 0 and result["gflop"] > 0 and result["peak_rss_mb"] > 50
    rate = result["gflop"] / result["median_s"]
    assert result["gflop_per_s"] == pytest.approx(rate)
    assert result["share_of_peak"] == pytest.approx(rate / 100)
    assert result["share_of_matmul"] == pytest.approx(rate / 50)
    assert found["peers"] == []
    json.dumps(found, allow_nan=False)


def quick_peaks(original):
    """The machine's peaks are not measured again: 50 and 100 GFLOP/s, 10 GB/s."""

    def answer(python, plan, case, root):
        if case is not None:
            return original(python, plan, case, root)
        rates = {"matmul_gflop_per_s": 50.0, "convolution_gflop_per_s": 100.0}
        return {"device": "cpu", "peaks": dict.fromkeys(plan.dtypes, rates),
                "bandwidth_gb_per_s": 10.0}  # fmt: skip

    return answer


def test_ratios_are_the_peers_time_over_ours(root, monkeypatch):
    def answer(python, plan, case, root):
        if case is None:
            return quick_peaks(None)(python, plan, None, root)
        seconds = {None: {"fp32": 2.0, "bf16": 1.0}, "imagen-pytorch": {"fp32": 6.0}}
        return {**case.to_json(), "median_s": seconds[case.peer][case.dtype], "peak_rss_mb": 1.0,
                "gflop": 90.0 if case.peer is None else 100.0, "gigabytes": 1.0,
                "parameters": 9 if case.peer is None else 10}  # fmt: skip

    monkeypatch.setattr(runner, "_in_process", answer)
    monkeypatch.setattr(runner, "peer_python", lambda root: sys.executable)
    plan = Plan(sizes=("2scm_base",), batches=(1,), peer="imagen-pytorch",
                only=("network/2scm_base/forward",))  # fmt: skip
    peers = runner.run_bench(plan, root)["peers"]
    assert [(p["dtype"], p["peer_allocator"], p["ratio"]) for p in peers] == [
        ("fp32", "default", 3), ("bf16", "default", 6), ("fp32", "own", 3), ("bf16", "own", 6),
    ]  # fmt: skip
    assert {(p["parameters_share"], p["gflop_share"]) for p in peers} == {(0.9, 0.9)}


def test_reading_a_batch_is_compared_with_decoding_its_clips_one_by_one():
    results = [
        {"name": "data/read batch", "dtype": "uint8", "batch": 16, "median_s": 0.01},
        {"name": "data/decode and zoom", "dtype": "uint8", "batch": 1, "median_s": 0.25},
    ]
    (found,) = runner._data_peers(results)
    assert found["median_s"] == pytest.approx(4.0) and found["ratio"] == pytest.approx(400)


def test_a_case_that_fails_is_named(root, tiny_sampler):
    broken = Plan.from_json({**tiny_sampler.to_json(), "params_file": "params/nowhere.yaml"})
    with pytest.raises(runner.BenchError, match=r"sampler/one video .*nowhere\.yaml"):
        runner._in_process(sys.executable, broken, broken.cases()[0], root)


def test_a_case_that_fails_costs_the_others_nothing(root, tiny_sampler, monkeypatch):
    def answer(python, plan, case, root):
        if case is not None and case.name == "sampler/batch":
            raise runner.BenchError(f"{case.label} could not be measured: no memory")
        if case is None:
            return quick_peaks(None)(python, plan, None, root)
        return {**case.to_json(), "median_s": 1.0, "gflop": None}

    monkeypatch.setattr(runner, "_in_process", answer)
    found = runner.run_bench(replace(tiny_sampler, only=("sampler",)), root)
    assert [r["name"] for r in found["results"]] == ["sampler/one video"]
    (left_out,) = found["left_out"]
    assert left_out["reason"] == "sampler/batch fp32, batch 8 could not be measured: no memory"
    with pytest.raises(runner.BenchError, match="no memory"):
        runner.run_bench(replace(tiny_sampler, only=("sampler/batch",)), root)


def test_a_bench_that_was_cut_off_goes_on(root, tiny_sampler, monkeypatch, tmp_path):
    measured = []

    def answer(python, plan, case, root):
        measured.append(case and case.name)
        if measured.count("sampler/batch") == 1 and case and case.name == "sampler/batch":
            raise KeyboardInterrupt
        if case is None:
            return quick_peaks(None)(python, plan, None, root)
        return {**case.to_json(), "median_s": 1.0, "gflop": None}

    def go_on(commit, dirty=False):
        of = {"plan": plan.to_json(), "commit": commit, "dirty": dirty}
        return runner.run_bench(plan, root, kept=Kept(tmp_path / "measured.jsonl", of))

    monkeypatch.setattr(runner, "_in_process", answer)
    plan = replace(tiny_sampler, only=("sampler",))
    with pytest.raises(KeyboardInterrupt):
        go_on("a")
    assert measured == [None, "sampler/one video", "sampler/batch"]
    with (tmp_path / "measured.jsonl").open("a") as file:
        file.write('{"case": "half a li')
    for _ in range(2):  # the second time everything is there
        found = go_on("a")
        assert [r["name"] for r in found["results"]] == ["sampler/one video", "sampler/batch"]
        assert measured[3:] == ["sampler/batch"]
    go_on("b")
    assert measured[4:] == [None, "sampler/one video", "sampler/batch"]
    for unknown in (True, None):  # a changed tree, and one without git
        go_on("c", unknown)
        go_on("c", unknown)
    assert measured[7:] == [None, "sampler/one video", "sampler/batch"] * 4


def test_the_peer_is_measured_with_our_malloc_where_memory_allows():
    cases = Plan(peer="imagen-pytorch").cases()
    assert {c.name.split("/")[1] for c in cases if c.peer and c.allocator == "own"} == {"2scm_base"}
    assert {c.name.split("/")[1] for c in cases if c.peer} == set(Plan.sizes)


def test_without_the_peers_environment_one_line_says_how_to_make_it(tmp_path):
    with pytest.raises(runner.BenchError, match="`make peer` makes it"):
        runner.peer_python(tmp_path)


def test_a_compiled_network_answers_as_the_plain_one(tiny_params):
    """The path that a GPU takes, here with the compiler's front end alone."""
    stage = networks.loaded(tiny_params, 0, "fp32", CPU)
    for p in stage.denoiser.parameters():
        p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    inputs = {"I_c": torch.zeros(1, 1, 16, 16), "lambda_c": torch.tensor([[0.4]]), "seeds": [1],
              "seed": 0}  # fmt: skip
    plain = stage.sample(**inputs)
    unet = stage.denoiser.network.unet
    unet.body = torch.compile(unet.body, backend="aot_eager")
    torch.testing.assert_close(stage.sample(**inputs), plain, atol=1e-4, rtol=0)


def test_the_command_refuses_a_gpu_that_is_not_there(root):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run(
        [sys.executable, "-m", "echocascade.cli", "bench", "--device", "cuda"],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("echocascade: --device cuda: PyTorch finds no GPU here")
    assert "Traceback" not in done.stderr


def test_the_sampler_of_the_paper_can_be_measured(root):
    """The cascade that a GPU measures by default is one of ours."""
    params = load_params(root / "params" / "2scm.yaml")
    assert [s.sampler.steps for s in params.cascade.stages] == [32, 64]
