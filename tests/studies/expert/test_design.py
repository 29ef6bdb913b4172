"""The design of a study: balanced, seeded, and nobody sees one patient twice."""

from collections import Counter

import numpy as np
import pytest

from echocascade.params import StudyParams
from echocascade.studies.expert.design import (
    Patients,
    Trial,
    allocate,
    class_counts,
    design_study,
)
from echocascade.studies.expert.errors import StudyError

MANY = Patients(tuple(f"p{i:04d}" for i in range(200)), tuple(f"q{i}" for i in range(20)))
READERS = ("a", "b", "c")
STUDIES = [
    StudyParams(),
    StudyParams(mode="pairs"),
    StudyParams(shared=0.4),
    StudyParams(mode="pairs", shared=0.4),
    StudyParams(selection="random"),
]


def of_role(trials: tuple[Trial, ...], *roles: str) -> list[Trial]:
    return [trial for trial in trials if trial.role in roles]


def test_the_papers_mix_is_the_default():
    assert class_counts(StudyParams(), 300) == (130, 89, 81)
    assert class_counts(StudyParams(), 100) == (43, 30, 27)


@pytest.mark.parametrize("study", STUDIES)
def test_every_reader_gets_the_same_numbers_of_each_class(study):
    design = design_study(study, 0, MANY, READERS)
    for trials in design.readers.values():
        main = of_role(trials, "main")
        assert len(main) == 100
        counts = Counter(clip.kind for trial in main for clip in trial.clips)
        assert tuple(counts[kind] for kind in ("real", "factual", "counterfactual")) == (
            class_counts(study, 100)
        )
        assert len(of_role(trials, "repeat")) == 10 and len(of_role(trials, "practice")) == 4


@pytest.mark.parametrize("study", STUDIES)
def test_nobody_sees_a_patient_twice_but_in_hidden_repeats(study):
    for trials in design_study(study, 0, MANY, READERS).readers.values():
        seen = [clip.patient for t in of_role(trials, "main", "practice") for clip in t.clips]
        assert len(set(seen)) == len(seen)
        main = {trial.clips: i for i, trial in enumerate(trials) if trial.role == "main"}
        gaps = [i - main[t.clips] for i, t in enumerate(trials) if t.role == "repeat"]
        assert min(gaps) >= 10
        assert [t.truth for t in of_role(trials, "practice")] == ["real"] * 4
        assert [t.role for t in trials[:4]] == ["practice"] * 4


def test_clips_are_the_first_patients_by_name_as_in_the_paper():
    trials = design_study(StudyParams(), 0, MANY, READERS).readers["a"]
    names = {clip.patient for trial in of_role(trials, "main") for clip in trial.clips}
    assert names == {f"p{i:04d}" for i in range(100)}
    other = design_study(StudyParams(selection="random"), 0, MANY, READERS).readers["a"]
    assert {clip.patient for trial in other for clip in trial.clips} != names


def test_readers_share_clips_and_not_their_order():
    design = design_study(StudyParams(), 0, MANY, READERS)
    a, b = (of_role(design.readers[name], "main") for name in "ab")
    assert set(a) == set(b) and a != b


@pytest.mark.parametrize("mode", ["single", "pairs"])
def test_a_share_of_the_clips_can_be_each_readers_own(mode):
    design = design_study(StudyParams(shared=0.4, mode=mode), 0, MANY, READERS)
    sets = [set(of_role(trials, "main")) for trials in design.readers.values()]
    assert 40 <= len(set.intersection(*sets)) < 75


def test_one_seed_one_design():
    designs = [design_study(StudyParams(), seed, MANY, READERS) for seed in (0, 0, 1)]
    assert designs[0] == designs[1] != designs[2]


def test_the_real_clip_is_on_each_side_equally_often():
    design = design_study(StudyParams(mode="pairs"), 3, MANY, READERS)
    for trials in design.readers.values():
        sides = Counter(trial.truth for trial in of_role(trials, "main"))
        assert sides == {"left": 50, "right": 50}


def test_the_draw_of_a_generated_clip_is_picked_blindly():
    trials = design_study(StudyParams(), 0, MANY, READERS, draws=3).readers["a"]
    draws = Counter(c.draw for t in of_role(trials, "main") for c in t.clips if c.kind != "real")
    assert set(draws) == {0, 1, 2} and min(draws.values()) > 8


@pytest.mark.parametrize("n_generated, n_others", [(8, 12), (48, 0), (2, 1), (1, 1)])
def test_a_small_run_gets_a_smaller_study_and_says_so(n_generated, n_others):
    names = tuple(f"p{i}" for i in range(n_generated)), tuple(f"q{i}" for i in range(n_others))
    design = design_study(StudyParams(), 0, Patients(*names), READERS)
    main = of_role(design.readers["a"], "main")
    made = [trial for trial in main if trial.truth == "generated"]
    assert 1 <= len(made) <= n_generated and len(main) > len(made)
    assert f"{len(main)} trials a reader" in design.notes[0]


def test_too_few_patients_and_readers_of_one_name_are_refused():
    with pytest.raises(StudyError, match="1 patients with generated clips and 0 others"):
        design_study(StudyParams(), 0, Patients(("p",)), READERS)
    with pytest.raises(StudyError, match="a, a"):
        design_study(StudyParams(), 0, MANY, ("a", "a"))


def test_patients_without_generated_clips_are_shown_real_ones_alone():
    patients = Patients(tuple(f"p{i:02d}" for i in range(30)), tuple(f"q{i}" for i in range(40)))
    study = StudyParams(trials=50, shared=0.3)
    for trials in design_study(study, 0, patients, READERS).readers.values():
        assert {c.kind for t in trials for c in t.clips if c.patient.startswith("q")} == {"real"}


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 101])
def test_allocated_numbers_add_up_and_are_within_one_of_the_share(n):
    shares = (0.4333, 0.2967, 0.27)
    found = allocate(n, shares)
    assert sum(found) == n
    np.testing.assert_allclose(found, n * np.array(shares), atol=1)
