"""One stage of a cascade: its role, its network and what it learns to denoise."""

from dataclasses import asdict, dataclass, replace

import torch
from einops import repeat
from torch import Tensor, nn

from echocascade.cascade.conditioning import Conditioning, enlarge, shrink
from echocascade.cascade.imagen import ImagenNetwork
from echocascade.diffusion import Denoiser, Preconditioning
from echocascade.nets import Entrance, UNetConfig, VideoUNet
from echocascade.params import Params, Role, StageParams


@dataclass(frozen=True)
class Statistics:
    """Of a stage's data, measured on TRAIN clips or given.

    mean, std: of the videos in [-1, 1]. Echo is mostly black: without its mean removed the
    network would spend its first hundreds of steps on a constant.
    sigma_data: standard deviation of what is diffused, Karras22 Table 1.
    """

    mean: float = 0.0
    std: float = 1.0
    sigma_data: float = 0.25

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation's conditioning with all done that the noisy video has no part in.

    entrance: of I_c and the low-resolution video; embedding: (B, E) of the noise level and the
    scalars.
    """

    entrance: Entrance
    embedding: Tensor
    time_aware: bool


class StageNetwork(nn.Module):
    """F of one stage: concatenates I_c and the low-resolution video to the noisy input.

    Called as `network(x, c_noise, conditioning)` with x (B, C, T, H, W) and c_noise (B,). The
    conditioning images are brought to zero mean and unit variance, as c_in x is.
    """

    def __init__(
        self, stage: StageParams, channels: int, n_scalars: int, is_base: bool,
        statistics: Statistics,
    ):  # fmt: skip
        super().__init__()
        self.is_base = is_base
        self.statistics = statistics
        self.unet = VideoUNet(
            in_channels=channels * (2 if is_base else 3),
            out_channels=channels,
            config=UNetConfig(**stage.network.model_dump(exclude={"preset"})),
            n_scalars=n_scalars + (0 if is_base else 1),
        )

    def forward(
        self, x: Tensor, c_noise: Tensor, conditioning: Conditioning | Evaluation
    ) -> Tensor:
        if isinstance(conditioning, Evaluation):
            given = conditioning
            entrance = self.unet.entrance(x, slice(0, x.shape[1]), bias=False)
            entrance = given.entrance + entrance  # by one name: the part alone is not kept
            return self.unet.body(entrance, given.embedding, given.time_aware)
        anatomy = repeat(conditioning.I_c, "b c h w -> b c t h w", t=x.shape[2])
        parts = [x, self._normalised(anatomy, x)]
        if not self.is_base:
            parts.append(self._normalised(self._lowres(conditioning), x))
        embedding = self.embedding(c_noise, conditioning)
        entrance = self.unet.entrance(torch.cat(parts, dim=1))
        return self.unet.body(entrance, embedding, conditioning.time_aware)

    def embedding(self, c_noise: Tensor, conditioning: Conditioning) -> Tensor:
        """(B, E) from the noise level (B,) and all scalars that the network is conditioned on."""
        scalars = conditioning.lambda_c
        given = conditioning.given[:, None].expand_as(scalars)
        if not self.is_base:
            self._lowres(conditioning)
            assert conditioning.sigma_aug is not None
            scalars = torch.cat([scalars, conditioning.sigma_aug[:, None]], dim=1)
            given = torch.cat([given, torch.ones_like(given[:, :1])], dim=1)
        return self.unet.embedding(c_noise, scalars, given)

    def entrance_of(self, conditioning: Conditioning) -> Entrance:
        """What I_c and the low-resolution video add to the first convolutions' results."""
        c = conditioning.I_c.shape[1]
        anatomy = self._normalised(conditioning.I_c[:, :, None], conditioning.I_c)
        entrance = self.unet.entrance(anatomy, slice(c, 2 * c))
        if not self.is_base:
            lowres = self._normalised(self._lowres(conditioning), conditioning.I_c)
            entrance = entrance + self.unet.entrance(lowres, slice(2 * c, 3 * c), bias=False)
        return entrance

    @staticmethod
    def _lowres(conditioning: Conditioning) -> Tensor:
        if conditioning.lowres is None or conditioning.sigma_aug is None:
            raise ValueError("a stage after the first needs lowres and sigma_aug")
        return conditioning.lowres

    def _normalised(self, images: Tensor, like: Tensor) -> Tensor:
        return ((images - self.statistics.mean) / self.statistics.std).to(like.dtype)


