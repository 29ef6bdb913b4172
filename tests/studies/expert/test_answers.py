"""Answers on disk: the first counts, none is confirmed that is not there."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from echocascade.studies.expert.answers import Answer, AnswerStore, NotSavedError, stamp


def answer(position: int = 0, attempt: str = "a" * 16, said: str = "real") -> Answer:
    return Answer("reader", position, f"trial{position}", said, attempt, 1500.0)


@pytest.fixture
def store(tmp_path):
    opened = AnswerStore(tmp_path / "answers.sqlite", create=True)
    yield opened
    opened.close()


def test_the_first_answer_counts_and_the_same_click_twice_is_one(store):
    assert store.save(answer()) is True
    assert store.save(answer()) is True
    assert store.save(answer(attempt="b" * 16, said="generated")) is False
    (row,) = store.rows()
    assert row["answer"] == "real" and row["response_ms"] == 1500
    assert store.answered("reader") == {0} and store.answered("other") == set()


def test_every_commit_reaches_the_disk_before_save_returns(store):
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_only_the_owner_may_read_the_file(store):
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_missing_file_is_not_taken_for_an_empty_study(tmp_path):
    with pytest.raises(NotSavedError, match="no such file"):
        AnswerStore(tmp_path / "nothing.sqlite")


def test_what_is_no_database_is_said(tmp_path):
    (tmp_path / "answers.sqlite").write_text("not a database, though it is long enough" * 40)
    with pytest.raises(NotSavedError, match="not a database"):
        AnswerStore(tmp_path / "answers.sqlite")


def test_a_locked_file_is_not_saved_and_then_it_is(store):
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(NotSavedError, match="locked"):
        store.save(answer())
    assert time.monotonic() - started < 10
    other.execute("ROLLBACK")
    other.close()
    assert store.rows() == []
    assert store.save(answer()) is True


def test_a_full_disk_is_not_saved_and_nothing_is_half_there(tmp_path):
    """A small file system of its own where that can be had, else a limit that SQLite keeps."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    try:
        store = AnswerStore(folder / "answers.sqlite", create=True)
        if mounted.returncode:
            store._connection.execute("PRAGMA max_page_count = 40")
        saved = 0
        with pytest.raises(NotSavedError, match="full"):
            for position in range(20000):
                store.save(answer(position))
                saved += 1
        assert saved > 10
        assert len(store.answered("reader")) == saved
        store.close()
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_threads_and_processes_together_lose_and_double_nothing(store):
    def write(first: int) -> None:
        for position in range(20):
            store.save(answer(position, attempt=f"{first:016x}"))

    context = multiprocessing.get_context("spawn")
    other = context.Process(target=write_all, args=(store.path,))
    other.start()
    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.join()
    assert other.exitcode == 0
    assert [row["position"] for row in store.rows()] == list(range(20))


def write_all(path: Path) -> None:
    store = AnswerStore(path)
    for position in range(20):
        store.save(answer(position, attempt="f" * 16))


KILLED = """
import sys
from pathlib import Path
from echocascade.studies.expert.answers import Answer, AnswerStore
store = AnswerStore(Path(sys.argv[1]))
for position in range(100000):
    store.save(Answer("reader", position, f"trial{position}", "real", "a" * 16))
    print(position, flush=True)
"""


def test_what_was_confirmed_is_there_after_a_kill(store):
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(store.path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(30):
            confirmed = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        confirmed = max([confirmed, *map(int, writer.stdout.read().split())])
        writer.wait()
        assert store.answered("reader") >= set(range(confirmed + 1))


def test_events_are_kept_in_order_and_do_not_grow_without_end(store, monkeypatch):
    from echocascade.studies.expert import answers

    monkeypatch.setattr(answers, "MAX_EVENTS", 3)
    for i in range(5):
        store.note("reader", "opened", str(i))
    assert [detail for _, _, detail in store.events()] == ["0", "1", "2"]


def test_the_stamp_follows_the_answers_and_nothing_else(store):
    before = stamp(store.path.parent)
    assert stamp(store.path.parent) == before
    store.save(answer())
    assert stamp(store.path.parent) != before
    assert stamp(store.path.parent / "nowhere") == ""
