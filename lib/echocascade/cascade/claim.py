"""One training to a stage's folder: a lock that names its owner and falls with the process."""

import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.saving import sweep
from echocascade.data.atomic import write_text

_HELD: set[Path] = set()  # by this process, which its own lock would not keep out


@dataclass(frozen=True)
class Owner:
    """Who trains in a folder."""

    pid: int
    host: str
    since: str

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine that is alive."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def claimed(directory: Path) -> Iterator[list[str]]:
    """Hold `directory` for one training; yields what an earlier one that was killed left behind.

    Tries at once whether files can be written there, and not only when the first checkpoint is due.

    Raises:
        CheckpointError: another process trains there, or nothing can be written.
    """
    _probe(directory)
    place, before = directory.resolve(), owner_of(directory)
    if place in _HELD:
        raise CheckpointError(f"{directory}: already being trained by {before}")
    # beside the folder, so that they stay when it is set aside; the lock is opened here alone
    owner_file = _owner_file(directory)
    with directory.with_name(f".{directory.name}.lock").open("w") as lock:
        if not _locked(lock, before):
            raise CheckpointError(
                f"{directory}: already being trained by {before or 'another process'}; wait for "
                "it or stop it"
            )
        _HELD.add(place)
        try:
            found = sweep(directory)
            if before is not None:
                found.append(f"{directory}: the training by {before} ended without a word")
            owner = Owner(os.getpid(), socket.gethostname(), _now())
            write_text(owner_file, json.dumps(asdict(owner)))
            yield found
        finally:
            owner_file.unlink(missing_ok=True)
            _HELD.remove(place)


def owner_of(directory: Path) -> Owner | None:
    """Who holds, or held and never gave back, the folder."""
    try:
        return Owner(**json.loads(_owner_file(directory).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _owner_file(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.owner.json")


def _locked(lock: IO[str], before: Owner | None) -> bool:
    """A lock of this process alone: its readers, forked from it, do not hold it on when it dies."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a disk that has no locks: the owner's word is all there is
        return before is None or not before.is_here
    return True


def _probe(directory: Path) -> None:
    probe = directory / f".probe-{uuid.uuid4().hex[:12]}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise CheckpointError(
            f"{directory}: no checkpoint could be written here ({error.strerror})"
        ) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
