"""A stage whose network is not ours: imagen-pytorch's video U-Net with weights of its own."""

from typing import Annotated, Any, Literal

from pydantic import Field

from echocascade.params.section import Section


class ImportedNetwork(Section):
    """What `echocascade import-weights` writes for a stage; see `cascade.imagen`.

    unet: arguments of the package's Unet3D, as the authors' config.yaml has them. resize_mode: how
    the previous stage's video is enlarged. dynamic_thresholding, percentile: what keeps denoised
    videos in range (Saharia22 Sec. 2.3). The stage's `sampler.sigma_aug` is their
    lowres_sample_noise_level, a time in [0, 1] of their noise schedule and no standard deviation.
    """

    package: Literal["imagen-pytorch"] = "imagen-pytorch"
    version: Literal["1.21.6"] = "1.21.6"
    unet: dict[str, Any]
    text_embed_dim: Annotated[int, Field(ge=1)] = 1
    resize_mode: Literal["nearest", "trilinear"] = "nearest"
    dynamic_thresholding: bool = True
    percentile: Annotated[float, Field(gt=0, le=1)] = 0.95
    licence: str = "GPL-2.0"
