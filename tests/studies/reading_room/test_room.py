"""The reading room over HTTP: nothing lost, nothing doubled, no one let in, nothing told."""

import http.client
import json
import resource
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from echocascade.studies.expert.create import Named
from echocascade.studies.expert.design import Design, Shown, Trial
from echocascade.studies.expert.folder import load_key, load_study


@pytest.fixture(scope="module")
def still_room(running_room, study_folder, tmp_path_factory):
    """A room for what must leave no row; one for all of it."""
    folder = tmp_path_factory.mktemp("still") / "study"
    running = running_room(load_study(shutil.copytree(study_folder, folder)))
    running.start()
    yield running
    assert running.rows() == []
    running.kill()


def answer(room, position: int = 0, reader: str = "reader-1", **changes: object) -> dict:
    trial = room.study.readers[reader].trials[position].id
    body = {"trial": trial, "answer": "real", "attempt": "0" * 32, "response_ms": 2500}
    return body | changes


def test_a_reader_is_shown_one_trial_and_nothing_of_those_to_come(room):
    state = room.state()
    trials = room.study.readers["reader-1"].trials
    assert state == {
        "position": 0, "total": 24, "practice": 2,
        "trial": {"id": trials[0].id, "clips": 1, "practice": True},
    }  # fmt: skip
    for later in trials[1:]:
        assert room.ask(f"/clip/{later.id}/0")[0] == 404
    assert room.ask(f"/clip/{trials[0].id}/0")[0] == 200


def test_an_answer_is_on_disk_before_the_next_clip_is_named(room):
    status, _, content = room.ask("/answer", body=answer(room))
    reply = json.loads(content)
    assert status == 200 and reply["saved"] is True and reply["first"] is True
    assert reply["trial"]["id"] == room.study.readers["reader-1"].trials[1].id
    (row,) = room.rows()
    assert (row["reader"], row["position"], row["answer"]) == ("reader-1", 0, "real")
    assert row["response_ms"] == 2500 and row["source"] == "room"


def test_the_first_answer_counts_and_a_retry_is_no_second_one(room):
    for attempt, said, first in [
        ("0", "real", True),
        ("0", "real", True),
        ("1", "generated", False),
    ]:
        body = answer(room, answer=said, attempt=attempt * 32)
        assert json.loads(room.ask("/answer", body=body)[2])["first"] is first
    assert [row["answer"] for row in room.rows()] == ["real"]
    assert "second answer" in room.events()


def test_readers_do_not_see_each_others_clips_or_answers(room):
    other = room.study.readers["reader-2"].trials[0]
    assert room.ask(f"/clip/{other.id}/0", "reader-1")[0] == 404
    assert room.ask("/answer", "reader-1", answer(room, reader="reader-2"))[0] == 404
    room.ask("/answer", "reader-2", answer(room, reader="reader-2"))
    assert room.state("reader-1")["position"] == 0 and room.state("reader-2")["position"] == 1


def test_a_later_trial_cannot_be_answered_early(still_room):
    assert still_room.ask("/answer", body=answer(still_room, position=1))[0] == 404
    assert still_room.rows() == []


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "..", "%00", "x" * 5000])
def test_no_one_comes_in_without_a_link(still_room, token):
    for path in ("", "/state", "/clip/0/0"):
        connection = http.client.HTTPConnection("127.0.0.1", still_room.port, timeout=30)
        connection.request("GET", f"/r/{token}{path}")
        assert connection.getresponse().status == 404
        connection.close()


@pytest.mark.parametrize(
    "path",
    ["/clip/../../key/clips.csv/0", "/clip/..%2f..%2fkey%2fclips.csv/0", "/../../key/clips.csv",
     "/clip/key/0", "/clip/%2e%2e/0", "/study.json", "/links.json", "/answers.sqlite", "/key/",
     "/key/trials.csv", "/clips", "/clip", "/clip/", "//etc/passwd", "/clip/x/../0"],
)  # fmt: skip
def test_no_path_leads_to_the_key_or_out_of_the_folder(still_room, path):
    status, _, content = still_room.ask(path)
    assert status == 404 and "error" in json.loads(content)


@pytest.mark.parametrize("place", ["1", "-1", "0x0", "00", "9" * 30, "%D9%A0", "0%00"])
def test_only_the_trials_own_clips_have_a_number(still_room, place):
    trial = still_room.study.readers["reader-1"].trials[0].id
    assert still_room.ask(f"/clip/{trial}/{place}")[0] == 404


MALFORMED = [
    b"", b"{", b"[]", b"null", b"\xff", b'{"trial": 1}', b"0" * 9000, b'{"a":' + b"[" * 4000,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_answer_is_refused_and_leaves_no_row(still_room, body):
    assert still_room.ask("/answer", body=body)[0] in (400, 404, 413)
    assert still_room.rows() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": "fake"}, {"answer": ["real"]}, {"answer": None}, {"attempt": "short"},
        {"attempt": "g" * 32}, {"attempt": 7}, {"response_ms": -1}, {"response_ms": "fast"},
        {"response_ms": 10**400}, {"response_ms": True}, {"confidence": 9}, {"confidence": 2.5},
        {"reader": "reader-2"}, {"detail": {"x": 1}}, {"detail": []}, {"answer": "cannot judge"},
        {"detail": {"plays": "<script>"}}, {"trial": {"id": 1}}, {"trial": "'; DROP TABLE answers"},
    ],
    ids=str,
)  # fmt: skip
def test_a_field_that_is_wrong_is_refused_and_leaves_no_row(still_room, changes):
    status, _, content = still_room.ask("/answer", body=answer(still_room, **changes))
    assert status in (400, 404) and len(json.loads(content)["error"]) < 100
    assert still_room.rows() == []


