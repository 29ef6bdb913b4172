"""A smaller store from a store: the same clips, by the cascade's own way down."""

import numpy as np
import pytest

from echocascade.data import shrinking
from echocascade.data.clips import ClipStore, StoreError
from echocascade.data.shrinking import shrunk_store
from echocascade.data.video import shrink, to_model, to_uint8


@pytest.fixture(scope="module")
def store(pulsating_folder, tmp_path_factory) -> ClipStore:
    where = tmp_path_factory.mktemp("store") / "whole"
    return ClipStore.build(pulsating_folder, where, size=16, fps=8, workers=1)


@pytest.fixture(scope="module")
def small(store, tmp_path_factory) -> ClipStore:
    return shrunk_store(store, tmp_path_factory.mktemp("store") / "small", 8, 4)


def test_it_holds_the_same_clips_smaller_and_slower(store, small):
    assert (small.size, small.fps, small.channels, small.pad) == (8, 4, 1, store.pad)
    kept = ["FileName", "EF", "ESV", "EDV", "Split", "source_fps"]
    assert small.table[kept].equals(store.table[kept])
    for i in range(len(store)):
        frames = store.frames(i)[::2]
        expected = to_uint8(shrink(to_model(frames[None]), 8, len(frames)))[0]
        assert np.array_equal(small.frames(i), expected)
    small.verify()


def test_a_store_of_that_size_already_is_used_itself(store, tmp_path):
    assert shrunk_store(store, tmp_path / "same", store.size, store.fps) is store
    assert not (tmp_path / "same").exists()


def test_it_is_made_once_and_again_when_the_clips_change(
    store, small, pulsating_folder, monkeypatch, tmp_path
):
    calls = []
    write = shrinking._write

    def counted(*arguments):
        calls.append(arguments)
        write(*arguments)

    monkeypatch.setattr(shrinking, "_write", counted)
    shrunk_store(store, small.directory, 8, 4)
    assert calls == []
    other = ClipStore.build(
        pulsating_folder, tmp_path / "other", size=16, fps=8, channels=3, workers=1
    )
    shrunk_store(other, tmp_path / "small", 8, 4)
    assert shrunk_store(store, tmp_path / "small", 8, 4).channels == 1
    assert len(calls) == 2


def test_a_damaged_one_is_made_anew(store, tmp_path):
    shrunk_store(store, tmp_path / "small", 8, 4)
    (tmp_path / "small" / "frames.u8").write_bytes(b"cut")
    with pytest.raises(StoreError):
        ClipStore.open(tmp_path / "small")
    assert len(shrunk_store(store, tmp_path / "small", 8, 4)) == len(store)


@pytest.mark.parametrize(("size", "fps"), [(5, 8), (16, 3), (32, 8), (16, 16)])
def test_only_whole_fractions_are_possible(store, tmp_path, size, fps):
    with pytest.raises(ValueError, match="whole fractions"):
        shrunk_store(store, tmp_path / "no", size, fps)
