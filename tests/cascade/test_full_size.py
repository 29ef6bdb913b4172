"""64 frames of 112 px through the paper's cascades with the paper's steps.

The networks are small ones, but for the last test, which takes the paper's: on two CPU cores that
is half an hour to two hours, so it is `make full-size CASCADE=2scm` that runs it.
"""

import os
import sys
import time

import pytest
import torch

from echocascade import runtime
from echocascade.cascade.cost import PeakMemory
from echocascade.cascade.plan import plan_sampling
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import Cascade, Guidance, LoadedStage
from echocascade.params import load_params

SMALL = {
    "preset": None, "base_channels": 4, "channel_multipliers": [1], "blocks_per_level": 1,
    "middle_blocks": 1, "patch": 8, "full_resolution_channels": 0, "temporal_attention": [0],
    "spatial_attention": [], "middle_spatial_attention": False, "attention_heads": 1,
}  # fmt: skip


def small_cascade(root, name, **changes) -> Cascade:
    """Everything as in the file, but the networks: untrained and small."""
    params = load_params(root / "params" / f"{name}.yaml")
    keys = {
        f"cascade.stages.{stage.name}.network.{key}": value
        for stage in params.cascade.stages
        for key, value in SMALL.items()
    }
    params = load_params(root / "params" / f"{name}.yaml", keys | changes)
    torch.manual_seed(0)
    stages = [Stage.of(params, i) for i in range(len(params.cascade.stages))]
    return Cascade(params, [LoadedStage(stage, stage.build().eval()) for stage in stages])


def request(n):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 112, 112, generator=g) * 2 - 1, torch.linspace(0.2, 0.8, n)[:, None]


class Calls:
    """Counts the network's evaluations, each video of a batch on its own."""

    def __init__(self, cascade: Cascade) -> None:
        self.counts = [0] * len(cascade.stages)
        for i, stage in enumerate(cascade.stages):
            stage.denoiser.network.register_forward_hook(self._counter(i))

    def _counter(self, i):
        def count(module, inputs, output):
            self.counts[i] += len(output)

        return count


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("2scm", [(16, 56), (64, 112)]),
        ("4scm", [(16, 56), (32, 56), (64, 56), (64, 112)]),
    ],
)
def test_a_clip_of_the_papers_size_is_sampled_with_the_papers_steps_as_planned(root, name, shapes):
    cascade = small_cascade(root, name)
    calls = Calls(cascade)
    guidance = Guidance.of(cascade.params.cascade.guidance, 5.0)
    videos = cascade.sample(*request(1), seeds=[3], guidance=guidance)
    assert [tuple(v.shape) for v in videos] == [(1, 1, t, s, s) for t, s in shapes]
    assert all(v.isfinite().all() and v.abs().max() <= 1 for v in videos)
    plan = plan_sampling(cascade.params, 1, 1, flop_per_s=1e12)
    assert calls.counts == [stage.evaluations for stage in plan.stages]


def test_clips_of_the_papers_size_do_not_depend_on_the_batch(root):
    few = {f"cascade.stages.{name}.sampler.steps": 3 for name in ("base", "tssr")}
    cascade = small_cascade(root, "2scm", **few)
    guidance = Guidance(5.0, all_stages=True)
    together = cascade.sample(*request(3), seeds=[7, 8, 9], guidance=guidance, batch_size=3)[-1]
    chunked = cascade.sample(*request(3), seeds=[7, 8, 9], guidance=guidance, batch_size=2)[-1]
    # float32 sums of another batch size may run in another order, and guidance weighs them 5 times
    torch.testing.assert_close(together, chunked, atol=2e-3, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["1SCM", "2SCM", "4SCM"])
def test_the_how_to_page_states_the_memory_that_is_planned(root, name):
    page = (root / "notebooks" / "howto" / "one-gpu.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    stated = float(row.split("|")[2])
    plan = plan_sampling(
        load_params(root / "params" / f"{name.lower()}.yaml"), 1, 1, flop_per_s=1e12
    )
    assert plan.memory_bytes / 2**30 == pytest.approx(stated, abs=0.06)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_memory_is_what_the_plan_says(root, batch_size):
    few = {f"cascade.stages.{name}.sampler.steps": 2 for name in ("base", "tssr")}
    cascade = small_cascade(root, "2scm", **few)
    plan = plan_sampling(cascade.params, batch_size, batch_size, flop_per_s=1e12)
    guidance = Guidance.of(cascade.params.cascade.guidance, 5.0)
    I_c, lambda_c = request(batch_size)
    with PeakMemory() as memory:
        cascade.sample(I_c, lambda_c, range(batch_size), guidance=guidance, batch_size=batch_size)
    assert memory.peak == pytest.approx(plan.memory_bytes, rel=0.05)


@pytest.mark.skipif("ECHOCASCADE_FULL_SIZE" not in os.environ, reason="make full-size runs it")
def test_a_clip_is_sampled_with_the_papers_networks_and_steps_as_planned(root):
    name, _, precision = os.environ.get("ECHOCASCADE_FULL_SIZE", "").partition(":")
    file = root / "params" / f"{name}.yaml"
    names = [stage.name for stage in load_params(file).cascade.stages]
    changes = {f"cascade.stages.{n}.training.precision": precision or "fp32" for n in names}
    params = load_params(file, changes)
    runtime.prepare(os.cpu_count())
    plan = plan_sampling(params, 1, 1)
    print("\n" + plan.text, flush=True)
    torch.manual_seed(0)
    stages = [Stage.of(params, i) for i in range(len(names))]
    cascade = Cascade(params, [LoadedStage(s, s.build().eval()) for s in stages])
    calls, began = Calls(cascade), [time.monotonic()]

    def tell(done, total, stage):
        began.append(time.monotonic())
        print(f"{stage}: {began[-1] - began[-2]:.0f} s", flush=True)

    def show(stage, step, video):
        seconds = time.monotonic() - began[-1]
        print(
            f"  {stage.name}: step {step.index + 1}, {seconds:.0f} s", file=sys.stderr, flush=True
        )

    guidance = Guidance.of(params.cascade.guidance, 5.0)
    videos = cascade.sample(
        *request(1), seeds=[3], guidance=guidance, progress=tell, watch=show
    )  # fmt: skip
    together, resident = began[-1] - began[0], runtime.peak_resident_bytes() / 2**30
    print(f"together {together:.0f} s; the process held {resident:.1f} GiB at most")
    assert calls.counts == [stage.evaluations for stage in plan.stages]
    for video, stage in zip(videos, stages, strict=True):
        p = stage.params
        assert tuple(video.shape) == (1, 1, p.n_frames, p.size, p.size)
        assert video.isfinite().all() and video.abs().max() <= 1
        assert video.std() > 0.01  # not one grey
