"""Parameters of what notebook 06 compares: samplers, and a distilled first stage."""

from typing import Annotated

from pydantic import Field

from echocascade.params.section import Positive, Section


class DistillationParams(Section):
    """Consistency distillation of the guided first stage (Song23); 0 steps leave it out.

    levels: of the grid between sigma_min and the stage's sigma_max; middle_sigma: the level of the
    second of two evaluations.
    """

    steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    levels: Annotated[int, Field(ge=2)] = 12
    sigma_min: Annotated[float, Field(gt=0)] = 0.05
    middle_sigma: Annotated[float, Field(gt=0)] = 0.8
    ema_gamma: Annotated[float, Field(gt=0)] = 8.0


class ParetoParams(Section):
    """Which samplers are compared, on how many VAL clips; steps are of every stage alike."""

    clips: Annotated[int, Field(ge=4)] = 24
    paper_steps: Annotated[int, Field(ge=2)] = 64
    paper_churn: Annotated[float, Field(ge=0)] = 160.0
    heun_steps: Annotated[int, Field(ge=2)] = 18
    dpmpp_2m_steps: tuple[Annotated[int, Field(ge=2)], ...] = (5, 10, 20, 30)
    sigma_interval: tuple[float, float] = (0.2, 5.0)


class SamplingParams(Section):
    pareto: ParetoParams = ParetoParams()
    distillation: DistillationParams = DistillationParams()
