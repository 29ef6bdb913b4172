"""Clips in tar shards instead of a file each, as WebDataset names them.

    ROOT/FileList.csv, VolumeTracings.csv  as in any data set in EchoNet-Dynamic layout
    ROOT/Shards/00000.tar                  <FileName>.avi, <FileName>.json, clip after clip

A million small files wear out a shared disk's metadata; a thousand shards do not. A clip is read
where it lies, without unpacking: only its place in the shard is looked up. Same clips, same bytes.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echocascade.data.atomic import replacing
from echocascade.data.cells import clip_name
from echocascade.data.decode import Slice
from echocascade.data.problems import Problem

SHARDS = "Shards"
Clip = tuple[str, Path | Slice, Mapping[Any, Any]]  # FileName, where it lies, what is known


@dataclass(frozen=True)
class Sample:
    """One clip of a shard: its FileName, its AVI file, and what is known about it."""

    name: str
    avi: bytes
    facts: Mapping[Any, Any]


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write a shard; it appears whole or not at all. ValueError for a name that is no file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, tarfile.open(temporary, "w") as shard:
        for sample in samples:
            if clip_name(sample.name) != sample.name:
                raise ValueError(f"{sample.name!r} has a suffix; a plain clip name is needed")
            facts = json.dumps(sample.facts, sort_keys=True, allow_nan=False).encode()
            for suffix, data in (("avi", sample.avi), ("json", facts)):
                member = tarfile.TarInfo(f"{sample.name}.{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def clips_in_shards(root: Path) -> tuple[dict[str, Slice], list[Problem]]:
    """Where each clip of a data set's shards lies, by FileName, and what is wrong with shards.

    A member that is no plain file, or whose name is no clip's, is passed over: nothing is ever
    unpacked. Nothing is found where there are no shards.
    """
    found: dict[str, Slice] = {}
    problems: list[Problem] = []
    for path in sorted((root / SHARDS).glob("[!.]*.tar")):
        name = f"{SHARDS}/{path.name}"
        if not path.is_file():  # a pipe would keep its reader waiting
            problems.append(Problem(name, None, "is not a regular file", fatal=True))
            continue
        try:
            for place in _avi_members(path):
                clip = place.name.removesuffix(".avi")
                if clip in found:
                    problems.append(
                        Problem(name, None, f"{place.name} is in {found[clip].path.name} too")
                    )
                found.setdefault(clip, place)
        except (OSError, tarfile.TarError) as error:
            problems.append(Problem(name, None, f"not a whole tar file: {error}", fatal=True))
    return found, problems


def _avi_members(path: Path) -> Iterator[Slice]:
    size = path.stat().st_size
    with tarfile.open(path, "r:") as shard:
        for member in shard:
            if not member.isreg() or member.issparse() or not member.name.endswith(".avi"):
                continue
            if member.offset_data + member.size > size:
                raise tarfile.ReadError(f"it ends within {member.name}")
            try:
                clip_name(member.name)
            except ValueError:
                continue
            yield Slice(path, member.offset_data, member.size, member.name)


def shard_clips(root: Path, clips: Iterable[Clip], clips_per_shard: int) -> int:
    """Put clips (FileName, where, facts) into new shards of `root`; the number of shards.

    The AVI files are taken as they are, bit by bit.
    """
    if clips_per_shard < 1:
        raise ValueError(f"clips_per_shard is {clips_per_shard}; at least 1 is needed")
    waiting: list[Clip] = []
    n_shards = 0
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == clips_per_shard:
            _put(root, n_shards, waiting)
            n_shards, waiting = n_shards + 1, []
    if waiting:
        _put(root, n_shards, waiting)
        n_shards += 1
    return n_shards


def _put(root: Path, number: int, clips: list[Clip]) -> None:
    samples = (Sample(name, _bytes(place), facts) for name, place, facts in clips)
    write_shard(root / SHARDS / f"{number:05d}.tar", samples)


def _bytes(place: Path | Slice) -> bytes:
    return place.read() if isinstance(place, Slice) else place.read_bytes()


def copy_tables(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of a data set's tables that it has."""
    for name in names:
        if (source / name).is_file():
            with replacing(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
