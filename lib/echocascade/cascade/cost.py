"""What a stage's network costs: parameters, FLOPs and memory, counted on fake tensors.

Fake tensors have shapes and types but no content, so the largest network is counted in seconds, on
any machine, without its memory. FLOPs are PyTorch's own count (a multiplication and an addition are
two). Memory is the most that PyTorch's tensors hold at once; what a convolution library takes for
its own work comes on top.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from echocascade import runtime
from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.stage import Evaluation, Stage, StageNetwork
from echocascade.diffusion import Denoiser
from echocascade.params import ParamsError

CPU = torch.device("cpu")


def flop_counter() -> FlopCounterMode:
    """PyTorch's counter, which does not know its own fused attention on CPUs yet."""

    def attention(
        q: torch.Size, k: torch.Size, v: torch.Size, *args: object, **kwargs: object
    ) -> int:
        return int(sdpa_flop_count(q, k, v))

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: attention})


@dataclass(frozen=True)
class NetworkCost:
    """parameters; flops of one evaluation of the whole batch; bytes at the peak, weights apart."""

    parameters: int
    flops: int
    activation_bytes: int

    @property
    def weight_bytes(self) -> int:
        """Of the float32 weights."""
        return 4 * self.parameters


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all storages that are made inside the block and still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[Any], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        for storage in _storages((args, kwargs)):  # not made here: weights, what was there before
            self._known.add(storage)
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known.add(storage)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._release, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _release(self, n_bytes: int) -> None:
        self.live -= n_bytes


def _storages(tree: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def example_inputs(
    stage: Stage, batch_size: int, size: int, n_frames: int, device: torch.device = CPU
) -> tuple[Tensor, Tensor, Conditioning]:
    """x (B, C, T, size, size), sigma (B,) and a conditioning for the stage's denoiser; all zeros
    and ones: only their shapes are meant."""
    video = torch.zeros(batch_size, stage.channels, n_frames, size, size, device=device)
    one_each = torch.ones(batch_size, device=device)
    later = stage.before is not None
    conditioning = Conditioning(
        lambda_c=torch.ones(batch_size, stage.n_scalars, device=device),
        I_c=video[:, :, 0].clone(),
        given=one_each,
        lowres=video.clone() if later else None,
        sigma_aug=one_each if later else None,
    )
    return video, one_each, conditioning


def sampling_cost(
    stage: Stage, batch_size: int = 1, *, size: int | None = None, n_frames: int | None = None
) -> NetworkCost:
    """One evaluation of the stage's denoiser, inputs among its memory, without gradients.

    size, n_frames: the stage's own unless given.
    """
    denoiser = _without_content(stage)
    with FakeTensorMode():
        _give_fake_weights(denoiser)
        with flop_counter() as counter, PeakMemory() as memory, torch.no_grad():
            _evaluate(denoiser, stage, batch_size, size, n_frames)
    parameters = sum(p.numel() for p in denoiser.parameters())
    return NetworkCost(parameters, counter.get_total_flops(), memory.peak)


def sampling_memory(stage: Stage, batch_size: int = 1, guided: bool = False) -> int:
    """Bytes at the peak of one evaluation as `LoadedStage.sample` makes it for `batch_size` videos:
    with what is done once before the first evaluation, and for guidance with both branches."""
    denoiser, p = _without_content(stage), stage.params
    network = denoiser.network
    assert isinstance(network, StageNetwork)
    with FakeTensorMode():
        _give_fake_weights(denoiser)
        with PeakMemory() as memory, torch.no_grad(), _precision(stage):
            x, sigma, cond = example_inputs(stage, batch_size, p.size, p.n_frames)
            entrances = [network.entrance_of(cond)]
            if guided:
                x, sigma, cond = example_inputs(stage, 2 * batch_size, p.size, p.n_frames)
                entrances.append(network.entrance_of(cond))
            embedding = network.embedding(sigma, cond)
            denoiser(x, sigma, Evaluation(entrances[-1], embedding, cond.time_aware))
    return memory.peak


def training_memory(stage: Stage, batch_size: int = 1) -> int:
    """Bytes at the peak of a forward and backward pass over crops as the stage trains on them.

    The gradients of the weights are among them; the weights, their average and the optimiser's
    state, 16 bytes a parameter together, are not.
    """
    denoiser = _without_content(stage)
    with FakeTensorMode():
        _give_fake_weights(denoiser)
        with PeakMemory() as memory:
            _evaluate(denoiser, stage, batch_size, stage.params.training.crop).mean().backward()
    return memory.peak


def _without_content(stage: Stage) -> Denoiser:
    if stage.params.imported is not None:  # it reads tensors on its way, which fake ones forbid
        raise ParamsError(f"stage {stage.name} has an imported network, which cannot be planned")
    with torch.device("meta"):
        return stage.build()


def _evaluate(
    denoiser: Denoiser, stage: Stage, batch_size: int, size: int | None, n_frames: int | None = None
) -> Tensor:
    size, n_frames = size or stage.params.size, n_frames or stage.params.n_frames
    inputs = example_inputs(stage, batch_size, size, n_frames)
    with _precision(stage):
        answer: Tensor = denoiser(*inputs)
    return answer


def _precision(stage: Stage) -> AbstractContextManager[None]:
    """The tensors pretend to lie on the CPU, the precision is that of the machine's own device."""
    device = runtime.default_device()
    return runtime.autocast(runtime.resolve_precision(stage.params.training.precision, device), CPU)


def _give_fake_weights(denoiser: Denoiser) -> None:
    """Put tensors without content, as if they lay on the CPU, in place of all weights."""
    for module in denoiser.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_fake(weight)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, _fake(buffer))


def _fake(like: Tensor) -> Tensor:
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=CPU)
