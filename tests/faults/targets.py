"""What stands at our border, as functions of bytes; both fuzzers feed these and nothing else.

`feed` puts bytes in a file's place and reads them as the project does. It fails on any error but
the declared ones, on an error that is not said in short printable lines, on a result that the
reader promises never to give, on a file or connection opened elsewhere, on memory and on time.
"""

import contextlib
import os
import sys
import sysconfig
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echocascade.data.decode import VideoError, read_frames, video_fps
from echocascade.data.dicom import DicomError, open_dicom
from echocascade.data.echonet import (
    COLUMNS,
    TRACING_COLUMNS,
    DatasetError,
    check_dataset,
    read_file_list,
    read_tracings,
)
from echocascade.evaluation.score_table import (
    RANGES,
    ScoreTableError,
    read_score_table,
    with_labels,
)
from echocascade.params import ParamsError, load_params

MIB = 2**20
LONGEST = 2000  # characters of one line of an error
SECONDS = 10  # of the processor, for one input: far above what any takes
SCORE_COLUMNS = ("FileName", "lvef_requested", "lvef_measured", "draw", "task", "SSIM")


@dataclass(frozen=True)
class Target:
    """A file's name, how it is read, which errors are declared, what more memory it may take.

    `words` help the guided fuzzer over what no mutation would ever spell. `anywhere`: the file
    itself may name others outside its folder, as a parameters file names its base.
    """

    file: str
    read: Callable[[Path], None]
    errors: tuple[type[Exception], ...]
    words: tuple[str, ...]
    memory: int = 256 * MIB
    anywhere: bool = False


def _file_list(path: Path) -> None:
    report = check_dataset(path.parent, workers=1)
    for problem in (*report.problems, *report.notes):
        _clear(str(problem))
    table = read_file_list(path.parent)
    folder = path.parent.resolve()
    assert all(clip.resolve().is_relative_to(folder) for clip in table["path"])
    assert np.isfinite(table[["EF", "ESV", "EDV", "FPS"]].to_numpy()).all()


def _tracings(path: Path) -> None:
    report = check_dataset(path.parent, workers=1)
    for problem in report.problems:
        _clear(str(problem))
    table = read_tracings(path.parent)
    assert np.isfinite(table[["X1", "Y1", "X2", "Y2"]].to_numpy(float)).all()
    assert (table["Frame"] >= 0).all()


def _scores(path: Path) -> None:
    table = read_score_table(path)
    for name, (low, high) in RANGES.items():
        if name in table:
            values = table[name].dropna()
            assert values.between(low, high).all()


def _labels(path: Path) -> None:
    table = read_score_table(path.parent / "whole-scores.csv")
    assert len(with_labels(table, path)) == len(table)


def _params(path: Path) -> None:
    load_params(path)


def _dicom(path: Path) -> None:
    clip = open_dicom(path)
    assert 0 <= clip.fps <= 1000
    frames = clip.frames([0, clip.n_frames - 1])
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3


def _video(path: Path) -> None:
    frames = read_frames(path, 1)
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 1
    assert video_fps(path) >= 0


