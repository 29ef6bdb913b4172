"""Parameters of the judges and of the protocol."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from echocascade.params.section import Percent, Positive, Section


class RegressorParams(Section):
    """The LVEF regressor; it judges at the size of the last stage unless told otherwise.

    `weights` is a file in `weights_dir` to start from; with `steps: 0` it judges as it is.
    `frame_rates` are slower rates at which it will judge too: it is trained on clips that were
    seen at them and enlarged in time, as generated ones are.
    `muon` trains weight matrices at `matrix_learning_rate`, without weight decay, and all else
    with Adam, see `nets.muon`.
    """

    preset: Literal["mini", "tiny", "small", "r2plus1d_18"] = "small"
    size: Positive
    n_frames: Positive
    fps: Positive
    steps: Annotated[int, Field(ge=0)]
    batch_size: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    optimizer: Literal["adamw", "muon"] = "adamw"
    matrix_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    weights: str | None = None
    frame_rates: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.steps == 0 and self.weights is None:
            raise ValueError("steps is 0 and weights is empty: a judge that was never trained")
        for rate in self.frame_rates:
            if self.fps % rate or self.n_frames % (self.fps // rate):
                raise ValueError(f"frame_rates: {rate} must divide fps {self.fps} and its frames")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, standard: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that change nothing are left out: judges from before those keys stay valid."""
        values: dict[str, Any] = standard(self)
        if not self.frame_rates:
            values.pop("frame_rates", None)
        if self.optimizer == "adamw":
            values.pop("optimizer", None)
            values.pop("matrix_learning_rate", None)
        return values


class EvaluationParams(Section):
    """The counterfactual protocol (FACTS Sec. 4). `split` is where results are reported.

    `views`: the judge's reading is the mean over so many slightly moved views of a clip (1: the
    clip as it is, as the paper). `modes`: how frames are prepared for FID and FVD, see
    `evaluation.preparation`; numbers of different modes are never mixed. `chunks`: so many jobs of
    the workflow share the samples; the table is the same whatever their number.
    """

    split: Literal["TRAIN", "VAL", "TEST"] = "TEST"
    clips: Positive = 64
    draws: Positive = 3
    batch_size: Positive = 16
    chunks: Positive = 1
    lvef_percent: tuple[Percent, Percent] = (15.0, 85.0)
    views: Annotated[int, Field(ge=1, le=9)] = 1
    modes: tuple[Literal["clean", "paper"], ...] = ("clean", "paper")
    bootstrap: Positive = 2000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
