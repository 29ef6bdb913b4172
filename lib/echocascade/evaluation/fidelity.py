"""FID, KID, precision and recall of frames and FVD of 16-frame clips, by torch-fidelity.

FID: Heusel17; KID: Binkowski18; precision and recall: Kynkaanniemi19; FVD: Unterthiner18, by the
detector of Skorokhodov22, which the paper used.

Clips come from `preparation`, in a `paper` and a `clean` mode that are never mixed. Every number
says on how many clips it stands. Frames of one clip are alike, so the number of patients counts,
and intervals leave out groups of patients (`distance.with_interval`).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id_cached

from echocascade.evaluation.distance import Measured, frechet_distance, with_interval
from echocascade.evaluation.preparation import CLIP_FRAMES, Frames, Prepared, Windows
from echocascade.evaluation.weights import sha256_of
from echocascade.runtime import default_device

INCEPTION = "inception-v3-compat"
I3D = "i3d-torchscript"
LAYER = {INCEPTION: "2048", I3D: "features"}
KID_SUBSET = 1000  # samples at most of the kernel estimate
NEIGHBOURS = 3  # of precision and recall (Kynkaanniemi19)
PRC_MOST = 10_000  # samples at most that they compare, taken evenly: all pairs are needed


class I3DFeatures(FeatureExtractorBase):
    """The I3D detector of StyleGAN-V (a TorchScript file) for torch-fidelity: one vector a clip.

    Takes uint8 clips (B, 3, T, H, W); the detector itself rescales and resizes them.
    """

    detector: torch.jit.ScriptModule

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | None = None,
        **_: object,
    ) -> None:
        super().__init__(name, features_list)
        self.detector = torch.jit.load(feature_extractor_weights_path, map_location="cpu").eval()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (LAYER[I3D],)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return LAYER[I3D]

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, CLIP_FRAMES, 224, 224, dtype=torch.uint8)

    def forward(self, clips: Tensor) -> tuple[Tensor]:
        # fused kernels of this file fail to compile on some GPUs
        with torch.jit.fuser("none"):
            found = self.detector(clips.float(), rescale=True, resize=True, return_features=True)
        return (found.float(),)


@dataclass(frozen=True)
class Extractor:
    """A network of torch-fidelity's registry with its weights, and where features are kept."""

    name: str
    weights: Path
    cache: Path
    batch_size: int = 16

    def features(self, data: Dataset[Tensor], content: Prepared, what: str) -> Tensor:
        """Features (N, F) of a data set of prepared clips, from the cache where they are there.

        torch-fidelity's own cache key knows neither the weights nor the number and preparation of
        the samples; they are put into the name that it is given, with the clips' own digest.
        """
        if self.name == I3D and I3D not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(I3D, I3DFeatures)
        cuda = default_device().type == "cuda"
        settings = {
            "cuda": cuda, "verbose": False, "batch_size": self.batch_size, "save_cpu_ram": True,
            "feature_extractor_weights_path": str(self.weights), "cache_root": str(self.cache),
        }  # fmt: skip
        layer = _layer(self.name)
        network = create_feature_extractor(self.name, [layer], **settings)
        name = cache_name(content, what, len(data), self.weights)  # type: ignore[arg-type]
        found = extract_featuresdict_from_input_id_cached(
            1, network, input1=data, input1_cache_name=name, **settings
        )
        return found[layer].float()


def _layer(extractor: str) -> str:
    if extractor in LAYER:
        return LAYER[extractor]
    return FEATURE_EXTRACTORS_REGISTRY[extractor].get_default_feature_layer_for_metric("fid")


def cache_name(content: Prepared, what: str, n_samples: int, weights: Path) -> str:
    """A name that another set, number, preparation or network never has."""
    digest = hashlib.sha256(content.videos.tobytes())
    digest.update(repr((content.videos.shape, content.patients, what)).encode())
    parts = (digest.hexdigest()[:16], f"n{n_samples}", content.mode, sha256_of(weights)[:16])
    return "-".join((what, *parts))


def frame_scores(
    generated: Prepared, real: Prepared, extractor: Extractor, *, level: float = 0.95, seed: int = 0
) -> dict[str, Measured]:
    """FID, KID, precision and recall of the frames of two sets of clips.

    The values are torch-fidelity's, all in the features of FID; KID on subsets of at most 1000
    frames, precision and recall on at most 10,000 of each set.
    """
    _one_mode(generated, real)
    x, y = (extractor.features(Frames(c), c, "frames") for c in (generated, real))
    patients = [np.repeat(c.patients, c.videos.shape[1]).tolist() for c in (generated, real)]
    pairs = ((x.double().numpy(), patients[0]), (y.double().numpy(), patients[1]))
    fid = with_interval(frechet_distance, *pairs, value=_fid(x, y), level=level, seed=seed)
    scores = {"FID": fid.within(0)}
    for name, distance in (("KID", _kid), ("precision", _precision), ("recall", _recall)):
        scores[name] = with_interval(distance, *pairs, level=level, seed=seed)
    shares = {name: scores[name].within(0, 1) for name in ("precision", "recall")}
    return scores | shares


def video_scores(
    generated: Prepared, real: Prepared, extractor: Extractor, *, level: float = 0.95, seed: int = 0
) -> dict[str, Measured]:
    """FVD of 16 frames of every clip of two sets."""
    _one_mode(generated, real)
    x, y = (extractor.features(Windows(c, seed), c, f"windows{seed}") for c in (generated, real))
    pairs = ((x.double().numpy(), generated.patients), (y.double().numpy(), real.patients))
    fvd = with_interval(frechet_distance, *pairs, value=_fid(x, y), level=level, seed=seed)
    return {"FVD": fvd.within(0)}


def _one_mode(generated: Prepared, real: Prepared) -> None:
    if generated.mode != real.mode:
        raise ValueError(
            f"generated clips are in mode {generated.mode}, real ones in {real.mode}: "
            "numbers of different modes cannot be compared"
        )


def _fid(x: Tensor, y: Tensor) -> float:
    statistics = [fid_features_to_statistics(values) for values in (x, y)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def _kid(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    size = min(KID_SUBSET, len(x), len(y))
    subsets = 1 if size == len(x) == len(y) else 100
    found = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subset_size=size, kid_subsets=subsets,
        verbose=False,
    )  # fmt: skip
    return float(found[KEY_METRIC_KID_MEAN])


def _prc(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, float]:
    x, y = (values[:: -(-len(values) // PRC_MOST)] for values in (x, y))
    if min(len(x), len(y)) <= NEIGHBOURS:
        return {"precision": float("nan"), "recall": float("nan")}
    return prc_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), prc_neighborhood=NEIGHBOURS, save_cpu_ram=True,
        verbose=False,
    )  # fmt: skip


def _precision(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(_prc(x, y)["precision"])


def _recall(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(_prc(x, y)["recall"])
