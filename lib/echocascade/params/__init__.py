"""The parameters of a run: one YAML file, one schema, frozen once loaded.

A file may name a `base` file beside it and change only what differs. Every error names the key,
what was found and what is allowed; an unknown key names the nearest valid one.
"""

from echocascade.params.cascade import (
    CascadeParams,
    GuidanceParams,
    NetworkParams,
    SamplerParams,
    StageParams,
    TrainingParams,
)
from echocascade.params.data import DataParams, PhantomParams
from echocascade.params.evaluation import EvaluationParams, RegressorParams
from echocascade.params.loading import load_params
from echocascade.params.run import Params
from echocascade.params.section import ParamsError, Role

__all__ = [
    "CascadeParams",
    "DataParams",
    "EvaluationParams",
    "GuidanceParams",
    "NetworkParams",
    "Params",
    "ParamsError",
    "PhantomParams",
    "RegressorParams",
    "Role",
    "SamplerParams",
    "StageParams",
    "TrainingParams",
    "load_params",
]
