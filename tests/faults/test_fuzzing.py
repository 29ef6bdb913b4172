"""Any bytes in place of our inputs: a result or a declared error; `make fuzz` tries many more."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seeds import SCORES, whole_dicom
from targets import SCORE_COLUMNS, TARGETS, feed

import echocascade.data.tables
from echocascade.data.dicom import DicomError, open_dicom
from echocascade.data.echonet import COLUMNS, TRACING_COLUMNS, check_dataset
from echocascade.data.encode import encode_avi
from echocascade.data.video import VideoError, read_frames
from echocascade.evaluation.score_table import ScoreTableError, read_score_table, with_labels
from echocascade.params import ParamsError, load_params

EXAMPLES = int(os.environ.get("ECHOCASCADE_FUZZ", "40"))
SECONDS = 20  # by the clock, for one input: far above what any takes, far below a hang
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=1000 * SECONDS,
    derandomize="ECHOCASCADE_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "1e999", "-1", "50", "../x", "=1+1", "\0", '"', "TRAIN", "9" * 400]
    ),
    st.text(max_size=12),
)


def tables(columns):
    """Bytes: a table under the right header, under a shuffled or doubled one, or none at all."""
    header = st.one_of(st.just(list(columns)), st.lists(st.sampled_from([*columns, " EF"])))
    rows = st.lists(st.lists(CELLS, max_size=len(columns) + 2), max_size=6)
    text = st.builds(lambda h, r: "\n".join(map(",".join, [h, *r])), header, rows)
    encoded = text.map(lambda t: t.encode("utf-8", "surrogatepass"))
    return st.one_of(encoded, st.binary(max_size=300))


def fed(name, content):
    """Whether the target of that name reads `content` as a whole file, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return feed(TARGETS[name], content, Path(folder))


@fuzzed
@given(tables(COLUMNS))
def test_file_list(content):
    assert not fed("file_list", content)  # there is no video


@fuzzed
@given(tables(TRACING_COLUMNS))
def test_volume_tracings(content):
    fed("tracings", content)


@fuzzed
@given(tables(SCORE_COLUMNS))
def test_score_table(content):
    fed("scores", content)


YAML = st.recursive(
    st.one_of(st.text("ab:-#&*!{}[]\n \t'\"|>0123456789.", max_size=20),
              st.sampled_from(["!!int x", "!!bool x", "!!timestamp x", "2001-02-31", "9" * 5000])),
    lambda inner: st.builds(
        lambda key, value: f"{{{key}: {value}}}",
        st.sampled_from(["data", "cascade", "stages", "seed", "base", "name", "1"]), inner,
    ),
    max_leaves=4,
)  # fmt: skip


