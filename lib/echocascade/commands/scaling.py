"""The work of ``echocascade scale``."""

from collections.abc import Sequence
from pathlib import Path

from echocascade.commands.planning import USER_ERRORS, params_of
from echocascade.params import ParamsError, load_params
from echocascade.report.files import write_text
from echocascade.report.runs import project_root
from echocascade.studies.scaling.prediction import Prediction, predict
from echocascade.studies.scaling.tables import describe, page

__all__ = ["USER_ERRORS", "describe", "page_text", "predict_for", "write_page"]

PAGE = Path("notebooks", "howto", "scale.md")
CASCADES = ("1scm", "2scm", "4scm")
FASTER = 40.0  # TFLOP/s: the page's second rate, ten times the first


def predict_for(
    source: str, overrides: Sequence[str], gpus: str, clips: int, tflops: float | None
) -> Prediction:
    """`predict` for a parameters file or a run; gpus: "1,8,64"."""
    words = [word.strip() for word in gpus.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ParamsError(f"gpus is {gpus!r}; allowed: whole numbers such as 1,8,64,512")
    return predict(params_of(source, overrides), [int(word) for word in words], clips, tflops)


def page_text(root: Path) -> str:
    """The page with the tables that hold now."""
    params = [load_params(root / "params" / f"{name}.yaml") for name in CASCADES]
    predictions = [predict(p, tflops=rate) for p in params for rate in (None, FASTER)]
    return page((root / PAGE).read_text(encoding="utf-8"), predictions)


def write_page() -> Path:
    """Write the tables of the page anew; the page."""
    root = project_root()
    write_text(root / PAGE, page_text(root))
    return PAGE
