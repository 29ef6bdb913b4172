"""Files that are there whole or not at all: temporary file, fsync, rename."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Ask the disk to keep a file or a folder; a rename is durable once its folder is synced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is gone.

    A process killed at any instant leaves the old file or the new one. With `durable` that holds
    for a power cut too, at the price of two fsyncs (milliseconds each: too much for each of ten
    thousand clips, which a data set check can find, and little for a table or a manifest).
    """
    temporary = path.with_name(f".{path.stem[:80]}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 file atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