@fuzzed
@given(YAML)
def test_params(text):
    fed("params", text.encode())


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [BOMB, "seed: " + "[" * 5000, "a: &a [*a]", "x" * 2**21])
def test_a_params_file_that_stands_for_too_much_is_refused(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_params(tmp_path / "p.yaml")
    assert len(str(caught.value)) < 2000


DICOM, AVI = whole_dicom(), encode_avi(np.full((4, 16, 16, 1), 90, np.uint8), 10)


def damaged(whole, header):
    """`whole` with up to six places of its header overwritten, and perhaps cut."""
    piece = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff" * 4, b"\0" * 4]))
    change = st.tuples(st.integers(0, header), piece)

    def apply(changes, length):
        content = bytearray(whole)
        for place, piece in changes:
            content[place : place + len(piece)] = piece
        return bytes(content[:length])

    length = st.one_of(st.just(len(whole)), st.integers(0, len(whole)))
    return st.builds(apply, st.lists(change, min_size=1, max_size=6), length)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@fuzzed
@given(damaged(DICOM, len(DICOM)))
def test_dicom_headers(content):
    fed("dicom", content)


@pytest.mark.parametrize(
    ("tag", "value"),
    [("Rows", 65535), ("NumberOfFrames", 10**9), ("FrameTimeVector", [0, 0]),
     ("BitsAllocated", 64), ("SamplesPerPixel", 60000)],
)  # fmt: skip
def test_a_dicom_header_of_absurd_size_is_refused_at_once(tmp_path, tag, value):
    (tmp_path / "a.dcm").write_bytes(DICOM)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    if tag == "FrameTimeVector":
        del data.FrameTime
    setattr(data, tag, value)
    data.save_as(tmp_path / "a.dcm")
    if tag == "FrameTimeVector":
        assert open_dicom(tmp_path / "a.dcm").fps == 0
        return
    with pytest.raises(DicomError):
        clip = open_dicom(tmp_path / "a.dcm")
        clip.frames(range(clip.n_frames))


@fuzzed
@given(damaged(AVI, 400))
def test_avi_headers(content):
    fed("avi", content)


@pytest.mark.parametrize("claim", ["size", "frames"])
def test_an_avi_header_of_absurd_size_costs_no_memory(tmp_path, claim):
    content = bytearray(AVI)
    if claim == "frames":
        place = content.index(b"strh") + 8 + 32
        content[place : place + 4] = (10**9).to_bytes(4, "little")
    else:
        place = content.index(b"strf") + 8 + 4
        content[place : place + 8] = (2**31 - 1).to_bytes(4, "little") * 2
    (tmp_path / "a.avi").write_bytes(content)
    try:
        frames = read_frames(tmp_path / "a.avi", 1)
    except VideoError:
        return
    assert claim == "size" and frames.nbytes < 2**20  # the pictures say what they are


@pytest.mark.parametrize("name", ["FileList.csv", "VolumeTracings.csv"])
def test_a_pipe_in_a_tables_place_is_no_hang(tmp_path, name):
    os.mkfifo(tmp_path / name)
    problems = check_dataset(tmp_path, workers=1).problems
    assert any(p.file == name and "not a regular file" in p.what for p in problems)


NAMED = b"base: whole.yaml\ncascade: {stages: [{name: [base]}]}\n"
STEERING = "\x1b[2J\n"  # clears a terminal


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("params", NAMED),
        ("params", b'base: whole.yaml\nsampling: {"\\e[2J\\n": 1}\n'),
        ("params", b'base: "\\e[2J\\0"\n'),
        ("params", b"base: " + b"k" * 9000),
        ("dicom", DICOM.replace(b"1.2.840.10008.1.2.1", b"\x1b" * 19)),
        ("dicom", DICOM.replace(b"CS\2\0US", b"CS\2\0\x1b\n")),
        (
            "scores",
            f'FileName,lvef_requested,lvef_measured\n"a{STEERING}b",50,"{STEERING}"'.encode(),
        ),
        ("scores", f'FileName,lvef_requested,"{STEERING}{"k" * 9000}"\na,50,1\n'.encode()),
        ("labels", f'"{STEERING}",EF\na,50\n'.encode()),
        ("labels", f'FileName,EF\na,"{STEERING}{"k" * 9000}"\n'.encode()),
        ("file_list", f"{','.join(COLUMNS)}\na\u2028b,1,1,1,8,8,9,9,TRAIN\n".encode()),
    ],
)
def test_what_a_file_says_is_shown_in_clear_lines(name, content, root, tmp_path):
    (tmp_path / "whole.yaml").write_bytes((root / "params" / "quick.yaml").read_bytes())
    (tmp_path / "whole-scores.csv").write_text(SCORES)
    assert not feed(TARGETS[name], content, tmp_path)


def test_a_params_file_of_unknown_keys_alone_is_no_hang(tmp_path):
    keys = "".join(f"k{i}: 1\n" for i in range(20_000))  # took over a minute
    assert not feed(TARGETS["params"], keys.encode(), tmp_path)
    with pytest.raises(ParamsError, match=r"and 199\d\d more$"):
        load_params(tmp_path / "p.yaml")


def test_a_file_list_of_faults_alone_is_not_listed_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(echocascade.data.tables, "MOST_PROBLEMS", 50)
    (tmp_path / "FileList.csv").write_text("\n".join([",".join(COLUMNS), *["a,a"] * 1000]))
    problems = check_dataset(tmp_path, workers=1).problems
    assert 50 < len(problems) < 60 and problems[-1].fatal
    assert problems[-1].what.endswith("the rest of the table was not read")


def test_labels_are_read_from_a_regular_file_of_bounded_size_alone(tmp_path):
    (tmp_path / "s.csv").write_text(SCORES)
    table = read_score_table(tmp_path / "s.csv")
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(ScoreTableError, match="not a FileList"):
            with_labels(table, place)
