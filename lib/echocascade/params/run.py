"""All parameters of a run."""

import hashlib
import json
from typing import Any, Self

import yaml
from pydantic import model_validator

from echocascade.params.card import CardParams
from echocascade.params.cascade import CascadeParams
from echocascade.params.conditioning import ConditioningParams
from echocascade.params.data import DataParams
from echocascade.params.evaluation import EvaluationParams, RegressorParams
from echocascade.params.rebalancing import RebalancingParams
from echocascade.params.sampling import SamplingParams
from echocascade.params.section import Positive, RunName, Section
from echocascade.params.study import StudyParams
from echocascade.params.tree import position


class Params(Section):
    """devices: processes that train a stage, over all its nodes; nodes: machines that share them
    evenly, more than one only in a Slurm job (see `cascade.nodes`)."""

    name: RunName
    title: str = ""
    seed: int = 0
    workers: Positive = 2
    devices: Positive = 1
    nodes: Positive = 1
    data: DataParams = DataParams()
    conditioning: ConditioningParams = ConditioningParams()
    regressor: RegressorParams
    cascade: CascadeParams
    evaluation: EvaluationParams = EvaluationParams()
    sampling: SamplingParams = SamplingParams()
    study: StudyParams = StudyParams()
    rebalancing: RebalancingParams = RebalancingParams()
    weights_dir: str = "weights"
    card: CardParams = CardParams()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, size, fps in [
            *((f"stage {s.name}", s.size, s.fps) for s in self.cascade.stages),
            ("regressor", self.regressor.size, self.regressor.fps),
            ("rebalancing.experiment.regressor", self.downstream.size, self.downstream.fps),
        ]:
            if self.store_size % size or self.store_fps % fps:
                raise ValueError(
                    f"{what} ({size} px, {fps} fps) must divide the largest stage "
                    f"({self.store_size} px, {self.store_fps} fps)"
                )
        if self.devices % self.nodes:
            raise ValueError(
                f"devices ({self.devices}) are shared evenly by nodes ({self.nodes}): make it a "
                f"multiple of {self.nodes}"
            )
        if self.cascade.guidance.scale == "auto" and self.evaluation.split == "VAL":
            raise ValueError(
                "cascade.guidance.scale is auto, which is chosen on VAL, and evaluation.split is "
                "VAL too: choose TEST, or give a number as scale"
            )
        return self

    @property
    def store_size(self) -> int:
        """Pixels per side that clips are stored at: the largest that anything needs."""
        return max(self.regressor.size, *(s.size for s in self.cascade.stages), 1)

    @property
    def store_fps(self) -> int:
        return max(self.regressor.fps, *(s.fps for s in self.cascade.stages), 1)

    @property
    def downstream(self) -> RegressorParams:
        """The regressor that the rebalancing experiment trains: its own, or one like the judge."""
        return self.rebalancing.experiment.regressor or self.regressor

    @property
    def is_phantom(self) -> bool:
        return self.data.root == "phantom"

    def select(self, path: str) -> Any:
        """The value at a dotted path; stages are addressed by name: `cascade.stages.base`."""
        node: Any = self.model_dump(mode="json")
        for key in path.split("."):
            node = node[position(node, key, path)]
        return node

    def digest(self, *paths: str) -> str:
        """A short hash of the values at `paths`: what a step depends on, nothing else."""
        chosen = {path: self.select(path) for path in paths}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]

    def dump_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