def test_another_content_type_is_not_read(still_room):
    assert (
        still_room.ask("/answer", body=answer(still_room), kind="x-www-form-urlencoded")[0] == 415
    )


def test_an_oversized_body_is_refused_before_it_is_read(still_room):
    body = json.dumps(answer(still_room, detail={"plays": 1})).encode()
    assert still_room.ask("/answer", body=body + b" " * 10**7)[0] == 413
    assert still_room.rows() == []


def test_no_header_length_or_property_of_a_clip_tells_what_it_is(room):
    """Every clip of every reader, fetched as a browser does (W03)."""
    key = load_key(room.study.directory)
    kinds = dict(zip(key.trials["trial"], key.trials["kind"], strict=True))
    seen, sizes, truth = set(), [], []
    for reader, content in room.study.readers.items():
        for position, trial in enumerate(content.trials):
            status, headers, clip = room.ask(f"/clip/{trial.id}/0", reader)
            assert status == 200 and len(clip) == int(headers["content-length"])
            kept = {
                name.lower(): value for name, value in headers.items() if name.lower() != "date"
            }
            seen.add(tuple(sorted(kept.items())))
            sizes.append(len(clip))
            truth.append(kinds[trial.id] == "real")
            room.ask("/answer", reader, answer(room, position, reader))
    assert len(truth) == 72 and 20 < sum(truth) < 52
    assert len(seen) == 1 and len(set(sizes)) == 1
    assert {"etag", "last-modified", "server"} & set(dict(seen.pop())) == set()


def test_names_of_clips_do_not_sort_them_by_what_they_are():
    """Opaque names as numbers: real and generated ones lie among each other as by luck."""
    from scipy.stats import mannwhitneyu

    clips = [Shown(f"p{i:03d}", "real" if i % 2 else "factual") for i in range(400)]
    design = Design({"a": tuple(Trial((clip,)) for clip in clips)})
    named = Named.of(design)
    for names in (named.files.values(), named.trials["a"]):
        values = np.array([int(name, 16) for name in names], float)
        real = np.arange(400) % 2 == 1
        assert mannwhitneyu(values[real], values[~real]).pvalue > 1e-6


def test_the_room_works_without_the_key(room):
    room.kill()
    shutil.rmtree(room.study.directory / "key")
    room.start()
    assert room.ask("/answer", body=answer(room))[0] == 200


def test_it_goes_on_after_a_kill_where_it_stopped(room):
    for position in range(3):
        room.ask("/answer", body=answer(room, position))
    room.kill()
    room.start()
    assert room.state()["position"] == 3
    assert len(room.rows()) == 3


def test_a_kill_between_answer_and_reply_leaves_exactly_one_row(room):
    """W01: the answer is on disk, the reply never comes, the page sends the same click again."""
    room.kill()
    room.start(dying=True)
    with pytest.raises((http.client.HTTPException, OSError)):
        room.ask("/answer", body=answer(room))
    room.kill()
    assert len(room.rows()) == 1
    room.start()
    reply = json.loads(room.ask("/answer", body=answer(room))[2])
    assert reply["first"] is True and reply["position"] == 1
    assert len(room.rows()) == 1


def test_a_locked_file_is_not_confirmed(room):
    """W05: someone else holds the answers; the reader is not told that all is well."""
    other = sqlite3.connect(room.study.answers_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, _, content = room.ask("/answer", body=answer(room))
    assert status == 503 and json.loads(content) == {"error": "not saved"}
    other.execute("ROLLBACK")
    other.close()
    assert room.rows() == []
    assert room.ask("/answer", body=answer(room))[0] == 200
    assert len(room.rows()) == 1


def test_a_full_disk_is_not_confirmed(room):
    """W05 with a limit on the size of files in place of a full disk: the write itself fails."""
    resource.prlimit(room.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    status, _, content = room.ask("/answer", body=answer(room))
    assert status == 503 and json.loads(content) == {"error": "not saved"}
    assert room.rows() == []
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(room.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert room.ask("/answer", body=answer(room))[0] == 200
    assert len(room.rows()) == 1


def test_a_clip_that_was_taken_away_is_an_error_and_not_another_clip(room):
    trial = room.study.readers["reader-1"].trials[0]
    room.study.clip(trial.files[0]).unlink()
    status, _, content = room.ask(f"/clip/{trial.id}/0")
    assert status == 500 and b"mp4" not in content


def test_the_page_names_no_other_host_and_holds_no_secret(still_room):
    status, headers, page = still_room.ask("")
    assert status == 200
    assert b"http" not in page.replace(b"http-equiv", b"")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert still_room.links["reader-1"].token.encode() not in page
    assert b"signing_key" not in page


def test_links_and_answers_are_in_no_log(room):
    room.ask("/answer", body=answer(room))
    room.ask("/nothing")
    process = room.process
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert room.links["reader-1"].token not in out + err and "real" not in err
    room.process = None


def test_serving_a_folder_without_a_study_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "echocascade.cli", "study", "serve", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
