"""Parameters of the expert study."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from echocascade.params.section import Fraction, Percent, Positive, Section


class StudyParams(Section):
    """How a blinded reader study is drawn and read (FACTS Sec. 5; Reynaud23 Sec. 3).

    `trials` is the most that a reader answers, hidden repeats and practice not among them; a run
    with fewer patients has fewer. `shares`: real, factual, counterfactual. `shared`: the share of
    trials that all readers have in common, the rest is drawn for each. In mode "pairs" a trial
    shows a real and a generated clip and asks for the real one (2AFC). `pixels`: clips are enlarged
    to the largest multiple of their size that does not pass it. `margin`: a reader within 50 %
    plus or minus so many points of balanced accuracy counts as one who guesses. `rehearsal`: d' of
    the simulated readers that notebook 08 tries the instrument with.
    """

    readers: Annotated[int, Field(ge=1, le=99)] = 3
    trials: Annotated[int, Field(ge=2)] = 100
    shares: tuple[Fraction, Fraction, Fraction] = (0.4333, 0.2967, 0.27)
    shared: Fraction = 1.0
    selection: Literal["alphabetical", "random"] = "alphabetical"
    mode: Literal["single", "pairs"] = "single"
    repeats: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    practice: Annotated[int, Field(ge=0)] = 4
    confidence: bool = False
    cannot_judge: bool = False
    pixels: Positive = 224
    margin: Annotated[float, Field(gt=0, lt=50)] = 10.0
    rehearsal: tuple[float, ...] = (0.0, 0.7, 1.4)
    lvef_bands: tuple[Percent, ...] = (30.0, 50.0)

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares {self.shares} add up to {sum(self.shares):g}, 1 is needed")
        real, *generated = self.shares
        if real == 0 or sum(generated) == 0:
            raise ValueError("shares: real clips and generated ones are both needed")
        return self
