"""What a study shows: simulated readers of known skill, and studies with next to no answers."""

import json
import math

import pytest

from echocascade.studies.expert.analysis import analyse
from echocascade.studies.expert.answer_table import load_answers
from echocascade.studies.expert.answers import Answer, AnswerStore
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.expert.folder import load_key, load_study
from echocascade.studies.expert.simulate import SimulatedReader, simulate

SKILLS = [SimulatedReader(0.0), SimulatedReader(1.0, 0.4), SimulatedReader(2.5)]


@pytest.fixture(scope="module")
def simulated(study_folder, tmp_path_factory):
    """The study, answered by readers of declared skill."""
    import shutil

    folder = tmp_path_factory.mktemp("simulated") / "study"
    study = load_study(shutil.copytree(study_folder, folder))
    simulate(study, SKILLS, seed=0)
    return study


@pytest.fixture(scope="module")
def found(simulated):
    return analyse(load_answers(simulated), resamples=200)


def save(study, reader: str, answers: dict[int, str]) -> None:
    store = AnswerStore(study.answers_file)
    for position, answer in answers.items():
        trial = study.readers[reader].trials[position].id
        store.save(Answer(reader, position, trial, answer, f"{position:032x}", 2000.0))
    store.close()


def test_practice_repeats_and_what_could_not_be_judged_do_not_count(fresh_study):
    trials = load_key(fresh_study.directory).trials
    own = trials[trials["reader"] == "reader-1"]
    save(fresh_study, "reader-1", dict(zip(own["position"], own["truth"], strict=True)))
    first = int(own[own["role"] == "main"]["position"].iloc[0])
    wrong = {"real": "generated", "generated": "real"}
    save(fresh_study, "reader-2", {first: "cannot judge"})
    other = trials[(trials["reader"] == "reader-2") & (trials["role"] == "main")].iloc[1]
    save(fresh_study, "reader-2", {int(other["position"]): wrong[other["truth"]]})
    found = analyse(load_answers(fresh_study), resamples=20)
    assert found["readers"]["reader-1"]["n"] == 20
    assert found["readers"]["reader-1"]["accuracy"] == 1
    assert found["repeats"]["reader-1"] == {
        "n": 2,
        "same": 1.0,
        "same_interval": pytest.approx([0.342, 1.0], abs=1e-3),
    }
    assert found["readers"]["reader-2"]["n"] == 1 and found["n_cannot_judge"] == 1
    assert found["readers"]["reader-2"]["accuracy"] == 0
    assert "reader-3 has answered nothing that counts." in found["notes"]


def test_declared_skill_is_recovered_within_its_interval(found):
    for skill, scores in zip(SKILLS, found["readers"].values(), strict=True):
        low, high = scores["d_prime_interval"]
        assert low <= skill.d_prime <= high
    assert found["readers"]["reader-1"]["accuracy"] < found["readers"]["reader-3"]["accuracy"]


def test_declared_skill_is_recovered_as_often_as_the_interval_says(study_folder):
    """100 readers of d' 1 on one study: Hautus95's correction errs to the wide side."""
    from echocascade.studies.expert import detection
    from echocascade.studies.expert.detection import Counts
    from echocascade.studies.expert.simulate import answers_of

    trials = load_key(study_folder).trials
    own = trials[(trials["reader"] == "reader-1") & (trials["role"] == "main")]
    truth = dict(zip(own["position"], own["truth"], strict=True))
    held = 0
    for seed in range(100):
        answers = answers_of(own, SimulatedReader(1.0), (seed, 0))
        said = [(truth[a.position], a.answer) for a in answers]
        made = [s for t, s in said if t == "generated"]
        real = [s for t, s in said if t == "real"]
        counts = Counts(made.count("generated"), len(made), real.count("generated"), len(real))
        interval = detection.d_prime(counts, 0.95)
        held += interval.low <= 1.0 <= interval.high
    assert held >= 90


def test_the_same_study_drawn_again_gives_the_same_numbers(study_run, tmp_path):
    """File names are random; no answer and no interval may follow from them."""
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.simulate import rehearse

    source = RunClips.load(*study_run, ["study.trials=10"])
    found = [
        analyse(load_answers(rehearse(source, tmp_path / name)), resamples=50)
        for name in ("one", "two")
    ]
    assert json.dumps(found[0]) == json.dumps(found[1])


