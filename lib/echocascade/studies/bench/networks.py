"""Our networks and samplers at work, on inputs that a peer gets too."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echocascade import runtime
from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.prepared import with_weights_as
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import Cascade, Guidance, LoadedStage
from echocascade.diffusion import Denoiser
from echocascade.params import Params, load_params
from echocascade.studies.bench.cases import SIZES, Case, Plan
from echocascade.studies.bench.clock import Work

CHANNELS = 3  # the authors' videos have three, so ours do here


@dataclass(frozen=True)
class Inputs:
    """The same numbers for every network of a size.

    noisy (B, 3, T, H, W) with unit variance; c_noise (B,); lvef (B, 1) and frame (B, 3, H, W) in
    [0, 1]; lowres (B, 3, T, H, W) in [-1, 1] or None; target like noisy.
    """

    noisy: Tensor
    c_noise: Tensor
    lvef: Tensor
    frame: Tensor
    lowres: Tensor | None
    target: Tensor


def inputs_of(size_name: str, batch: int, device: torch.device) -> Inputs:
    """Drawn from a seed, so that ours and the peer's process hold the same."""
    size = SIZES[size_name]
    g = torch.Generator().manual_seed(0)
    shape = (batch, CHANNELS, size.n_frames, size.size, size.size)
    noisy, target = (torch.randn(shape, generator=g).to(device) for _ in range(2))
    lowres = torch.rand(shape, generator=g).mul(2).sub(1).to(device)
    return Inputs(
        noisy=noisy,
        c_noise=torch.randn(batch, generator=g).to(device),
        lvef=torch.rand(batch, 1, generator=g).to(device),
        frame=torch.rand(batch, CHANNELS, size.size, size.size, generator=g).to(device),
        lowres=lowres if size.stage in ("tssr", "ssr") else None,
        target=target,
    )


@dataclass(frozen=True)
class Measured:
    """Work to time, and the parameters of what does it (0: there are none)."""

    work: Work
    parameters: int = 0


def network_work(case: Case, plan: Plan, root: Path) -> Measured:
    """A forward pass or a training step of one of SIZES."""
    _, size, what = case.name.split("/")
    device = torch.device(plan.device)
    denoiser = _denoiser(size, root, device)
    inputs = inputs_of(size, case.batch, device)
    conditioning = _conditioning(inputs)
    parameters = sum(p.numel() for p in denoiser.parameters())
    if what == "training_step":
        answer = _network(denoiser, plan, conditioning)
        step = training_step(denoiser, lambda: answer(inputs), inputs.target)
        return Measured(in_precision(step, case.dtype, device), parameters)
    denoiser.eval().requires_grad_(False)
    if case.dtype == "bf16":
        denoiser = with_weights_as(denoiser, torch.bfloat16)
    answer = _network(denoiser, plan, conditioning)

    @torch.no_grad()
    def forward() -> Tensor:
        return answer(inputs)

    work = in_precision(forward, case.dtype, device)
    return Measured(_captured(work) if plan.graphs and not plan.compiled else work, parameters)


def training_step(network: nn.Module, answer: Callable[[], Tensor], target: Tensor) -> Work:
    """Forward, squared error, backward, one Adam step; the same for ours and a peer's."""
    optimizer = torch.optim.Adam(network.parameters(), 5e-4)

    def step() -> None:
        loss = (answer().float() - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def sampler_work(case: Case, plan: Plan, root: Path) -> Measured:
    """`batch` videos of the whole cascade of `plan.params_file`, at a guidance scale of 2."""
    params = load_params(root / plan.params_file)
    device = torch.device(plan.device)
    cascade = Cascade(params, [loaded(params, i, case.dtype, device)
                               for i in range(len(params.cascade.stages))])  # fmt: skip
    if plan.compiled or plan.graphs:
        for stage in cascade.stages:
            compile_body(stage.denoiser, plan.graphs)
    g = torch.Generator().manual_seed(0)
    side, channels = params.cascade.stages[-1].size, params.data.channels
    I_c = torch.rand(case.batch, channels, side, side, generator=g) * 2 - 1
    lambda_c = torch.rand(case.batch, len(params.conditioning.scalars), generator=g)
    guidance = Guidance.of(params.cascade.guidance, 2.0)

    def sample() -> list[Tensor]:
        return cascade.sample(I_c, lambda_c, range(case.batch), guidance=guidance)

    parameters = sum(p.numel() for s in cascade.stages for p in s.denoiser.parameters())
    return Measured(sample, parameters)


def loaded(params: Params, index: int, dtype: str, device: torch.device) -> LoadedStage:
    """A stage with weights that nobody trained: they cost what trained ones cost."""
    stage = Stage.of(params, index)
    training = stage.params.training.model_copy(update={"precision": dtype})
    update = {"training": training}
    params_of_stage = stage.params.model_copy(update=update)
    stage = Stage(params_of_stage, stage.index, stage.role, stage.channels, stage.n_scalars,
                  stage.before, stage.statistics)  # fmt: skip
    return LoadedStage(stage, stage.build().to(device).eval().requires_grad_(False))


def compile_body(denoiser: Denoiser, graphs: bool) -> None:
    """torch.compile all of the U-Net behind its first convolutions, with CUDA graphs or without."""
    unet: Any = denoiser.network.unet
    unet.body = torch.compile(unet.body, mode="reduce-overhead" if graphs else "default")


def _denoiser(size: str, root: Path, device: torch.device) -> Denoiser:
    file = root / "params" / SIZES[size].params_file
    params = load_params(file, {"data.channels": CHANNELS})
    torch.manual_seed(0)
    denoiser = Stage.of(params, params.cascade.index(SIZES[size].stage)).build()
    with torch.no_grad():  # no layer stays at its zero start, where its values would be trivial
        for p in denoiser.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return denoiser.to(device)


def _conditioning(inputs: Inputs) -> Conditioning:
    ones = torch.ones_like(inputs.c_noise)
    later = inputs.lowres is not None
    return Conditioning(
        lambda_c=inputs.lvef, I_c=inputs.frame * 2 - 1, given=ones, lowres=inputs.lowres,
        sigma_aug=0.1 * ones if later else None,
    )  # fmt: skip


def _network(
    denoiser: Denoiser, plan: Plan, conditioning: Conditioning
) -> Callable[[Inputs], Tensor]:
    if plan.compiled:
        compile_body(denoiser, plan.graphs)
    network = denoiser.network
    return lambda inputs: network(inputs.noisy, inputs.c_noise, conditioning)


def in_precision(work: Work, dtype: str, device: torch.device) -> Work:
    """The same work under autocast or TF32, as `dtype` says."""

    def run() -> object:
        with runtime.autocast(dtype, device):  # type: ignore[arg-type]
            return work()

    return run


def _captured(work: Work) -> Work:
    """The same work as a CUDA graph: launched as one, on the inputs it was captured with."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
