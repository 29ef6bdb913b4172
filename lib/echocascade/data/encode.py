"""Frames to video files: Motion JPEG AVI as in EchoNet-Dynamic, H.264 MP4 for browsers."""

import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import cv2
import numpy as np

from echocascade.data.atomic import replacing
from echocascade.data.frames import Frames, check_fps, check_frames, set_channels

# The quantiser at which a 112 x 112 frame takes as many bytes as in the real clips (3.8 kB).
AVI_QUANTISER = "3"
# x264's macroblock tree reads beyond the edge of small pictures: without it, same frames give the
# same bytes, here and in the clips of a blinded study.
X264_PARAMS = "mbtree=0"
NO_METADATA: Mapping[str, str] = MappingProxyType({})


def write_avi(
    path: Path | str, frames: Frames, fps: float, *, metadata: Mapping[str, str] = NO_METADATA
) -> None:
    """Write a Motion-JPEG AVI, the format of EchoNet-Dynamic; same frames, same bytes.

    `frames` uint8 (T, H, W, 1 or 3) with even H and W (the chroma planes have half the size);
    metadata: title and comment, if the clip shall say what it is. The file appears whole or not at
    all.
    """
    with replacing(Path(path), durable=False) as temporary:
        _mux_avi(temporary, frames, fps, metadata)


def encode_avi(frames: Frames, fps: float, *, metadata: Mapping[str, str] = NO_METADATA) -> bytes:
    """The bytes that `write_avi` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        _mux_avi(path, frames, fps, metadata)
        return path.read_bytes()


def _mux_avi(path: Path, frames: Frames, fps: float, metadata: Mapping[str, str]) -> None:
    check_frames(frames)
    height, width, channels = frames.shape[1:]
    if height % 2 or width % 2:
        raise ValueError(f"frames are {width} x {height} pixels; Motion JPEG needs even sizes")
    neutral = np.full((height // 2, width), 128, dtype=np.uint8)
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as out:
        out.metadata.update(metadata)
        stream = out.add_stream("mjpeg", rate=_rate(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        stream.thread_type = "NONE"
        stream.options = {"qmin": AVI_QUANTISER, "qmax": AVI_QUANTISER, "flags": "+bitexact"}
        for picture in frames:
            if channels == 1:  # grey is the Y plane as it is: no way round by RGB
                planes = np.concatenate([picture[..., 0], neutral])
                frame = av.VideoFrame.from_ndarray(planes, format="yuvj420p")
            else:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def encode_mp4(
    frames: Frames,
    fps: float,
    *,
    crf: int = 16,
    scale: int = 1,
    metadata: Mapping[str, str] = NO_METADATA,
) -> bytes:
    """H.264 in MP4 (yuv420p, index at the front), the form that every browser plays; same frames,
    same bytes.

    `frames` uint8 (T, H, W, 1 or 3); `scale` enlarges by a whole factor with cubic interpolation
    (small clips are shown large); an odd side is padded by repeating its last line. One encoder
    for real and generated clips: nothing but the picture may tell them apart, unless `metadata`
    (title, comment) shall say so.
    """
    check_frames(frames)
    if scale < 1 or not 0 <= crf <= 51:
        raise ValueError(f"scale {scale}, crf {crf}; scale >= 1 and crf 0 to 51 are allowed")
    with tempfile.TemporaryDirectory() as folder:
        # A file, not a buffer: to put the index at the front the muxer reads its output again.
        path = Path(folder) / "clip.mp4"
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as out:
            out.metadata.update(metadata)
            stream = out.add_stream("libx264", rate=_rate(fps))
            pictures = [_even(_enlarge(p, scale)) for p in set_channels(frames, 3)]
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.thread_type = "NONE"
            stream.options = {
                "crf": str(crf),
                "threads": "1",
                "flags": "+bitexact",
                "x264-params": X264_PARAMS,
            }
            for picture in pictures:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode())
        return path.read_bytes()


def write_mp4(
    path: Path | str,
    frames: Frames,
    fps: float,
    *,
    crf: int = 16,
    scale: int = 1,
    metadata: Mapping[str, str] = NO_METADATA,
) -> None:
    """`encode_mp4` into a file that appears whole or not at all."""
    data = encode_mp4(frames, fps, crf=crf, scale=scale, metadata=metadata)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


def _rate(fps: float) -> Fraction:
    """Frames per second as the fraction that a container header holds."""
    return Fraction(check_fps(fps)).limit_denominator(1001)


def _enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    if scale == 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(picture)
    return np.pad(picture, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
