"""Work that is constant over a video is done once, and the results do not change with it."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.prepared import Prepared, levels_of
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import Guidance, LoadedStage
from echocascade.diffusion import guided_batched, karras_sigmas, plan_steps, sample_heun
from echocascade.diffusion.preconditioning import noise_level
from echocascade.diffusion.samplers import Churn


def loaded(params, index, precision="fp32", patch=2):
    stages = list(params.cascade.stages)
    network = stages[index].network.model_copy(
        update={"full_resolution_channels": 8, "patch": patch, "spatial_attention": (1,)}
    )
    training = stages[index].training.model_copy(update={"precision": precision})
    stages[index] = stages[index].model_copy(update={"network": network, "training": training})
    cascade = params.cascade.model_copy(update={"stages": tuple(stages)})
    stage = Stage.of(params.model_copy(update={"cascade": cascade}), index)
    torch.manual_seed(0)
    denoiser = stage.build().eval().requires_grad_(False)
    for p in denoiser.parameters():  # nothing is left at its zero start
        p.add_(0.05 * torch.randn_like(p))
    return LoadedStage(stage, denoiser)


def request(stage, n=2):
    g = torch.Generator().manual_seed(1)
    lowres = None if stage.before is None else torch.rand(n, 1, 4, 8, 8, generator=g) * 2 - 1
    I_c = torch.rand(n, 1, 16, 16, generator=g) * 2 - 1
    return {"I_c": I_c, "lambda_c": torch.tensor([[0.2], [0.7]]), "seeds": [3, 4], "seed": 0,
            "lowres": lowres}  # fmt: skip


GUIDANCE = {
    "none": Guidance(1.0),
    "all levels": Guidance(2.0, all_stages=True),
    "an interval": Guidance(2.0, (0.1, 5.0), all_stages=True),
}


@pytest.mark.parametrize("guidance", GUIDANCE.values(), ids=GUIDANCE)
@pytest.mark.parametrize(("index", "patch"), [(0, 1), (1, 2)], ids=["base", "TSSR"])
def test_hoisted_sampling_equals_the_plain_path(tiny_params, index, patch, guidance):
    stage = loaded(tiny_params, index, patch=patch)
    inputs = request(stage.stage)
    hoisted = stage.sample(**inputs, guidance=guidance)
    plain = replace(stage, hoist=False).sample(**inputs, guidance=guidance)
    # six evaluations whose first convolutions are summed in another order
    torch.testing.assert_close(hoisted, plain, atol=1e-4, rtol=0)
    assert plain.std() > 0.1


def test_in_bfloat16_they_differ_by_its_rounding(tiny_params):
    stage, exact = loaded(tiny_params, 1, "bf16"), loaded(tiny_params, 1)
    inputs = request(stage.stage)
    truth = exact.sample(**inputs)
    hoisted = stage.sample(**inputs) - truth
    plain = replace(stage, hoist=False).sample(**inputs) - truth
    assert hoisted.std() < 1.5 * plain.std()
    assert plain.std() < 0.05


def test_cast_weights_leave_the_loaded_ones_alone(tiny_params):
    stage = loaded(tiny_params, 0, "bf16")
    stage.sample(**request(stage.stage))
    assert all(p.dtype == torch.float32 for p in stage.denoiser.parameters())


def calls(module):
    """Count the calls of a submodule."""
    counted = []
    module.register_forward_hook(lambda *_: counted.append(1))
    return counted


def test_embeddings_of_all_levels_are_made_in_one_pass(tiny_params):
    stage = loaded(tiny_params, 0)
    embedded = calls(stage.denoiser.network.unet.embed)
    evaluated = calls(stage.denoiser)
    stage.sample(**request(stage.stage), guidance=GUIDANCE["all levels"])
    assert len(evaluated) == stage.evaluations() == 5
    assert len(embedded) == 1


def test_conditioning_images_are_convolved_once_a_video(tiny_params, monkeypatch):
    stage = loaded(tiny_params, 1)
    unet, channels = stage.denoiser.network.unet, []
    entrance = unet.entrance
    monkeypatch.setattr(unet, "entrance", lambda x, part, bias=True:
                        channels.append(part.start) or entrance(x, part, bias))  # fmt: skip
    stage.sample(**request(stage.stage))
    assert channels[:2] == [1, 2]
    assert channels[2:] == [0] * stage.evaluations()


def test_a_level_that_was_not_planned_is_embedded_when_asked_for(tiny_params):
    stage = loaded(tiny_params, 0)
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, 1, 4, 8, 8, generator=g)
    cond = Conditioning(torch.rand(2, 1, generator=g), torch.rand(2, 1, 8, 8, generator=g),
                        torch.ones(2))  # fmt: skip
    sigma = noise_level(0.7)
    planned = Prepared.of(stage.denoiser, cond, [0.7, 3.0]).evaluate(x, sigma)
    unplanned = Prepared.of(stage.denoiser, cond, [3.0]).evaluate(x, sigma)
    plain = stage.denoiser(x, sigma, cond)
    torch.testing.assert_close(planned, unplanned, atol=1e-6, rtol=0)
    torch.testing.assert_close(planned, plain, atol=1e-5, rtol=0)


def test_levels_are_those_that_the_samplers_ask_for():
    asked = []

    def denoise(x, sigma):
        asked.append(float(sigma))
        return 0 * x

    sigmas = karras_sigmas(6, 0.002, 80.0, 7.0)
    sample_heun(denoise, torch.ones(1, 2), sigmas, S_churn=4.0, S_tmin=0.05, S_tmax=50.0)
    planned = levels_of(plan_steps(sigmas, Churn(4.0, 0.05, 50.0)))
    assert set(asked) <= set(planned)
    assert min(planned) > 0


class Waits(TorchDispatchMode):
    """Fails where a value is read on the host from an accelerator, or brought there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        source = args[0] if args and isinstance(args[0], torch.Tensor) else None
        result = func(*args, **(kwargs or {}))
        if source is not None and source.device.type == "cuda" and isinstance(result, torch.Tensor):
            assert result.device.type == "cuda", f"{func} brings a tensor to the host"
        return result


def fake_cuda(module):
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                part._parameters[name] = torch.nn.Parameter(
                    torch.empty_strided(p.shape, p.stride(), device="cuda"), requires_grad=False
                )
        for name, b in part._buffers.items():
            part._buffers[name] = torch.empty_like(b, device="cuda")
    return module


def test_the_loop_never_waits_for_an_accelerator(tiny_params):
    """On tensors that claim to lie on a GPU, reading one on the host is an error."""
    stage = loaded(tiny_params, 1)
    sigmas = karras_sigmas(3, 0.002, 80.0, 7.0).tolist()
    levels = levels_of(plan_steps(sigmas, Churn(1.0)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake_cuda(stage.denoiser)
        x = torch.empty(2, 1, 8, 16, 16, device="cuda")
        cond = Conditioning(x.new_ones(2, 1), x[:, :, 0], x.new_ones(2), x, x.new_ones(2))
        both = cond.joined(cond.without_lambda())
        prepared = [Prepared.of(stage.denoiser, c, levels) for c in (cond, both)]
        denoise = guided_batched(
            lambda y, sigma, p: p.evaluate(y, sigma), *prepared, 2.0, (0.1, 5.0)
        )
        with Waits():
            sample = sample_heun(denoise, x, sigmas, S_churn=1.0)
        assert sample.device.type == "cuda" and sample.shape == x.shape
        with pytest.raises(DataDependentOutputException):
            float(sample.sum())