def test_a_rehearsal_does_not_take_the_place_of_people(study_run, tmp_path):
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study
    from echocascade.studies.expert.simulate import rehearse

    source = RunClips.load(*study_run, ["study.trials=4"])
    rehearse(source, tmp_path / "study")
    rehearse(source, tmp_path / "study")
    create_study(source, ["reader-1"], tmp_path / "people")
    save(load_study(tmp_path / "people"), "reader-1", {0: "real"})
    with pytest.raises(StudyError, match="1 answers of people"):
        rehearse(source, tmp_path / "people")


def test_simulated_readers_are_called_so(found):
    assert found["simulated"] is True
    assert found["notes"][0].startswith("Simulated readers")


def test_every_score_has_its_interval_around_it(found):
    def check(scores: dict, path: str) -> None:
        for name, value in scores.items():
            if isinstance(value, dict):
                check(value, f"{path}.{name}")
            elif f"{name}_interval" in scores and not math.isnan(value):
                low, high = scores[f"{name}_interval"]
                assert low <= value <= high, f"{path}.{name}"

    for part in ("readers", "pooled", "agreement", "repeats"):
        check(found[part], part)
    assert {"sensitivity", "specificity", "d_prime", "criterion"} <= set(found["pooled"])


def test_twenty_answers_a_reader_are_called_few(found):
    text = " ".join(found["notes"])
    assert "With 20 answers" in text and "2" in text.split("known to about ")[1][:2]
    assert "3 readers: the results speak about them" in text
    assert not found["readers"]["reader-1"]["equivalence"]["shown"]


def test_the_share_of_answers_by_requested_lvef_adds_up(found):
    made = sum(band["n"] for band in found["pooled"]["lvef"].values())
    assert made == found["pooled"]["factual"]["n"] + found["pooled"]["counterfactual"]["n"]


def test_a_study_without_answers_is_an_error_that_says_so(fresh_study):
    with pytest.raises(StudyError, match="no answers yet"):
        load_answers(fresh_study)


@pytest.mark.parametrize("answer", ["real", "generated", "cannot judge"])
def test_one_answer_is_analysed_without_a_warning_or_a_crash(fresh_study, answer, recwarn):
    save(fresh_study, "reader-2", {3: answer})
    found = analyse(load_answers(fresh_study), resamples=20)
    json.dumps(found)
    assert found["readers"]["reader-1"]["n"] == 0 and found["notes"]
    assert [str(w.message) for w in recwarn if w.category is not DeprecationWarning] == []


def test_all_readers_who_say_one_thing_are_at_chance(fresh_study):
    for reader, content in fresh_study.readers.items():
        save(fresh_study, reader, dict.fromkeys(range(len(content.trials)), "generated"))
    found = analyse(load_answers(fresh_study), resamples=50)
    pooled = found["pooled"]
    assert pooled["sensitivity"] == 1 and pooled["specificity"] == 0
    assert pooled["balanced_accuracy"] == 0.5
    assert pooled["accuracy"] == pytest.approx(pooled["accuracy_by_chance"])
    assert found["agreement"]["all_agree"] == 1 and math.isnan(found["agreement"]["fleiss_kappa"])


@pytest.fixture
def pairs(study_run, tmp_path):
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study

    changes = ["study.mode=pairs", "study.trials=10", "study.confidence=true"]
    create_study(RunClips.load(*study_run, changes), ["a", "b"], tmp_path / "pairs")
    return load_study(tmp_path / "pairs")


def test_pairs_are_scored_by_which_side_is_real(pairs):
    simulate(pairs, [SimulatedReader(0.0), SimulatedReader(9.0)], seed=0)
    found = analyse(load_answers(pairs), resamples=50)
    assert found["mode"] == "pairs" and found["readers"]["b"]["accuracy"] == 1
    assert found["readers"]["b"]["d_prime"] > 2 and "real" not in found["readers"]["b"]
    assert {"factual", "counterfactual", "said_left"} <= set(found["pooled"])


def test_confidence_makes_a_curve(study_run, tmp_path):
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study

    changes = ["study.confidence=true", "study.trials=8"]
    create_study(RunClips.load(*study_run, changes), ["a"], tmp_path / "sure")
    study = load_study(tmp_path / "sure")
    simulate(study, [SimulatedReader(9.0)], seed=0)
    found = analyse(load_answers(study), resamples=20)
    assert found["readers"]["a"]["auc"] == 1
    assert math.isnan(found["agreement"]["mean_pairwise"])
