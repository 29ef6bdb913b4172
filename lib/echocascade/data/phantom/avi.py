"""A Motion-JPEG AVI writer (RIFF, one video stream, idx1), byte for byte reproducible.

The phantom writes thousands of clips at tens a second: JPEG from OpenCV and this container take
half the time of a general encoder, and the bytes depend on the frames and the fps alone.
"""

import struct
from collections.abc import Sequence
from fractions import Fraction


def _chunk(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _list(kind: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", kind + body)


def _headers(n_frames: int, fps: float, height: int, width: int, largest: int) -> bytes:
    """The hdrl list: avih, strh, strf."""
    rate = Fraction(fps).limit_denominator(1001)
    main = struct.pack(
        "<14I",
        round(1e6 / fps),
        int(largest * fps),
        0,
        0x10,
        n_frames,
        0,
        1,
        largest,
        width,
        height,
        0,
        0,
        0,
        0,
    )
    stream = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIiI4H",
        0,
        0,
        0,
        0,
        rate.denominator,
        rate.numerator,
        0,
        n_frames,
        largest,
        -1,
        0,
        0,
        0,
        width,
        height,
    )
    bitmap = struct.pack(
        "<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 3 * width * height, 0, 0, 0, 0
    )
    streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    return _list(b"hdrl", _chunk(b"avih", main) + streams)


def avi_bytes(jpegs: Sequence[bytes], fps: float, height: int, width: int) -> bytes:
    """The whole AVI file of JPEG-coded frames, all of one size in pixels."""
    index, chunks, offset = [], [], 4
    for jpeg in jpegs:
        chunks.append(_chunk(b"00dc", jpeg))
        index.append(struct.pack("<4sIII", b"00dc", 0x10, offset, len(jpeg)))
        offset += len(chunks[-1])
    largest = max(len(jpeg) for jpeg in jpegs)
    body = (
        b"AVI "
        + _headers(len(jpegs), fps, height, width, largest)
        + _list(b"movi", b"".join(chunks))
        + _chunk(b"idx1", b"".join(index))
    )
    return _chunk(b"RIFF", body)
