"""What a reader of the results must know before quoting them, in sentences; never empty."""

from collections.abc import Mapping
from typing import Any

from echocascade.studies.expert.detection import answers_needed

FEW_READERS = 5
HURRIED_S = 1.5


def notes(asked: Mapping[str, int], found: Mapping[str, Any], margin: float) -> list[str]:
    """Cautions that follow from the numbers themselves.

    `asked`: trials a reader; `found`: what `analysis.analyse` has; `margin` in points.
    """
    said = []
    if found["simulated"]:
        said.append("Simulated readers: these answers were drawn by a program, nobody looked.")
    if found["phantom"]:
        said.append("The clips are drawn hearts: no clinician's eye is tested by them.")
    for name, scores in found["readers"].items():
        if scores["n"] == 0:
            said.append(f"{name} has answered nothing that counts.")
    said += _width(found)
    said.append(_equivalence(found, margin))
    if found["n_readers"] < FEW_READERS:
        plural = "s" if found["n_readers"] != 1 else ""
        said.append(
            f"{found['n_readers']} reader{plural}: the results speak about them; how far readers "
            "differ in general cannot be estimated from so few."
        )
    said += _agreement(found)
    for name, scores in found["readers"].items():
        if scores["seconds_median"] < HURRIED_S:
            said.append(f"{name} took {scores['seconds_median']:.1f} s at the median.")
    return said


def _width(found: Mapping[str, Any]) -> list[str]:
    widths = {}
    for name, scores in found["readers"].items():
        low, high = scores["accuracy_interval"]
        if scores["n"]:
            widths[name] = (scores["n"], 50 * (high - low))
    if not widths:
        return []
    name = max(widths, key=lambda reader: widths[reader][1])
    n, width = widths[name]
    return [
        f"With {n} answers the accuracy of one reader ({name}) is known to about {width:.0f} "
        "points either way."
    ]


def _equivalence(found: Mapping[str, Any], margin: float) -> str:
    """The claim that a study of this kind is made for, or why it cannot be made."""
    verdict = found["pooled"]["equivalence"]
    low, high = (100 * end for end in verdict["interval_90"])
    score = "accuracy" if found["mode"] == "pairs" else "balanced accuracy"
    if verdict["shown"]:
        return (
            f"Equivalent to guessing within {margin:g} points: the 90 % interval of {score}, "
            f"{low:.0f} to {high:.0f} %, lies inside 50 ± {margin:g} %."
        )
    if low > 50 or high < 50:
        side = "better" if low > 50 else "worse"
        return f"Readers do {side} than guessing: {score} {low:.0f} to {high:.0f} % (90 %)."
    return (
        f"Equivalence to guessing within {margin:g} points is not shown, and neither is a "
        f"difference: {score} is {low:.0f} to {high:.0f} % (90 %). It takes at least "
        f"{answers_needed(margin / 100)} independent answers, and more where readers differ."
    )


def _agreement(found: Mapping[str, Any]) -> list[str]:
    if found["n_readers"] < 2:
        return ["Agreement needs two readers who saw the same clips."]
    ends = found["agreement"]["krippendorff_alpha_interval"]
    if ends[0] < 0 < ends[1]:
        return ["Agreement beyond chance is not shown: the interval of alpha holds 0."]
    return []
