"""Tables and figures of the expert study, the paper's row among them, also with few answers."""

import numpy as np
import pandas as pd
import pytest

from echocascade.params import StudyParams
from echocascade.report import study_figures, study_tables
from echocascade.studies.expert.analysis import analyse
from echocascade.studies.expert.answer_table import Answers

KINDS = ("real", "factual", "counterfactual")


def answers(n_readers: int, n_clips: int, mode: str = "single", said: str = "") -> Answers:
    rows = []
    for r in range(n_readers):
        for c in range(n_clips):
            kind = KINDS[c % 3] if mode == "single" else KINDS[1 + c % 2]
            truth = ("real" if kind == "real" else "generated") if mode == "single" else "left"
            answer = said or ("real", "generated")[(c + r) % 2]
            rows.append(
                {"reader": f"r{r}", "position": c, "role": "main", "kind": kind, "truth": truth,
                 "shown": f"c{c}", "answer": answer, "correct": float(answer == truth),
                 "seconds": 5.0 + c, "confidence": np.nan, "source": "room",
                 "lvef_requested": np.nan if kind == "real" else 40.0}
            )  # fmt: skip
    asked = {f"r{r}": n_clips for r in range(n_readers)}
    return Answers(pd.DataFrame(rows), mode, StudyParams(), asked, 0, False)


@pytest.fixture(scope="module")
def found():
    return analyse(answers(3, 20), resamples=50)


def test_the_papers_row_stands_below_ours(found):
    """FACTS Sec. 5: 54.33, 63.85, 50.56 and 43.21 %, 16.2 s."""
    last = study_tables.score_table(found).iloc[-1]
    assert last[""] == "the paper" and last["accuracy, %"] == "54.33"
    assert [last[f"{kind}, %"] for kind in KINDS] == ["63.85", "50.56", "43.21"]
    assert study_tables.skill_table(found).iloc[-1]["mean s"] == 16.2


def test_the_papers_classes_make_up_its_accuracy():
    """130, 89 and 81 of 300 answers: the published numbers agree with each other."""
    paper = study_tables.PaperStudy()
    right = 130 * paper.real + 89 * paper.factual + 81 * paper.counterfactual
    assert right / 300 == pytest.approx(paper.accuracy, abs=5e-4)


def test_every_reader_and_all_together_have_a_row(found):
    table = study_tables.score_table(found)
    assert list(table[""]) == ["r0", "r1", "r2", "all", "the paper"]
    assert table["answers"].tolist() == [20, 20, 20, 60, 300]


@pytest.mark.parametrize("n_readers, n_clips", [(1, 1), (1, 2), (2, 3), (14, 4)])
@pytest.mark.parametrize("mode, said", [("single", ""), ("single", "real"), ("pairs", "left")])
def test_few_answers_and_many_readers_are_drawn_too(n_readers, n_clips, mode, said):
    given = answers(n_readers, n_clips, mode, said)
    found = analyse(given, resamples=20)
    assert len(study_figures.accuracy_figure(found).data) == n_readers + 2
    assert len(study_figures.equivalence_figure(found).data) == n_readers + 1
    study_figures.time_figure(given.table)
    lines = study_tables.lines_of(found)
    assert len(lines) == n_readers + 2 + 6 and not any("nan" in line for line in lines)


def test_bars_end_at_the_interval(found):
    trace = study_figures.accuracy_figure(found).data[0]
    low, high = found["readers"]["r0"]["real"]["accuracy_interval"]
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(100 * low)
    assert trace.y[0] + trace.error_y.array[0] == pytest.approx(100 * high)


def test_agreement_is_named_in_both_meanings(found):
    table = study_tables.agreement_table(found).set_index("what")
    assert table.loc["all readers agree, share of clips", "by chance"] < 0.5
    assert table.loc["two readers agree, mean over pairs", "value"] == pytest.approx(1 / 3)


def test_simulated_answers_are_called_so_in_the_figure(found):
    assert "simulated" not in study_figures.accuracy_figure(found).layout.title.text
    drawn = study_figures.accuracy_figure({**found, "simulated": True})
    assert "(simulated readers)" in drawn.layout.title.text


def test_a_run_that_nobody_was_asked_in_has_no_people(tmp_path):
    assert study_tables.people(tmp_path, 0.95, 10) is None
