"""A store made from a store: the same clips with fewer pixels and frames, nothing decoded again."""

import hashlib
import shutil
import uuid
from pathlib import Path

import numpy as np

from echocascade.data.building import FORMAT, FRAMES, alone, put_in_place, seal
from echocascade.data.store import ClipStore, is_sound
from echocascade.data.video import shrink, to_model, to_uint8


def shrunk_store(store: ClipStore, directory: Path, size: int, fps: float) -> ClipStore:
    """The clips of `store` at `size` and `fps`, by the one way down that there is (`shrink`).

    `store` itself where it has both already; else a store in `directory`, made unless it is there
    and was made from these frames. Frame k of a clip is its frame k * stride: none is mixed.

    Raises:
        ValueError: size or fps is no whole fraction of the store's.
    """
    stride = round(store.fps / fps)
    if abs(stride * fps - store.fps) > 1e-6 or stride < 1 or store.size % size:
        raise ValueError(
            f"{size} px at {fps:g} fps: both must be whole fractions of the store's"
            f" {store.size} px and {store.fps:g} fps"
        )
    if size == store.size and stride == 1:
        return store
    fingerprint = {
        "format": FORMAT, "size": size, "fps": float(fps), "channels": store.channels,
        "from": store.manifest["sha256"],
    }  # fmt: skip
    directory.parent.mkdir(parents=True, exist_ok=True)
    with alone(directory):
        if not (directory.exists() and is_sound(directory, fingerprint)):
            _write(store, directory, fingerprint, stride)
    return ClipStore.open(directory, pad=store.pad)


def _write(
    store: ClipStore, directory: Path, fingerprint: dict[str, object], stride: int
) -> None:  # fmt: skip
    temporary = directory.with_name(f".{directory.name}.building-{uuid.uuid4().hex[:12]}")
    temporary.mkdir()
    try:
        digest, lengths = hashlib.sha256(), []
        with (temporary / FRAMES).open("wb") as file:
            for index in range(len(store)):
                frames = store.frames(index)[::stride]
                small = shrink(to_model(frames[None]), int(str(fingerprint["size"])), len(frames))
                data = to_uint8(small)[0].tobytes()
                file.write(data)
                digest.update(data)
                lengths.append(len(frames))
        first = np.cumsum([0, *lengths[:-1]])
        table = store.table.assign(first_frame=first, n_frames=lengths)
        seal(temporary, table, fingerprint, digest.hexdigest())
        put_in_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
