"""Progress: written by the library's callback, read and drawn by the runner."""

import io
import json

import pytest

from echocascade.report.progress import (
    ProgressConsole,
    ProgressFile,
    TextBar,
    describe,
    format_duration,
    progress_callback,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (45, "45 s"), (80, "1 min 20 s"), (3600, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_in_words(seconds, text):
    assert format_duration(seconds) == text


def test_remaining_time_counts_only_what_was_done_since_the_start():
    event = {"label": "base", "done": 600, "total": 1000, "note": "loss 0.2", "time": 110.0}
    # resumed at step 500: 100 steps took 10 s, so 400 steps take 40 s
    line = describe(event, started_at=100.0, started_from=500)
    assert line.endswith("60 %  600/1000  loss 0.2  40 s left")


def test_no_remaining_time_is_invented_before_anything_was_done():
    event = {"label": "base", "done": 500, "total": 1000, "note": "", "time": 100.0}
    assert describe(event, started_at=100.0, started_from=500).endswith("50 %  500/1000")


def test_the_file_gets_the_first_and_the_last_event_and_few_between(tmp_path):
    file = tmp_path / "progress.jsonl"
    report = ProgressFile(file, "base")
    for done in range(1, 101):
        report(done, 100, "")
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["done"] for event in events] == [1, 100]


def test_a_log_gets_lines_and_no_half_written_event_is_read(tmp_path):
    file, log = tmp_path / "progress.jsonl", io.StringIO()
    console = ProgressConsole(file, "04 train base", log, interval_s=0.0)
    event = {"label": "base", "done": 1, "total": 2, "note": "", "time": 1.0}
    file.write_text(json.dumps(event) + "\n" + '{"label": "ba')
    console.poll()
    assert log.getvalue().startswith("[04 train base] base ████████········  50 %  1/2")
    with file.open("a") as stream:
        stream.write('se", "done": 2, "total": 2, "note": "", "time": 3.0}\n')
    console.poll()
    assert log.getvalue().endswith("2/2  took 2 s\n")


def test_the_callback_writes_to_the_runner_when_there_is_one(tmp_path, monkeypatch):
    monkeypatch.delenv("ECHOCASCADE_PROGRESS", raising=False)
    assert isinstance(progress_callback("x"), TextBar)
    monkeypatch.setenv("ECHOCASCADE_PROGRESS", str(tmp_path / "p.jsonl"))
    assert isinstance(progress_callback("x"), ProgressFile)


def test_the_text_bar_starts_where_a_resumed_training_does():
    stream = io.StringIO()
    bar = TextBar("base", stream)
    bar(500, 1000, "")
    bar(1000, 1000, "loss 0.1")
    assert "1000/1000" in stream.getvalue() and "loss 0.1" in stream.getvalue()
