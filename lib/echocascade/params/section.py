"""What every section of the schema is made of."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["base", "TSR", "SSR", "TSSR"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class ParamsError(ValueError):
    """A parameter file or an override that is not valid."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
