"""The targets themselves, and a few seconds of guided fuzzing of each; `make fuzz` takes longer."""

import json
import mmap
import os
import socket
import subprocess
from pathlib import Path

import pytest
from seeds import furnish, seeds
from targets import MIB, TARGETS, Target, feed

SECONDS = 4
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def furnished(root, tmp_path_factory):
    """A data folder, and whole files for every target."""
    folder = furnish(tmp_path_factory.mktemp("data"), root / "params")
    return folder, seeds(folder)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_a_whole_file(name, furnished):
    folder, files = furnished
    refused = [
        file for file, content in files[name].items() if not feed(TARGETS[name], content, folder)
    ]
    assert files[name] and refused == []


def outside(path):
    (path.parent.parent / "other").read_bytes()


def connected(path):
    with socket.socket() as line:
        line.connect(("127.0.0.1", 9))


def greedy(path):
    with mmap.mmap(-1, 64 * MIB) as fresh:  # what malloc has kept would be no new memory
        for _ in range(64):
            fresh.write(bytes(MIB))


def said(text):
    def fail(path):
        raise KeyError(text) if text == "undeclared" else ValueError(text)

    return fail


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (outside, "reached outside the folder: open"),
        (connected, "reached outside the folder: socket.connect"),
        (greedy, "MiB of memory; at most 8"),
        (said("a\x1b[2J"), "control characters"),
        (said("a" * 3000), "3000 characters"),
        (said(""), "without a word"),
        (said("undeclared"), "undeclared"),
    ],
)
def test_a_broken_promise_is_seen(read, error, tmp_path):
    if "memory" in error and not Path("/proc/self/clear_refs").exists():
        pytest.skip("the most that a process has held is known on Linux alone")
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").write_bytes(b"")
    target = Target("a", read, (ValueError, OSError), (), memory=8 * MIB)
    with pytest.raises((AssertionError, KeyError), match=error):
        feed(target, b"", tmp_path / "folder")


def test_what_is_declared_is_an_answer(tmp_path):
    target = Target("a", said("row 3: no number"), (ValueError,), ())
    assert feed(target, b"", tmp_path) is False


@pytest.fixture(scope="module")
def python(root):
    python = root / ".venv-fuzz" / "bin" / "python"
    asked = [str(python), "-c", "import atheris"]
    if not python.exists() or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("atheris is not installed: `make fuzz-env` puts it into .venv-fuzz")
    return python


def test_a_few_guided_seconds_of_each_target_find_nothing(python, root, tmp_path):
    command = [python, "-W", "ignore", HERE / "guided.py", "--seconds", str(SECONDS)]
    done = subprocess.run(
        [*map(str, command), "--folder", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["target"] for one in found] == list(TARGETS)
    for one in found:
        assert one["faults"] == [] and one["inputs"] > 0 and one["features"] > 0