# A reader holds at most 2**30 bytes of frames (MAX_CLIP_BYTES, MAX_BYTES), and while it puts them
# together twice that.
FRAMES = 2 * 2**30 + 512 * MIB
_NUMBERS = ("nan", "inf", "-1", "1e999", "1e18", "0", "50", '"', ",,", "\0")
TARGETS = {
    "file_list": Target("FileList.csv", _file_list, (DatasetError,),
                        (*COLUMNS, "TRAIN", "VAL", "TEST", ".avi", "../", *_NUMBERS)),
    "tracings": Target("VolumeTracings.csv", _tracings, (DatasetError,),
                       (*TRACING_COLUMNS, ".avi", "../", *_NUMBERS)),
    "scores": Target("scores.csv", _scores, (ScoreTableError,),
                     (*RANGES, "FileName", "draw", "task", "GT EF", "Gen EF", "Ref EF", *_NUMBERS)),
    "labels": Target("labels.csv", _labels, (ScoreTableError,), ("FileName", "EF", *_NUMBERS)),
    "params": Target("p.yaml", _params, (ParamsError,),
                     ("base: whole.yaml", "stages", "cascade", "name", "seed", "!!int ", "!!set ",
                      "!!timestamp ", "!!binary ", "!!omap ", "<<: ", "&a ", "*a", "? ", "|\n",
                      "- ", "network", "training", "sampler", "data", "regressor", ".nan"),
                     anywhere=True),
    "dicom": Target("a.dcm", _dicom, (DicomError,),
                    ("MONOCHROME1", "RGB", "YBR_FULL_422", "PALETTE COLOR", "US", "OB", "OW", "SQ",
                     "UN", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2"),
                    memory=FRAMES),
    "avi": Target("a.avi", _video, (VideoError,),
                  ("RIFF", "AVI ", "LIST", "hdrl", "avih", "strl", "strh", "strf", "vids", "auds",
                   "MJPG", "movi", "idx1", "indx", "00dc", "OpenDML", "DIB ", "H264", "rec "),
                  memory=FRAMES),
    "mp4": Target("a.mp4", _video, (VideoError,),
                  ("ftyp", "moov", "mvhd", "trak", "tkhd", "edts", "elst", "mdia", "mdhd", "dref",
                   "url ", "alis", "stsd", "avc1", "avcC", "stts", "stsc", "stsz", "stco", "mdat",
                   "file://", "cmov", "moof"),
                  memory=FRAMES),
}  # fmt: skip


def feed(target: Target, content: bytes, folder: Path) -> bool:
    """Whether `target` takes `content` for a whole file; AssertionError at a broken promise."""
    path = folder / target.file
    path.write_bytes(content)
    with _watched(folder, target.anywhere), _bounded(target.memory):
        try:
            target.read(path)
        except target.errors as error:
            _clear(str(error))
            return False
    return True


def _clear(text: str) -> None:
    assert text.strip(), "an error without a word"
    for line in text.split("\n"):
        assert len(line) <= LONGEST, f"an error of {len(line)} characters: {line[:200]!r}"
        hidden = [mark for mark in line if unicodedata.category(mark) in ("Cc", "Zl", "Zp")]
        assert not hidden, f"an error with control characters: {line[:200]!r}"


# An audit hook stays for good: there is one, and it looks only while it is told of a folder.
_allowed: list[str] = []
_strays: list[str] = []
_OPENING = ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir")
_NEVER = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec")
# Modules may be imported on the way, and the process looks at its own memory and cores.
_LIBRARIES = [
    *sysconfig.get_paths().values(),
    *(str(Path(place).absolute()) for place in sys.path),
    "/proc/self",
    "/sys/fs/cgroup",
]


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _allowed:
        return
    if event in _NEVER:
        _strays.append(event)
    elif event in _OPENING and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 (follows no link)
        if not any(path == place or path.startswith(place + os.sep) for place in _allowed):
            _strays.append(f"{event} {path}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def _watched(folder: Path, anywhere: bool) -> Iterator[None]:
    """AssertionError where Python opens anything outside `folder` on the way, or a connection."""
    _strays.clear()
    _allowed[:] = [*_LIBRARIES, str(folder.absolute()), str(folder.resolve())]
    try:
        yield
    finally:
        _allowed.clear()
    strays = [] if anywhere else _strays
    strays += [stray for stray in _strays if stray in _NEVER]
    assert not strays, f"reached outside the folder: {strays[0]}"


@contextlib.contextmanager
def _bounded(most: int) -> Iterator[None]:
    """AssertionError where memory grows by more than `most` at any time on the way, or it lasts."""
    before, started = _peak(reset=True), time.process_time()
    yield
    grown, spent = _peak() - before, time.process_time() - started
    assert spent <= SECONDS, f"{spent:.0f} s of the processor; at most {SECONDS} may be taken"
    assert grown <= most, f"{grown / MIB:.0f} MiB of memory; at most {most / MIB:.0f} may be taken"


def _peak(reset: bool = False) -> int:
    """Most bytes that this process has held since the last `reset`; 0 where Linux does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
