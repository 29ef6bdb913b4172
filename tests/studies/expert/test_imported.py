"""Files that readers send back: merged once, refused whole when anything is wrong with them."""

import json

import pytest

from echocascade.studies.expert.answers import AnswerStore
from echocascade.studies.expert.folder import Study, load_links
from echocascade.studies.expert.imported import ImportFileError, import_file, sign


def entry(study: Study, position: int, **changes: object) -> dict:
    trial = study.readers["reader-1"].trials[position].id
    body = {"trial": trial, "answer": "real", "attempt": f"{position:032x}", "response_ms": 2000}
    return body | changes


def written(own: Study, folder, answers: object, **changes: object):
    """A file as the page makes it, signed after `changes`."""
    content = {"format": 1, "study": own.settings.study, "digest": own.digest()}
    payload = json.dumps({**content, "reader": "reader-1", "answers": answers, **changes})
    signature = sign(payload, load_links(own.directory)["reader-1"])
    path = folder / "answers.json"
    path.write_text(json.dumps({"payload": payload, "signature": signature}))
    return path


@pytest.fixture
def store(fresh_study):
    opened = AnswerStore(fresh_study.answers_file)
    yield opened
    opened.close()


def merge(path, study, store):
    return import_file(path, study, load_links(study.directory), store)


def test_a_file_is_merged_once_however_often_it_comes(fresh_study, store, tmp_path):
    path = written(fresh_study, tmp_path, [entry(fresh_study, i) for i in range(3)])
    done = [merge(path, fresh_study, store) for _ in range(2)]
    assert [(d.new, d.known, d.second) for d in done] == [(3, 0, 0), (0, 3, 0)]
    assert len(store.rows()) == 3


def test_an_answer_that_is_there_already_stays(fresh_study, store, tmp_path):
    merge(written(fresh_study, tmp_path, [entry(fresh_study, 0)]), fresh_study, store)
    other = entry(fresh_study, 0, answer="generated", attempt="f" * 32)
    path = written(fresh_study, tmp_path, [other, entry(fresh_study, 1)])
    done = merge(path, fresh_study, store)
    assert (done.new, done.known, done.second) == (1, 0, 1)
    assert [row["answer"] for row in store.rows()] == ["real", "real"]


def test_what_was_changed_on_the_way_is_refused(fresh_study, store, tmp_path):
    path = written(fresh_study, tmp_path, [entry(fresh_study, 0)])
    path.write_text(path.read_text().replace('\\"real\\"', '\\"generated\\"'))
    with pytest.raises(ImportFileError, match="signature does not hold"):
        merge(path, fresh_study, store)
    assert store.rows() == []


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"study": "0" * 24}, "another study"),
        ({"digest": "0" * 64}, "another study"),
        ({"format": 2}, "another study"),
        ({"reader": "reader-2"}, "signature"),
        ({"reader": "nobody"}, "does not have"),
        ({"reader": ["reader-1"]}, "not a file of answers"),
        ({"answers": []}, "no answer in it"),
        ({"answers": {}}, "no answer in it"),
        ({"answers": [7]}, "answer 1 is to no trial"),
        ({"answers": [{"trial": ["x"]}]}, "answer 1 is to no trial"),
        ({"answers": [{"trial": "0" * 24}]}, "answer 1 is to no trial"),
    ],
    ids=str,
)
def test_a_file_of_something_else_is_refused(fresh_study, store, tmp_path, changes, said):
    path = written(fresh_study, tmp_path, **{"answers": [entry(fresh_study, 0)], **changes})
    with pytest.raises(ImportFileError, match=said):
        merge(path, fresh_study, store)
    assert store.rows() == []


def test_one_bad_answer_keeps_out_the_whole_file(fresh_study, store, tmp_path):
    answers = [entry(fresh_study, 0), entry(fresh_study, 1, answer="perhaps")]
    with pytest.raises(ImportFileError, match="answer 2: answer: allowed are real, generated"):
        merge(written(fresh_study, tmp_path, answers), fresh_study, store)
    assert store.rows() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b'{"payload": 1, "signature": 2}', b"[" * 100_000,
     b'{"payload": "[]", "signature": ""}', b'{"payload": "{}", "signature": ""}'],
)  # fmt: skip
def test_what_is_no_file_of_answers_is_one_line(fresh_study, store, tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ImportFileError) as error:
        merge(tmp_path / "x.json", fresh_study, store)
    assert "\n" not in str(error.value)


def test_a_huge_or_missing_file_is_not_read(fresh_study, store, tmp_path):
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2**33)
    for name in ("huge.json", "missing.json"):
        with pytest.raises(ImportFileError):
            merge(tmp_path / name, fresh_study, store)
