"""Training and validation examples of a stage: from stored clips to tensors to denoise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from echocascade.cascade.conditioning import Conditioning, shrink, shrink_frame
from echocascade.cascade.scalars import Scalars
from echocascade.cascade.stage import Stage, Statistics
from echocascade.data.clips import ClipSampler, ClipStore, evaluation_clips
from echocascade.data.video import to_model
from echocascade.params import Params
from echocascade.rng import SampleNoise, derive_seed, numpy_generator


@dataclass(frozen=True)
class StageBatch:
    """target, noise: (B, C, T, H, W); level: (B,) standard normal draws that set sigma."""

    target: Tensor
    noise: Tensor
    level: Tensor
    conditioning: Conditioning

    def to(self, device: torch.device) -> "StageBatch":
        return StageBatch(
            target=self.target.to(device),
            noise=self.noise.to(device),
            level=self.level.to(device),
            conditioning=self.conditioning.to(device),
        )


class StageExamples:
    """Examples of `stage` from `store`, addressed by the sample's number in the run."""

    def __init__(self, params: Params, stage: Stage, store: ClipStore) -> None:
        self.params, self.stage, self.store = params, stage, store
        self.training = stage.params.training
        self.stride = round(store.fps / stage.params.fps)
        self.sampler = ClipSampler(
            store, "TRAIN", stage.params.n_frames,
            derive_seed(params.seed, f"clips.{stage.name}"), stride=self.stride,
        )  # fmt: skip
        self.has_validation = len(store.indices("VAL")) > 0
        self._lambda_c = Scalars.of(params).of_clips(store.table)

    def _stream(self, what: str) -> str:
        return f"train.{self.stage.name}.{what}"

    def statistics(self, clips: int = 256) -> Statistics:
        """The stage's mean, std and sigma_data, measured on TRAIN clips.

        A number given as `sigma_data` is taken as it is, and the videos are then left as they are.
        """
        given = self.stage.params.sigma_data
        if given != "auto":
            return Statistics(sigma_data=float(given))
        videos = [
            self._video(self.sampler.batch(step, 32).video) for step in range(-(-clips // 32))
        ]
        pixels = torch.cat([v.flatten() for v in videos])
        rough = Statistics(float(pixels.mean()), float(pixels.std()))
        stage = self.stage.with_statistics(rough)
        targets = [stage.target(video).flatten() for video in videos]
        return replace(rough, sigma_data=float(torch.cat(targets).std()))

    def _lowres(
        self, video: Tensor, sigma_aug: np.ndarray, noise: SampleNoise
    ) -> tuple[Tensor | None, Tensor | None]:
        """The low-resolution input, noisy by sigma_aug (B,), then enlarged; Ho22 Sec. 4."""
        if self.stage.before is None:
            return None, None
        level = torch.as_tensor(sigma_aug, dtype=torch.float32)
        small = self.stage.lowres_of(video)
        small = small + level[:, None, None, None, None] * noise(small)
        return self.stage.enlarged(small), level

    def _video(self, frames: np.ndarray) -> Tensor:
        """Stored frames (B, T, H, W, C) as the stage's video (B, C, T, size, size)."""
        return shrink(to_model(frames), self.stage.params.size, self.stage.params.n_frames)

    def names(self, step: int) -> list[str]:
        """The clips of step `step`'s samples, all processes together."""
        return [
            str(self.store.table["FileName"].iloc[i])
            for i in self.sampler.batch(step, self.training.batch_size).index
        ]

    def training_batch(self, step: int, first: int, count: int) -> StageBatch:
        """Samples `first` to `first + count` of the run, which belong to step `step`.

        `first` must be a multiple of `count` (see `loader.Share`).
        """
        t = self.training
        clips = self.sampler.batch(first // count, count)
        numbers = range(first, first + count)
        seed = self.params.seed
        draws = np.stack(
            [numpy_generator(seed, self._stream("draws"), n).random(4) for n in numbers]
        )
        image_only = numpy_generator(seed, self._stream("image_only"), step).random() < t.image_only
        noise = SampleNoise(seed, self._stream("noise"), numbers)
        batch = self._batch(
            clips.video, clips.frame, clips.index, noise,
            sigma_aug=draws[:, 0] * t.sigma_aug_max,
            given=draws[:, 1] >= t.drop_condition,
            level=self._levels(step, first - step * t.batch_size, count),
        )  # fmt: skip
        batch = replace(batch, conditioning=replace(batch.conditioning, time_aware=not image_only))
        return self._cropped(batch, draws[:, 2:])

    def _levels(self, step: int, first: int, count: int) -> Tensor:
        """Noise levels (count,) of a step's samples from its `first` on, as standard normal draws.

        Each is normal, and the levels of one step lie evenly over the quantiles, from a start
        drawn for the step (Kingma21 App. I.1): the step's loss varies less for the same mean.
        """
        start = numpy_generator(self.params.seed, self._stream("levels"), step).random()
        places = torch.arange(first, first + count, dtype=torch.float64)
        quantiles = (start + places / self.training.batch_size).remainder(1)
        return torch.special.ndtri(quantiles.clamp(1e-6, 1 - 1e-6)).float()

    def _batch(
        self, video: np.ndarray, frame: np.ndarray, index: np.ndarray, noise: SampleNoise,
        *, sigma_aug: np.ndarray, given: np.ndarray, level: Tensor,
    ) -> StageBatch:  # fmt: skip
        y = self._video(video)
        lowres, augmentation = self._lowres(y, sigma_aug, noise)
        target = self.stage.target(y)
        return StageBatch(
            target=target,
            noise=noise(target),
            level=level,
            conditioning=Conditioning(
                lambda_c=self._lambda_c[index],
                I_c=shrink_frame(to_model(frame[:, None])[:, :, 0], self.stage.params.size),
                given=torch.as_tensor(given, dtype=torch.float32),
                lowres=lowres,
                sigma_aug=augmentation,
            ),
        )

    def _cropped(self, batch: StageBatch, places: np.ndarray) -> StageBatch:
        """The same square of every sample's tensors, at its own place in [0, 1)^2."""
        crop, size = self.training.crop, self.stage.params.size
        if crop is None or crop >= size:
            return batch
        corners = (places * (size - crop + 1)).astype(int)

        def cut(x: Tensor) -> Tensor:
            squares = [
                v[..., i : i + crop, j : j + crop] for v, (i, j) in zip(x, corners, strict=True)
            ]
            return torch.stack(squares)

        c = batch.conditioning
        conditioning = replace(
            c, I_c=cut(c.I_c), lowres=None if c.lowres is None else cut(c.lowres)
        )
        return replace(
            batch, target=cut(batch.target), noise=cut(batch.noise), conditioning=conditioning
        )

    def validation_batches(self) -> Iterator[StageBatch]:
        """Fixed VAL clips whose noise levels are spread evenly over the training distribution."""
        n = min(self.training.validate_clips, len(self.store.indices("VAL")))
        clips = evaluation_clips(
            self.store, "VAL", n, self.stage.params.n_frames, stride=self.stride,
            seed=self.params.seed,
        )  # fmt: skip
        quantiles = (torch.arange(n) * 0.6180339887 + 0.5).remainder(1).clamp(1e-3, 1 - 1e-3)
        levels = torch.special.ndtri(quantiles)
        size = min(16, self.training.batch_size)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            numbers = range(part.start, part.stop)
            yield self._batch(
                clips.video[part], clips.frames[part, 0], clips.index[part],
                SampleNoise(self.params.seed, f"validate.{self.stage.name}", numbers),
                sigma_aug=np.full(len(numbers), self.stage.params.sampler.sigma_aug),
                given=np.ones(len(numbers)),
                level=levels[part],
            )  # fmt: skip
