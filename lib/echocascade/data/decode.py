"""Video files to frames. A damaged file is an error that names it, never a shorter clip.

PyAV reports damage that OpenCV's reader passes over in silence, and hands out the Y plane of Motion
JPEG as it is, which is the grey picture: no colours are made to be turned grey again (8.4 ms of
processor time against 10.7 ms for 177 frames of 112 x 112). No torch in here: decoding processes
start without it.
"""

import io
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from echocascade.data.frames import Frames, set_channels

# The container is told, not guessed: a playlist that calls itself .avi would make the library
# behind PyAV open other files, and addresses on the network.
CONTAINERS = {".avi": "avi", ".mp4": "mp4"}
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG: black is 0 and white 255
MAX_PIXELS = 4096 * 4096
MAX_CLIP_BYTES = 2**30
# Tables and headers count a frame more or less than there is after rounding duration x fps.
FRAME_TOLERANCE = 2


class VideoError(ValueError):
    """A video that cannot be read whole; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Slice:
    """A video inside a larger file: `size` bytes of `path` from `offset` on, called `name`."""

    path: Path
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def stat(self) -> os.stat_result:
        """Of the file around it."""
        return self.path.stat()

    def read(self) -> bytes:
        """Its bytes; VideoError where the file ends before it."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise VideoError(f"{self}: {len(data)} of {self.size} bytes are there")
        return data


def read_video(path: Path | str) -> Frames:
    """All frames of an AVI or MP4 file, uint8 RGB (T, H, W, 3); see `read_frames`."""
    return read_frames(path, 3)


def read_frames(path: Path | str | Slice, channels: int) -> Frames:
    """All frames of an AVI or MP4 file, uint8 (T, H, W, channels), grey (1) or RGB (3).

    The file may be a part of a larger one, such as a shard (`Slice`).

    VideoError, naming the file, if it is missing, empty, not a video, damaged at some frame, has
    fewer frames than its header claims (by more than rounding), changes its size on the way, or
    would take more than MAX_CLIP_BYTES.
    """
    path = _regular(path)
    frames: list[np.ndarray] = []
    claimed = 0
    try:
        with _open(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: its codec is unknown")
            claimed = stream.frames
            _decode(container, stream, channels, frames)
    # av.FFmpegError is no OSError for every code; a damaged header can ask for absurd memory.
    except (av.FFmpegError, OSError, MemoryError, _DamagedError) as error:
        what = f"cannot be decoded after frame {len(frames)} of {claimed or 'unknown'}"
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise VideoError(f"{path}: {what} ({_missing_bytes(path) or detail})") from error
    if not frames:
        raise VideoError(f"{path}: no frame in it (its header claims {claimed})")
    missing = claimed - len(frames)
    cut = _missing_bytes(path)
    if missing > FRAME_TOLERANCE or (missing > 0 and cut):
        note = f"; {cut}" if cut else ""
        raise VideoError(f"{path}: {len(frames)} frames, its header claims {claimed}{note}")
    return np.stack(frames)


def video_fps(path: Path | str | Slice) -> float:
    """Frames per second by the file's own header; 0 where it says nothing."""
    path = _regular(path)
    try:
        with _open(path) as container:
            rate = container.streams.video[0].average_rate if container.streams.video else None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: the header cannot be read ({type(error).__name__})") from error
    return float(rate or Fraction(0))


def _regular(path: Path | str | Slice) -> Path | Slice:
    """`path` if it is a file with something in it and a name that says video, else VideoError."""
    path = Path(path) if isinstance(path, str) else path
    if path.suffix.lower() not in CONTAINERS:
        raise VideoError(f"{path}: suffix {path.suffix!r} is not one of {sorted(CONTAINERS)}")
    file = path.path if isinstance(path, Slice) else path
    if not file.is_file():
        raise VideoError(f"{path}: no such file")
    if (path.size if isinstance(path, Slice) else path.stat().st_size) == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes)")
    return path


def _open(path: Path | Slice) -> av.container.InputContainer:
    container = CONTAINERS[path.suffix.lower()]
    file = io.BytesIO(path.read()) if isinstance(path, Slice) else str(path)
    return av.open(file, "r", format=container, metadata_errors="replace")


class _DamagedError(Exception):
    """What is wrong with a stream, before the file's name is put to it."""


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    channels: int,
    frames: list[np.ndarray],
) -> None:
    """Append every frame (H, W, channels) of `stream` to `frames`, up to the first fault."""
    # One clip is small: threads would cost more than they save, and processes share the cores.
    stream.thread_type = "NONE"
    stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    reformatter = VideoReformatter()
    size = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise _DamagedError("a frame's data is incomplete")
        for frame in packet.decode():
            picture = _picture(frame, channels, reformatter)
            if frames and picture.shape != frames[0].shape:
                raise _DamagedError(f"frame size changes to {frame.width} x {frame.height}")
            size += picture.nbytes
            if size > MAX_CLIP_BYTES:
                raise _DamagedError(f"more than {MAX_CLIP_BYTES} bytes of frames")
            frames.append(picture)


def _picture(frame: av.VideoFrame, channels: int, reformatter: VideoReformatter) -> np.ndarray:
    """One frame as uint8 (H, W, channels)."""
    full_range = frame.format.name.startswith(("yuvj", "gray")) or frame.color_range == FULL_RANGE
    if channels == 1 and full_range and frame.format.components[0].bits == 8:
        return _plane(frame, 1)
    picture = _plane(reformatter.reformat(frame, format="rgb24", threads=1), 3)
    return picture if channels == 3 else set_channels(picture[None], channels)[0]


def _plane(frame: av.VideoFrame, channels: int) -> np.ndarray:
    """A copy of the first plane, (H, W, channels), without the padding at the end of each line."""
    plane = frame.planes[0]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    picture = lines[: frame.height, : frame.width * channels]
    return picture.reshape(frame.height, frame.width, channels).copy()


def _missing_bytes(path: Path | Slice) -> str:
    """How far an AVI ends before the size in its RIFF header, in words; empty where it does not."""
    if isinstance(path, Slice):
        size, head = path.size, path.read()[:8]
    else:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
    claimed = int.from_bytes(head[4:], "little") + 8
    if head[:4] != b"RIFF" or claimed <= size:
        return ""
    return f"the file is cut: {size} bytes, its header says {claimed}"
