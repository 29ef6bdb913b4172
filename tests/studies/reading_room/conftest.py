"""A reading room in a process of its own, as readers meet it."""

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from echocascade.studies.expert.answers import AnswerStore
from echocascade.studies.expert.folder import Study, load_links

# saves the first answer, and dies before it can say so
DYING = """
import os, signal, sys
from echocascade.studies.expert import answers
save = answers.AnswerStore.save
def save_and_die(store, answer):
    save(store, answer)
    os.kill(os.getpid(), signal.SIGKILL)
answers.AnswerStore.save = save_and_die
from echocascade.commands.study import serve
serve(sys.argv[1], "127.0.0.1", int(sys.argv[2]), None, None)
"""


class RunningRoom:
    """`echocascade study serve` on one port, started, killed and started again."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.links = load_links(study.directory)
        self.port = 0
        self.process: subprocess.Popen | None = None

    def start(self, *, dying: bool = False, **options: object) -> None:
        folder = str(self.study.directory)
        command = [sys.executable, "-m", "echocascade.cli", "study", "serve", folder]
        command += ["--port", str(self.port)]
        if dying:
            command = [sys.executable, "-c", DYING, folder, str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        printed = ""
        while "stop with Ctrl-C" not in printed:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            printed += line
        self.port = int(re.search(r":(\d+)/r/", printed)[1])

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)
            self.process.stdout.close()
            self.process.stderr.close()
        self.process = None

    def link(self, reader: str) -> str:
        return f"http://127.0.0.1:{self.port}/r/{self.links[reader].token}"

    def ask(self, path: str, reader: str = "reader-1", body: object = None, kind: str = "json"):
        """(status, headers, content) of a request below a reader's link."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        address = f"/r/{self.links[reader].token}{path}"
        if body is None:
            connection.request("GET", address)
        else:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", address, sent, {"Content-Type": f"application/{kind}"})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, dict(reply.getheaders()), content

    def state(self, reader: str = "reader-1") -> dict:
        return json.loads(self.ask("/state", reader)[2])

    def rows(self) -> list[dict]:
        store = AnswerStore(self.study.answers_file)
        try:
            return store.rows()
        finally:
            store.close()

    def events(self) -> list[str]:
        store = AnswerStore(self.study.answers_file)
        try:
            return [what for _, what, _ in store.events()]
        finally:
            store.close()


@pytest.fixture(scope="session")
def running_room() -> type[RunningRoom]:
    """The class, for rooms that live longer than a test."""
    return RunningRoom


@pytest.fixture
def room(fresh_study):
    running = RunningRoom(fresh_study)
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def short_study_folder(study_run, tmp_path_factory) -> Path:
    """A study that is read in seconds: four trials, one of them twice, and one for practice."""
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study, reader_names
    from echocascade.studies.expert.folder import load_study
    from echocascade.studies.reading_room.page import write_file_pages

    folder = tmp_path_factory.mktemp("short") / "study"
    changes = ["study.trials=4", "study.practice=1", "study.repeats=0.25"]
    create_study(RunClips.load(*study_run, changes), reader_names(3), folder)
    write_file_pages(load_study(folder), load_links(folder))
    return folder


@pytest.fixture
def short_room(short_study_folder, tmp_path):
    """A room of a fresh copy of the short study."""
    import shutil

    from echocascade.studies.expert.folder import load_study

    running = RunningRoom(load_study(shutil.copytree(short_study_folder, tmp_path / "short")))
    running.start()
    yield running
    running.kill()