@dataclass(frozen=True)
class Stage:
    """The fixed facts of stage `index` of a run."""

    params: StageParams
    index: int
    role: Role
    channels: int
    n_scalars: int
    before: StageParams | None
    statistics: Statistics = Statistics()

    @staticmethod
    def of(params: Params, index: int) -> "Stage":
        stages = params.cascade.stages
        return Stage(
            params=stages[index],
            index=index,
            role=params.cascade.role(index),
            channels=params.data.channels,
            n_scalars=len(params.conditioning.scalars),
            before=stages[index - 1] if index else None,
        )

    @property
    def name(self) -> str:
        return self.params.name

    def with_statistics(self, statistics: Statistics) -> "Stage":
        return replace(self, statistics=statistics)

    def build(self) -> Denoiser:
        """A denoiser with freshly initialised weights, activations channels-last."""
        is_base = self.before is None
        if self.params.imported is not None:
            theirs = ImagenNetwork(self.params.imported, is_base, self.channels)
            return Denoiser(theirs, Preconditioning(self.statistics.sigma_data))
        network = StageNetwork(
            self.params, self.channels, self.n_scalars, is_base, self.statistics
        )  # fmt: skip
        network = network.to(memory_format=torch.channels_last)
        return Denoiser(network, Preconditioning(self.statistics.sigma_data))

    def lowres_of(self, video: Tensor) -> Tensor:
        """A real video (B, C, T, H, W) as the previous stage would give it: smaller, slower."""
        if self.before is None:
            raise ValueError(f"stage {self.name} is the base: it has no low-resolution input")
        side = self.params.size // self.before.size
        return shrink(video, video.shape[-1] // side, self.before.n_frames)

    @property
    def _is_residual(self) -> bool:
        return self.params.target == "residual" and self.before is not None

    @property
    def interpolation(self) -> str:
        """How the low resolution is filled in between two frames: `linear`, or `cubic` for a
        residual, which then has less to mend where the motion turns between two frames."""
        return "cubic" if self._is_residual else "linear"

    def enlarged(self, lowres: Tensor) -> Tensor:
        """A low-resolution video at this stage's frames and pixels (crops stay crops)."""
        if self.before is None:
            raise ValueError(f"stage {self.name} is the base: it has no low-resolution input")
        side = lowres.shape[-1] * (self.params.size // self.before.size)
        return enlarge(lowres, side, self.params.n_frames, cubic=self.interpolation == "cubic")

    def target(self, video: Tensor) -> Tensor:
        """What is diffused: the video less its mean, or what its low resolution misses.

        The residual is to the enlarged low resolution without its noise augmentation: a network
        that knows nothing yet then leaves the previous stage's motion as it is.
        """
        if self._is_residual:
            return video - self.enlarged(self.lowres_of(video))
        return video - self.statistics.mean

    def video_of(self, target: Tensor, lowres: Tensor | None) -> Tensor:
        """Undo `target` for a sample, and clip to [-1, 1]; lowres: the previous stage's video."""
        if self.params.target == "residual" and lowres is not None:
            return (target + self.enlarged(lowres)).clamp(-1, 1)
        return (target + self.statistics.mean).clamp(-1, 1)

    def target_of(self, video: Tensor, lowres: Tensor | None) -> Tensor:
        """What `video_of` makes this video of: its inverse, but for the clipping."""
        if self.params.target == "residual" and lowres is not None:
            return video - self.enlarged(lowres)
        return video - self.statistics.mean
