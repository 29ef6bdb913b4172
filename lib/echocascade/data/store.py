"""The data set decoded once: every clip at one size and rate in one memory-mapped file.

    STORE/manifest.json   what it was made from and how, shapes, checksums, skipped clips
    STORE/table.csv       one row a clip
    STORE/frames.u8       uint8, all clips one after the other, (frames, size, size, channels)

A training batch is then a few slices of mapped memory: no decoding, no resampling, no workers.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echocascade.data.atomic import write_text
from echocascade.data.building import (
    FORMAT,
    FRAMES,
    MANIFEST,
    STORE_COLUMNS,
    TABLE,
    BuildSettings,
    Progress,
    build_store,
)
from echocascade.data.cells import SPLITS
from echocascade.data.frames import Frames
from echocascade.data.problems import DatasetError, Problem

PAD_RULES = ("mirror", "repeat", "black")


class StoreError(ValueError):
    """A store that cannot be used: absent, of another format, cut or altered."""


class ClipStore:
    """Clips of one data set at one size, rate and number of channels.

    `table` has one row a clip in the order of FileList.csv: FileName, EF (percent), ESV and EDV
    (ml), Split, first_frame and n_frames (in the store), source_fps, and the extra columns that it
    was built with. `skipped` lists the clips that
    were left out under on_error="skip". `pad` is the rule for windows that pass a clip's end:

    "mirror" (default)  play back and forth: the heart goes on beating, at its own pace
    "repeat"            hold the last frame: teaches a model that hearts stop
    "black"             black frames (the paper's rule): teaches a model that hearts vanish

    286 of the 10,030 real clips are shorter than 64 frames at 32 fps, and a model of motion copies
    what it sees in them. The default invents the least: every frame is the patient's, and only the
    direction of time is wrong for a part of a beat.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], pad: str) -> None:
        _check_pad(pad)
        self.directory = directory
        self.manifest = manifest
        self.pad = pad
        self.size = int(manifest["size"])
        self.fps = float(manifest["fps"])
        self.channels = int(manifest["channels"])
        self.skipped = tuple(Problem(**entry) for entry in manifest["skipped"])
        self.table = pd.read_csv(directory / TABLE, dtype=STORE_COLUMNS, keep_default_na=False)
        shape = (int(manifest["n_frames"]), self.size, self.size, self.channels)
        self._frames: Frames = np.memmap(directory / FRAMES, np.uint8, "r", shape=shape)
        self._first = self.table["first_frame"].to_numpy()
        self._length = self.table["n_frames"].to_numpy()

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def build(
        cls,
        root: Path | str,
        directory: Path | str,
        *,
        size: int,
        fps: float,
        channels: int = 1,
        pad: str = "mirror",
        on_error: str = "stop",
        workers: int = 2,
        extra_columns: tuple[str, ...] = (),
        progress: Progress | None = None,
    ) -> "ClipStore":
        """The store of the data set in `root`, made in `directory` unless it is there already.

        Re-used when FileList.csv, the videos (size and time of change), `size`, `fps` and
        `channels` are those it was made from and its checksums hold; `pad` is only read from, and
        may change. `extra_columns` of FileList.csv hold numbers that `table` keeps. DatasetError
        lists every bad row and clip; with on_error="skip" the others are used and the bad ones
        listed in `skipped`. A build that is killed leaves nothing behind
        that the next one would take for a store; of two at once one waits and uses the other's.
        """
        _check_pad(pad)
        settings = BuildSettings(
            Path(root), size, float(fps), channels, on_error, workers, extra_columns
        )
        directory = Path(directory)
        build_store(settings, directory, is_sound, progress)
        store = cls.open(directory, pad=pad)
        if store.manifest.get("pad") != pad:
            store.manifest["pad"] = pad
            write_text(directory / MANIFEST, json.dumps(store.manifest, indent=1) + "\n")
        if store.skipped and on_error == "stop":
            raise DatasetError(root, store.skipped)
        return store

    @classmethod
    def open(cls, directory: Path | str, *, pad: str | None = None) -> "ClipStore":
        """An existing store, padded as it was built for unless `pad` says otherwise.

        Checks format, sizes and the table's checksum, not that of the frames: see `verify`.
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        check_sums(directory, manifest, (TABLE,))
        return cls(directory, manifest, pad or manifest.get("pad", PAD_RULES[0]))

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        # Another process opens the mapped file itself; pickled, it would be sent as an array.
        return (_reopen, (self.directory, self.pad))

    def verify(self) -> None:
        """Read everything and compare the checksums (about 1 s a GB); StoreError if they differ."""
        check_sums(self.directory, self.manifest, (FRAMES, TABLE))

    def indices(self, split: str) -> np.ndarray:
        """Row numbers (int64) of the clips of "TRAIN", "VAL" or "TEST", in table order."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; allowed are {', '.join(SPLITS)}")
        return np.flatnonzero(self.table["Split"].to_numpy() == split)

    def frames(self, index: int) -> Frames:
        """The whole clip, uint8 (T, H, W, C): a read-only view of the mapped file."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of a store of {len(self)} clips")
        first = self._first[index]
        return self._frames[first : first + self._length[index]]

    def n_frames(self, index: int) -> int:
        """Frames of one clip in the store."""
        return int(self._length[index])

    def window(self, index: int, n_frames: int, start: int, stride: int = 1) -> Frames:
        """Frames start, start + stride, ... (n_frames of them), uint8 (n_frames, H, W, C).

        What lies after the clip's end is filled by the rule `pad`.
        """
        if n_frames < 1 or stride < 1 or start < 0:
            raise ValueError(
                f"n_frames {n_frames}, start {start}, stride {stride}; n_frames and stride of at "
                "least 1 and start of at least 0 are allowed"
            )
        clip = self.frames(index)
        stop = start + stride * (n_frames - 1) + 1
        if stop <= len(clip):
            return np.array(clip[start:stop:stride])
        wanted = np.arange(start, stop, stride)
        taken = clip[padded_positions(wanted, len(clip), self.pad)]
        if self.pad == "black":
            taken[wanted >= len(clip)] = 0
        return taken


def padded_positions(wanted: np.ndarray, length: int, pad: str) -> np.ndarray:
    """Frame of a clip of `length` frames that stands at each position >= 0, inside or after it."""
    if pad == "mirror" and length > 1:
        there_and_back = wanted % (2 * (length - 1))
        return np.where(there_and_back < length, there_and_back, 2 * (length - 1) - there_and_back)
    return np.minimum(wanted, length - 1)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a store whose files have the sizes that it states, else StoreError."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise StoreError(
                f"{directory}: store format {manifest['format']!r}; this version reads {FORMAT!r}"
            )
        shape = (int(manifest[key]) for key in ("n_frames", "size", "size", "channels"))
        sizes = {FRAMES: math.prod(shape), TABLE: int(manifest["bytes"][TABLE])}
        for name, size in sizes.items():
            found = (directory / name).stat().st_size
            if found != size:
                raise StoreError(f"{directory / name}: {found} bytes, the manifest says {size}")
    except OSError as error:
        raise StoreError(f"{directory}: no clip store there ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise StoreError(f"{directory / MANIFEST}: not a store's manifest ({error})") from error
    return manifest


def check_sums(directory: Path, manifest: dict[str, Any], names: Sequence[str]) -> None:
    """Compare SHA-256 of the named files with the manifest's; StoreError at the first to differ."""
    for name in names:
        with (directory / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != manifest["sha256"][name]:
            raise StoreError(f"{directory / name}: its checksum is not the manifest's")


def is_sound(directory: Path, fingerprint: dict[str, Any]) -> bool:
    """Whether the store was made from just this and is as it was written."""
    try:
        manifest = read_manifest(directory)
        if manifest["fingerprint"] != fingerprint:
            return False
        check_sums(directory, manifest, (FRAMES, TABLE))
    except StoreError:
        return False
    return True


def _reopen(directory: Path, pad: str) -> ClipStore:
    return ClipStore.open(directory, pad=pad)


def _check_pad(pad: str) -> None:
    if pad not in PAD_RULES:
        raise ValueError(f"pad is {pad!r}; allowed are {', '.join(PAD_RULES)}")
