"""imagen-pytorch at work, in an environment that has it; the paper's authors trained with it.

Its video U-Net at the sizes of the authors' configurations, and weights nobody trained. The package
asks a model hub for the size of a text encoder when it is imported; a stand-in answers, since these
networks have no text: the clinical parameter takes the place of a text embedding of length one.
"""

from typing import Any

import torch
from torch import Tensor, nn

from echocascade.studies.bench.cases import PEERS, Case, Plan
from echocascade.studies.bench.networks import Inputs, Measured, inputs_of, training_step

_BASE = {
    "dim": 64, "num_resnet_blocks": 2, "dim_mults": (1, 2, 4), "max_text_len": 1,
    "layer_attns": False, "cond_images_channels": 3, "text_embed_dim": 1,
}  # fmt: skip
_LOWEST = {"layer_cross_attns": (False, False, True)}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "1scm_base": {**_BASE, **_LOWEST, "attend_at_middle": False},
    "2scm_base": {**_BASE, **_LOWEST},
    "2scm_tssr": {**_BASE, **_LOWEST, "memory_efficient": True, "lowres_cond": True},
    "4scm_ssr": {
        **_BASE, "layer_cross_attns": False, "attend_at_middle": False, "lowres_cond": True
    },
}  # fmt: skip


def import_imagen() -> Any:
    """The package `imagen_pytorch`, imported without a network.

    Raises:
        RuntimeError: its version is another than the one that is compared with.
    """
    import transformers

    def answer(*_: object, **__: object) -> object:
        return transformers.T5Config(d_model=768)

    transformers.T5Config.from_pretrained = answer
    import imagen_pytorch

    wanted = PEERS["imagen-pytorch"]
    if imagen_pytorch.__version__ != wanted:
        raise RuntimeError(
            f"imagen-pytorch is {imagen_pytorch.__version__}; the comparison is with {wanted}"
        )
    return imagen_pytorch


def peer_work(case: Case, plan: Plan) -> Measured:
    """A forward pass or a training step of the peer, on the inputs that ours gets."""
    _, size, what = case.name.split("/")
    device = torch.device(plan.device)
    torch.manual_seed(0)
    network: nn.Module = import_imagen().Unet3D(**CONFIGURATIONS[size]).to(device)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn_like(p))
    inputs = inputs_of(size, case.batch, device)
    given = _keywords(inputs)

    def answer() -> Tensor:
        result: Tensor = network(inputs.noisy, inputs.c_noise, **given)
        return result

    parameters = sum(p.numel() for p in network.parameters())
    if what == "training_step":
        return Measured(training_step(network, answer, inputs.target), parameters)
    network.eval().requires_grad_(False)
    return Measured(torch.no_grad()(answer), parameters)


def _keywords(inputs: Inputs) -> dict[str, Tensor]:
    given = {"text_embeds": inputs.lvef[:, None], "cond_images": inputs.frame}
    if inputs.lowres is not None:
        given |= {"lowres_cond_img": inputs.lowres,
                  "lowres_noise_times": torch.full_like(inputs.c_noise, 0.2)}  # fmt: skip
    return given
