"""Parameters of what the cascade is told beside a frame: the clinical parameters lambda_c."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from echocascade.params.section import Section

# Ranges that hold every clip of EchoNet-Dynamic (EF 7 to 97 %, ESV to 613 ml, EDV to 696 ml).
KNOWN_RANGES = {"EF": (0.0, 100.0), "ESV": (0.0, 650.0), "EDV": (0.0, 700.0)}
_NO_NUMBERS = ("FileName", "Split")


class ScalarParams(Section):
    """One entry of lambda_c: a column of FileList.csv and the range that becomes [0, 1]."""

    column: Annotated[str, Field(min_length=1)]
    range: tuple[float, float]

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.column in _NO_NUMBERS:
            raise ValueError(f"column {self.column} of FileList.csv holds no numbers")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} of {self.column}: the first must be less")
        return self


def _named(entry: Any) -> Any:
    """A column by its name alone, where its range is known."""
    given = entry if isinstance(entry, dict) else {"column": entry}
    column = given.get("column")
    if not isinstance(column, str) or "range" in given:
        return given
    if column not in KNOWN_RANGES:
        raise ValueError(
            f"column {column!r} has no known range; write {{column: {column}, range: [low, high]}}"
        )
    return {**given, "range": KNOWN_RANGES[column]}


class ConditioningParams(Section):
    """lambda_c, entry by entry: EF, ESV, EDV or a column of the user's own."""

    scalars: Annotated[
        tuple[Annotated[ScalarParams, BeforeValidator(_named)], ...], Field(min_length=1)
    ] = (ScalarParams(column="EF", range=KNOWN_RANGES["EF"]),)

    @model_validator(mode="after")
    def _tells_the_lvef(self) -> Self:
        names = self.columns
        if len(set(names)) < len(names):
            raise ValueError(f"scalars must differ, found {', '.join(names)}")
        if "EF" not in names and not {"ESV", "EDV"} <= set(names):
            raise ValueError(
                f"scalars are {', '.join(names)}: every run asks for LVEFs, so EF must be among "
                "them, or both ESV and EDV"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(scalar.column for scalar in self.scalars)

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns that a clip store keeps only when asked to."""
        return tuple(name for name in self.columns if name not in KNOWN_RANGES)
