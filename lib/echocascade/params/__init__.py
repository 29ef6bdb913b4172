"""The parameters of a run: one YAML file, one schema, frozen once loaded.

A file may name a `base` file beside it and change only what differs. Every error names the key,
what was found and what is allowed; an unknown key names the nearest valid one.
"""

from echocascade.params.card import CardParams
from echocascade.params.cascade import (
    CascadeParams,
    GuidanceParams,
    NetworkParams,
    SamplerParams,
    StageParams,
    TrainingParams,
)
from echocascade.params.conditioning import ConditioningParams, ScalarParams
from echocascade.params.data import DataParams, PhantomParams
from echocascade.params.evaluation import EvaluationParams, RegressorParams
from echocascade.params.loading import load_params
from echocascade.params.rebalancing import (
    ExperimentParams,
    KeepParams,
    PlanParams,
    RebalancingParams,
)
from echocascade.params.run import Params
from echocascade.params.sampling import DistillationParams, ParetoParams, SamplingParams
from echocascade.params.section import ParamsError, Role
from echocascade.params.study import StudyParams
from echocascade.params.tree import parse_override

__all__ = [
    "CardParams",
    "CascadeParams",
    "ConditioningParams",
    "DataParams",
    "DistillationParams",
    "EvaluationParams",
    "ExperimentParams",
    "GuidanceParams",
    "KeepParams",
    "NetworkParams",
    "Params",
    "ParamsError",
    "ParetoParams",
    "PhantomParams",
    "PlanParams",
    "RebalancingParams",
    "RegressorParams",
    "Role",
    "SamplerParams",
    "SamplingParams",
    "ScalarParams",
    "StageParams",
    "StudyParams",
    "TrainingParams",
    "load_params",
    "parse_override",
]
