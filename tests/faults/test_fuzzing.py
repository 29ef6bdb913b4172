"""Any bytes in place of our inputs: a result or a declared error; `make fuzz` tries many more."""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from echocascade.data.dicom import DicomError, open_dicom
from echocascade.data.echonet import COLUMNS, TRACING_COLUMNS, check_dataset
from echocascade.data.video import VideoError, read_frames, video_fps, write_avi
from echocascade.evaluation.score_table import ScoreTableError, read_score_table
from echocascade.params import ParamsError, load_params

EXAMPLES = int(os.environ.get("ECHOCASCADE_FUZZ", "40"))
SECONDS = 20  # for one input: far above what any takes, far below a hang
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
SCORE_COLUMNS = ("FileName", "lvef_requested", "lvef_measured", "draw", "task", "SSIM")


def tables(columns):
    """Bytes: a table under the right header, under a shuffled or doubled one, or none at all."""
    header = st.one_of(st.just(list(columns)), st.lists(st.sampled_from([*columns, " EF"])))
    rows = st.lists(st.lists(CELLS, max_size=len(columns) + 2), max_size=6)
    text = st.builds(lambda h, r: "\n".join(map(",".join, [h, *r])), header, rows)
    encoded = text.map(lambda t: t.encode("utf-8", "surrogatepass"))
    return st.one_of(encoded, st.binary(max_size=300))


def in_a_folder(name, content, work):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return work(Path(folder))


@fuzzed
@given(tables(COLUMNS))
def test_file_list(content):
    report = in_a_folder("FileList.csv", content, lambda root: check_dataset(root, workers=1))
    assert not report.ok  # there is no video


@fuzzed
@given(tables(TRACING_COLUMNS))
def test_volume_tracings(content):
    in_a_folder("VolumeTracings.csv", content, lambda root: check_dataset(root, workers=1))


@fuzzed
@given(tables(SCORE_COLUMNS))
def test_score_table(content):
    with contextlib.suppress(ScoreTableError):
        in_a_folder("s.csv", content, lambda root: read_score_table(root / "s.csv"))


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
    with contextlib.suppress(ParamsError):
        in_a_folder("p.yaml", text.encode(), lambda root: load_params(root / "p.yaml"))


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


def whole_dicom(folder):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.3", "1.2.3.4"
    data = FileDataset("a", {}, file_meta=meta, preamble=b"\0" * 128)
    data.Modality, data.PhotometricInterpretation = "US", "MONOCHROME2"
    data.Rows = data.Columns = 8
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit = 1, 8, 8, 7
    data.PixelRepresentation, data.NumberOfFrames, data.FrameTime = 0, "2", "20"
    data.FrameTimeVector = [0, 20]
    data.PixelData = np.zeros(128, np.uint8).tobytes()
    data.save_as(folder / "whole", enforce_file_format=True)
    return (folder / "whole").read_bytes()


def whole_avi(folder):
    write_avi(folder / "whole.avi", np.full((4, 16, 16, 1), 90, np.uint8), 10)
    return (folder / "whole.avi").read_bytes()


with tempfile.TemporaryDirectory() as _folder:
    DICOM, AVI = whole_dicom(Path(_folder)), whole_avi(Path(_folder))


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


def read_dicom(path):
    clip = open_dicom(path)
    assert 0 <= clip.fps <= 1000
    clip.frames([0, clip.n_frames - 1])


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@fuzzed
@given(damaged(DICOM, len(DICOM)))
def test_dicom_headers(content):
    with contextlib.suppress(DicomError):
        in_a_folder("a.dcm", content, lambda root: read_dicom(root / "a.dcm"))


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


def read_avi(path):
    read_frames(path, 1)
    video_fps(path)


@fuzzed
@given(damaged(AVI, 400))
def test_avi_headers(content):
    with contextlib.suppress(VideoError):
        in_a_folder("a.avi", content, lambda root: read_avi(root / "a.avi"))


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
