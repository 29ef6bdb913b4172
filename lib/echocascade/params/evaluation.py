"""Parameters of the judges and of the protocol."""

from typing import Annotated, Literal

from pydantic import Field

from echocascade.params.section import Percent, Positive, Section


class RegressorParams(Section):
    """The LVEF regressor; it judges at the size of the last stage unless told otherwise."""

    preset: Literal["tiny", "small", "r2plus1d_18"] = "small"
    size: Positive
    n_frames: Positive
    fps: Positive
    steps: Positive
    batch_size: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    weights: str | None = None


class EvaluationParams(Section):
    """The counterfactual protocol (FACTS Sec. 4). `split` is where results are reported."""

    split: Literal["TRAIN", "VAL", "TEST"] = "TEST"
    clips: Positive = 64
    draws: Positive = 3
    batch_size: Positive = 16
    lvef_percent: tuple[Percent, Percent] = (15.0, 85.0)
    bootstrap: Positive = 2000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
