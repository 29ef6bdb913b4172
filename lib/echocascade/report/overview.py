"""What notebook 00 says about a run: on what its numbers stand, and where its pages are."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from echocascade.params import Params
from echocascade.report.headlines import with_minus
from echocascade.report.html import link_label, read_page
from echocascade.report.paper import ReadableTable, readable

FEW_CLIPS = 30  # below it an R2 says little: its interval spans a good part of the scale
TRUSTED_JUDGE = 0.8  # R2; the paper's judge has 0.81 (Reynaud23 Sec. 3)


def basis_table(results: Mapping[str, object], params: Params) -> ReadableTable:
    """On how much every number of the run stands, as a table: what, how much, its role."""
    e, guidance = params.evaluation, params.cascade.guidance
    data = "phantom (drawn hearts)" if params.is_phantom else Path(params.data.root).name
    chosen = results.get("sampling.guidance.n_clips")
    judged = results.get("counterfactual.n_clips")
    rows = [
        ("data set", data, ""),
        ("TRAIN clips", results.get("data.splits.TRAIN"), "trained the regressor and every stage"),
        ("VAL clips", results.get("data.splits.VAL"), f"{chosen} of them chose the guidance scale"
         if guidance.scale == "auto" else "guidance scale given in the params file"),
        (f"{e.split} clips", results.get(f"data.splits.{e.split}"),
         f"{judged} of them are reported on, {e.draws} draws each"),
        ("the judge's R² on held-out clips", results.get("regressor.test.R2"),
         "no score can be trusted further"),
    ]  # fmt: skip
    return readable(pd.DataFrame(rows, columns=["what", "how much", "what it did"]))


def cautions(results: Mapping[str, object], params: Params) -> str:
    """Markdown: what a reader of this run's numbers must know; never empty."""
    found = []
    judged = results.get("counterfactual.n_clips")
    if params.is_phantom:
        found.append("The clips are drawn hearts: nothing here speaks about patients.")
    if isinstance(judged, int) and judged < FEW_CLIPS:
        found.append(
            f"Only {judged} clips are reported on. At fewer than {FEW_CLIPS} an R² moves by tenths"
            " with the choice of clips: take this run as a check that everything works."
        )
    judge = results.get("regressor.test.R2")
    if not isinstance(judge, (int, float)) or judge < TRUSTED_JUDGE:
        text = with_minus(f"{judge:.2f}") if isinstance(judge, (int, float)) else "no value"
        found.append(
            f"The regressor's own R² on held-out clips is {text}, below {TRUSTED_JUDGE}: its word"
            " on generated clips is weak."
        )
    found.append(
        "The paper keeps the best of three draws; the row “every draw” of this run chooses none."
    )
    return "\n".join(f"- {line}" for line in found)


def notebook_map(directory: Path) -> str:
    """Markdown: the run's executed notebooks with links to their pages and their stories."""
    files = sorted((directory / "notebooks").glob("[0-9]*.ipynb"))
    pages = [read_page(file) for file in files if not file.name.endswith(".partial.ipynb")]
    return "\n".join(
        f"- {link_label(page)} · [{page.title}]({page.file}): {' '.join(page.story.split())}"
        for page in pages
        if page.number != "00"
    )
