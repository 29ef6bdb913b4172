"""Parameters of the data set."""

from typing import Annotated, Literal

from pydantic import Field

from echocascade.params.section import Fraction, Positive, Section


class PhantomParams(Section):
    """The phantom data set that is made when `data.root` is `phantom`."""

    clips: Positive = 1500
    seed: int = 0
    lvef: Literal["echonet", "uniform", "mixed"] = "echonet"
    uniform_share: Fraction = 0.5
    duration_s: tuple[float, float] | None = None


class DataParams(Section):
    root: Annotated[str, Field(min_length=1)] = "phantom"
    phantom: PhantomParams = PhantomParams()
    channels: Literal[1, 3] = 1
    pad: Literal["black", "repeat", "mirror"] = "mirror"
    on_error: Literal["stop", "skip"] = "stop"
