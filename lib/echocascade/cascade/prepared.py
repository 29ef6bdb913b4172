"""Sampling with the constant work done once: what does not depend on the noisy video.

A video takes dozens of evaluations of one network. The weights in the dtype they are used in, the
first convolutions of I_c and of the low-resolution video, and the embeddings of all noise levels
are the same in each, and are made before the first. In float32 the results equal the plain path's
but for the order of a few sums; a test says how far.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.stage import Evaluation, StageNetwork
from echocascade.diffusion import Denoiser, Step
from echocascade.diffusion.preconditioning import noise_level
from echocascade.nets import Entrance


@dataclass(frozen=True)
class Prepared:
    """A conditioning of B samples and what is constant over their evaluations.

    embeddings: (B, E) by noise level; a level that is not there is embedded when asked for.
    """

    denoiser: Denoiser
    network: StageNetwork
    conditioning: Conditioning
    entrance: Entrance
    embeddings: dict[float, Tensor]

    @staticmethod
    @torch.no_grad()
    def of(denoiser: Denoiser, conditioning: Conditioning, sigmas: Iterable[float]) -> "Prepared":
        """Do the constant work for evaluations at the noise levels `sigmas`, each > 0."""
        network, levels = denoiser.network, sorted(set(sigmas))
        assert isinstance(network, StageNetwork)
        entrance = network.entrance_of(conditioning)
        embeddings = _embeddings(denoiser, network, conditioning, levels)
        return Prepared(denoiser, network, conditioning, entrance, embeddings)

    def evaluate(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x (B, ...); sigma); sigma: 0-dim on the CPU, where it is read without waiting."""
        level = float(sigma)
        if level in self.embeddings:
            embedding = self.embeddings[level]
        else:
            embedding = _embeddings(self.denoiser, self.network, self.conditioning, [level])[level]
        given = Evaluation(self.entrance, embedding, self.conditioning.time_aware)
        answer: Tensor = self.denoiser(x, sigma, given)
        return answer


def evaluate(x: Tensor, sigma: Tensor, prepared: Prepared) -> Tensor:
    """D(x; sigma) in the shape of a conditional denoiser, as guidance calls it."""
    return prepared.evaluate(x, sigma)


def levels_of(steps: Iterable[Step]) -> list[float]:
    """The noise levels that a sampler may ask for on its way through `steps`."""
    return [s for step in steps for s in (step.sigma, step.sigma_hat, step.sigma_next) if s > 0]


def _embeddings(
    denoiser: Denoiser, network: StageNetwork, cond: Conditioning, sigmas: Sequence[float]
) -> dict[float, Tensor]:
    """All levels' embeddings (B, E) in one pass: sample b at level l is row l B + b."""
    if not sigmas:
        return {}
    n = len(sigmas)
    c_noise = torch.stack([denoiser.preconditioning.c_noise(noise_level(s)) for s in sigmas])
    all_levels = Conditioning(
        lambda_c=repeat(cond.lambda_c, "b s -> (l b) s", l=n),
        I_c=cond.I_c,
        given=repeat(cond.given, "b -> (l b)", l=n),
        lowres=cond.lowres,
        sigma_aug=None if cond.sigma_aug is None else repeat(cond.sigma_aug, "b -> (l b)", l=n),
    )
    rows = network.embedding(repeat(c_noise.to(cond.given), "l -> (l b)", b=len(cond.given)),
                             all_levels)  # fmt: skip
    return dict(zip(sigmas, rearrange(rows, "(l b) e -> l b e", l=n).unbind(), strict=True))


def with_weights_as(denoiser: Denoiser, dtype: torch.dtype) -> Denoiser:
    """A copy whose convolutions and linear maps hold their weights in `dtype`.

    Autocast converts the same weights at every evaluation, to the same values.
    """
    copied = copy.deepcopy(denoiser)
    for module in copied.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    return copied
