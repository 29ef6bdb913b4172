"""Parameters of downstream rebalancing: what to generate, what to keep, what to compare."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from echocascade.params.evaluation import RegressorParams
from echocascade.params.section import Fraction, Percent, Positive, Section

Split = Literal["TRAIN", "VAL", "TEST"]
LabelKind = Literal["requested", "estimated"]


class PlanParams(Section):
    """Which LVEFs are asked for, and on whose anatomy (FACTS Sec. 6).

    per_bin: clips that every LVEF bin is filled up to, or `uniform`: up to the fullest bin.
    histogram: a CSV file (low, high, count) in place of per_bin, bin_width and the range.
    most: at most so many clips in all; the emptiest bins are then filled first.
    cap: at most so many clips on one patient's anatomy.
    """

    per_bin: Positive | Literal["uniform"] = 100
    bin_width: Annotated[float, Field(gt=0)] = 1.0
    low: Percent = 10.0
    high: Percent = 90.0
    histogram: str | None = None
    most: Positive | None = None
    pairing: Literal["random", "nearest"] = "random"
    cap: Positive | None = None


class KeepParams(Section):
    """How often a clip is tried, which one is kept, and which LVEF it is labelled with.

    tolerance: points between requested and estimated LVEF that are let pass; null lets all pass.
    keep: the first draw that passes, or the nearest to the request of all draws that pass.
    block: targets that one process makes and saves together; shards: their clips lie in one tar
    file a block (`data.shards`) in place of a file each, for sets too large for a folder.
    """

    draws: Positive = 3
    tolerance: Annotated[float, Field(gt=0)] | None = 10.0
    keep: Literal["first", "best"] = "first"
    labels: LabelKind = "requested"
    refuse_memorised: bool = True
    block: Positive = 16
    shards: bool = False


class ExperimentParams(Section):
    """Which training sets are compared, how often, and on which clips.

    real_lvef: `as_is` draws the real subsets at random from TRAIN, as the paper does; `echonet`
    draws them with EchoNet-Dynamic's LVEF distribution, for a phantom that is not as unbalanced.
    smoothing: points of LVEF over which the density behind the classical weights is smoothed;
    most_weight: the largest of these weights, in multiples of their mean.
    per_band: held-out clips in each band of LVEF; `auto` is the emptiest band that has ten.
    """

    sizes: tuple[Positive, ...] = (395, 790, 1580, 3950)
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.25, 0.5, 0.75)
    seeds: Positive = 5
    real_lvef: Literal["as_is", "echonet"] = "as_is"
    regressor: RegressorParams | None = None
    smoothing: Annotated[float, Field(gt=0)] = 3.0
    most_weight: Annotated[float, Field(gt=1)] = 10.0
    held_out: tuple[Split, ...] = ("VAL", "TEST")
    band_width: Annotated[float, Field(gt=0)] = 10.0
    per_band: Positive | Literal["auto"] = "auto"
    keep_weights: bool = False
    bootstrap: Positive = 1000
    level: Fraction = 0.95

    @model_validator(mode="after")
    def _held_out_is_not_trained_on(self) -> Self:
        if not self.held_out or "TRAIN" in self.held_out:
            raise ValueError(f"held_out is {list(self.held_out)}; allowed are VAL, TEST or both")
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; allowed is between 0 and 1")
        return self


class RebalancingParams(Section):
    plan: PlanParams = PlanParams()
    generation: KeepParams = KeepParams()
    experiment: ExperimentParams = ExperimentParams()
