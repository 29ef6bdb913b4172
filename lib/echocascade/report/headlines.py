"""The main numbers of a run: which result, what it is called, how to read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """A result key, its label, one sentence of reading, and how many decimals mean something."""

    key: str
    label: str
    reading: str = ""
    decimals: int = 2
    unit: str = ""

    def value(self, results: Mapping[str, object]) -> str:
        """The value as text: a number rounded, a text as it is, "none" for null."""
        found = results[self.key]
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return "no value" if found is None else str(found)
        return with_minus(f"{found:.{self.decimals}f}{self.unit}")

    def interval(self, results: Mapping[str, object]) -> str:
        """ "0.71 to 0.85", or empty where no interval was recorded."""
        bounds = results.get(f"{self.key}_interval")
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or None in bounds:
            return ""
        low, high = bounds
        return with_minus(f"{low:.{self.decimals}f} to {high:.{self.decimals}f}{self.unit}")


def with_minus(text: str) -> str:
    """Numbers with a true minus sign."""
    return text.replace("-", "−")


HEADLINES = (
    Headline(
        "counterfactual.generation.regressor.single.R2",
        "Counterfactual LVEF, R² by the regressor",
        "How closely the measured LVEF of a generated clip follows the LVEF that was asked for:"
        " 1 is perfect, 0 no better than always the mean. One draw a clip, none chosen.",
    ),
    Headline(
        "counterfactual.generation.stick.single.R2",
        "The same clips, R² by segmentation",
        "A second judge without any network: the cavity is outlined in every frame.",
    ),
    Headline(
        "counterfactual.generation.regressor.single.MAE",
        "Counterfactual LVEF, mean error",
        "Average distance between requested and measured LVEF, in percentage points.",
        decimals=1,
        unit=" points",
    ),
    Headline(
        "counterfactual.generation.regressor.single.slope",
        "Slope, measured on requested",
        "1 means that ten points more on request are ten points more in the clip;"
        " less is a timid heart, more an exaggerated one.",
    ),
    Headline(
        "counterfactual.generation.regressor.paper.R2",
        "R² of the best draw, as published",
        "The rule of the paper's table keeps a patient's best draw. Compare with the next line.",
    ),
    Headline(
        "counterfactual.generation.regressor.null.paper.R2",
        "R² of the best draw, answers shuffled",
        "What that rule gives without any obedience. The paper's 1SCM by its released scores: best"
        " of three 0.64, a single draw 0.42, shuffled answers 0.44.",
    ),
    Headline(
        "counterfactual.generation.regressor.null.single.R2",
        "R² with the requests shuffled",
        "What chance gives. It has to be near or below 0, or the score measures something else.",
    ),
    Headline(
        "counterfactual.reconstruction.regressor.single.R2",
        "Factual LVEF, R² by the regressor",
        "Clips generated with the patient's own LVEF, measured against it.",
    ),
    Headline(
        "regressor.test.R2",
        "The judge itself, R² on recorded clips",
        "The regressor on held-out clips that nothing generated: no score above can be trusted"
        " further than this one.",
    ),
    Headline(
        "rebalancing.headline.gain",
        "Rebalancing, R² gained by a regressor",
        "Of a small training set half is generated where real hearts are rare: R² on balanced real"
        " clips over that of as many real clips alone. An interval across 0 is noise.",
    ),
    Headline(
        "rebalancing.headline.over_classic",
        "The same over oversampled real clips",
        "What generated clips give beyond a remedy that needs no generator.",
    ),
    Headline(
        "sampling.seconds_per_clip",
        "Time to generate one clip",
        "Through the whole cascade on this machine.",
        decimals=2,
        unit=" s",
    ),
)


def present(
    results: Mapping[str, object], headlines: Sequence[Headline] = HEADLINES
) -> list[Headline]:
    """The headlines whose result this run has."""
    return [headline for headline in headlines if headline.key in results]


def summary_line(results: Mapping[str, object], most: int = 4) -> str:
    """The first headlines on one line, for the console."""
    shown = present(results)[:most]
    return "; ".join(f"{headline.label} {headline.value(results)}" for headline in shown)
