import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echocascade.data import building, loading
from echocascade.data.clips import ClipSampler, ClipStore, StoreError, evaluation_clips
from echocascade.data.echonet import DatasetError
from echocascade.data.video import read_frames, resample_time, resize


@pytest.fixture
def store(folder: Any, tmp_path: Path) -> ClipStore:
    return build(folder, tmp_path)


def build(folder: Any, tmp_path: Path, **changed: Any) -> ClipStore:
    settings = {"size": 8, "fps": 20, "workers": 1} | changed
    return ClipStore.build(folder.root, tmp_path / "store", **settings)


# --- what is in a store


def test_a_stored_clip_is_the_video_resized_and_resampled(store: ClipStore, folder: Any) -> None:
    for i in (0, 7):
        name = store.table["FileName"][i]
        frames = resample_time(resize(read_frames(folder.video(name), 1), 8), 10, 20)
        assert np.array_equal(store.frames(i), frames)
        assert store.n_frames(i) == 2 * (20 + i) - 1  # frames at k / 20 s up to the last at 10 fps


def test_the_table_keeps_labels_and_splits_in_file_order(store: ClipStore) -> None:
    assert store.table["FileName"].tolist() == [f"0X{7 - i:04X}" for i in range(8)]
    assert store.table["EF"].tolist() == [30.0 + 5 * i for i in range(8)]
    assert store.indices("TRAIN").tolist() == [0, 1, 2, 3, 4]
    assert store.indices("VAL").tolist() == [5, 6]
    assert store.indices("TEST").tolist() == [7]
    with pytest.raises(ValueError, match="TRAIN, VAL, TEST"):
        store.indices("train")


def test_the_rate_is_the_tables_not_the_headers(folder: Any, tmp_path: Path) -> None:
    folder.change(0, "FPS", "40")  # the AVI header says 10
    folder.write()
    assert build(folder, tmp_path).n_frames(0) == 10  # (20 - 1) frames at 20 / 40, and the first


def test_three_channels_are_rgb(folder: Any, tmp_path: Path) -> None:
    store = build(folder, tmp_path, channels=3, size=16, fps=10)
    assert store.frames(0).shape == (20, 16, 16, 3)


def test_frames_are_a_view_that_cannot_be_written(store: ClipStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        store.frames(0)[0] = 0


def test_processes_make_the_same_store(
    folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build(folder, tmp_path).manifest["sha256"]
    monkeypatch.setattr(loading, "SMALLEST_POOLED", 1)
    together = ClipStore.build(folder.root, tmp_path / "other", size=8, fps=20, workers=2)
    assert together.manifest["sha256"] == alone


def test_a_store_goes_to_another_process_by_name(store: ClipStore) -> None:
    data = pickle.dumps(store)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data).frames(3), store.frames(3))  # noqa: S301


# --- re-use


def test_a_second_build_decodes_nothing(
    store: ClipStore, folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        pytest.fail("the store was made again")

    monkeypatch.setattr(building, "_write", fail)
    again = build(folder, tmp_path, pad="black")
    assert again.manifest["fingerprint"] == store.manifest["fingerprint"]
    assert ClipStore.open(tmp_path / "store").pad == "black"


@pytest.mark.parametrize(
    "change", ["size", "fps", "channels", "table", "video", "bit", "table bit"]
)
def test_any_change_makes_it_again(
    store: ClipStore, folder: Any, tmp_path: Path, change: str
) -> None:
    changed: dict[str, Any] = {"size": {"size": 4}, "fps": {"fps": 5}, "channels": {"channels": 3}}
    frames, table = tmp_path / "store/frames.u8", tmp_path / "store/table.csv"
    before = frames.stat().st_ino
    if change == "table":
        folder.change(0, "EF", "77")
        folder.write()
    elif change == "video":
        os.utime(folder.video("0X0003"), ns=(0, 0))
    elif change == "bit":
        data = bytearray(frames.read_bytes())
        data[1000] ^= 1
        frames.write_bytes(data)
    elif change == "table bit":
        table.write_text(table.read_text().replace("30.0", "80.0"))
    again = build(folder, tmp_path, **changed.get(change, {}))
    assert frames.stat().st_ino != before
    again.verify()
    assert again.table["EF"][0] == (77 if change == "table" else 30)


def test_verify_sees_one_changed_bit(store: ClipStore) -> None:
    store.verify()
    path = store.directory / "frames.u8"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"frames\.u8: its checksum"):
        store.verify()


@pytest.mark.parametrize("name", ["manifest.json", "table.csv", "frames.u8"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe"])
def test_a_damaged_store_is_not_opened_and_is_made_again(
    store: ClipStore, folder: Any, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / "store" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StoreError, match="store"):
        ClipStore.open(tmp_path / "store")
    if name == "manifest.json" and content is None:
        return  # then it is just a folder with files, and nobody's files are replaced
    build(folder, tmp_path).verify()


def test_a_folder_with_other_things_in_it_is_left_alone(folder: Any, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no clip store"):
        build(folder, tmp_path)
    assert (tmp_path / "store" / "thesis.tex").read_text() == "years of work"


def test_two_builds_at_once_make_one_store(folder: Any, tmp_path: Path) -> None:
    seen: list[int] = []

    def make(_: int) -> str:
        def count(done: int, __: int, ___: str) -> None:
            seen.append(done)
            time.sleep(0.01)

        return str(build(folder, tmp_path, progress=count).manifest["sha256"])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(make, range(2))
    assert first == second
    assert seen == list(range(1, 9))  # the other waited and found the store ready


def build_slowly(root: Path, directory: Path, started: Any) -> None:
    def wait(done: int, _: int, __: str) -> None:
        if done == 4:
            started.set()
            time.sleep(60)

    ClipStore.build(root, directory, size=8, fps=20, workers=1, progress=wait)


def test_a_killed_build_leaves_no_store_and_the_next_one_cleans_up(
    folder: Any, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(
        target=build_slowly, args=(folder.root, tmp_path / "store", started), daemon=True
    )
    process.start()
    assert started.wait(60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "store").exists()
    assert list(tmp_path.glob(".store.building-*"))

    build(folder, tmp_path).verify()
    assert not list(tmp_path.glob(".store.building-*"))


# --- broken clips


@pytest.fixture
def broken(folder: Any) -> Any:
    """A cut clip, a missing one, an empty one and a row with a bad label."""
    whole = folder.video("0X0007").read_bytes()
    folder.video("0X0007").write_bytes(whole[: len(whole) // 2])
    folder.video("0X0005").write_bytes(b"")
    folder.video("0X0002").unlink()
    folder.change(4, "EF", "NaN")
    folder.write()
    return folder


BROKEN = {
    ("Videos/0X0007.avi", 2),
    ("Videos/0X0005.avi", 4),
    ("FileList.csv", 6),
    ("Videos/0X0002.avi", 7),
}


def test_whatever_is_broken_stops_the_build_and_all_of_it_is_named(
    broken: Any, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        build(broken, tmp_path)
    assert {(problem.file, problem.row) for problem in caught.value.problems} == BROKEN
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["dataset"]


def test_skipped_clips_are_listed_and_the_others_are_used(broken: Any, tmp_path: Path) -> None:
    store = build(broken, tmp_path, on_error="skip")
    assert store.table["FileName"].tolist() == ["0X0006", "0X0004", "0X0001", "0X0000"]
    assert {(problem.file, problem.row) for problem in store.skipped} == BROKEN
    assert ClipStore.open(store.directory).skipped == store.skipped


def test_a_store_with_skipped_clips_does_not_pass_for_a_whole_one(
    broken: Any, tmp_path: Path
) -> None:
    build(broken, tmp_path, on_error="skip")
    with pytest.raises(DatasetError, match="0X0007"):
        build(broken, tmp_path, on_error="stop")


def test_leakage_between_splits_stops_the_build_also_when_skipping(
    folder: Any, tmp_path: Path
) -> None:
    folder.rows.append(folder.rows[0].replace("TRAIN", "TEST"))
    folder.write()
    with pytest.raises(DatasetError, match="in TRAIN, here in TEST"):
        build(folder, tmp_path, on_error="skip")


def test_a_store_of_nothing_is_an_error(folder: Any, tmp_path: Path) -> None:
    for i in range(8):
        folder.video(f"0X{i:04X}").write_bytes(b"")
    with pytest.raises(DatasetError, match="no usable clip is left"):
        build(folder, tmp_path, on_error="skip")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"size": 0}, "size is 0"),
        ({"fps": 0}, "fps is 0"),
        ({"channels": 2}, "channels is 2"),
        ({"pad": "white"}, "allowed are mirror, repeat, black"),
        ({"on_error": "ignore"}, "'stop' or 'skip'"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_done(
    folder: Any, tmp_path: Path, changed: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        build(folder, tmp_path, **changed)
    assert not (tmp_path / "store").exists()


# --- windows and padding


@pytest.mark.parametrize(
    ("pad", "positions"),
    [
        ("repeat", [36, 37, 38, 38, 38, 38]),
        ("mirror", [36, 37, 38, 37, 36, 35]),
        ("black", [36, 37, 38, None, None, None]),
    ],
)
def test_a_window_past_the_end_is_padded_by_the_declared_rule(
    folder: Any, tmp_path: Path, pad: str, positions: list[int | None]
) -> None:
    store = build(folder, tmp_path, pad=pad)
    clip = store.frames(0)
    assert len(clip) == 39
    expected = [np.zeros_like(clip[0]) if p is None else clip[p] for p in positions]
    assert np.array_equal(store.window(0, 6, 36), np.stack(expected))


def test_mirror_goes_on_back_and_forth_for_as_long_as_wanted(store: ClipStore) -> None:
    clip = store.frames(0)
    there_and_back = np.concatenate([clip, clip[-2:0:-1]])
    assert np.array_equal(store.window(0, 200, 0), np.resize(there_and_back, (200, 8, 8, 1)))


def test_stride_takes_every_so_manieth_frame(store: ClipStore) -> None:
    assert np.array_equal(store.window(2, 5, 3, stride=4), store.frames(2)[3:20:4])


# --- sampling


def test_a_sample_is_the_same_in_any_batch_size_and_order_of_steps(store: ClipStore) -> None:
    one = ClipSampler(store, "TRAIN", 16, seed=3)
    singles = [one.batch(step, 1) for step in reversed(range(12))][::-1]
    batches = [ClipSampler(store, "TRAIN", 16, seed=3).batch(step, 4) for step in range(3)]
    for field in ("index", "video", "frame", "lvef_percent"):
        alone = np.concatenate([getattr(sample, field) for sample in singles])
        assert np.array_equal(alone, np.concatenate([getattr(batch, field) for batch in batches]))


def test_another_seed_gives_other_samples(store: ClipStore) -> None:
    first, second = (ClipSampler(store, "TRAIN", 16, seed=s).batch(0, 20) for s in (0, 1))
    assert not np.array_equal(first.video, second.video)


def test_every_epoch_sees_every_training_clip_once_in_another_order(store: ClipStore) -> None:
    sampler = ClipSampler(store, "TRAIN", 4, seed=0)
    epochs = [tuple(sampler.batch(step, 5).index.tolist()) for step in range(20)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 10


def test_window_and_conditioning_frame_come_from_the_same_clip_as_the_label(
    store: ClipStore,
) -> None:
    batch = ClipSampler(store, "TRAIN", 8, seed=0, stride=2).batch(0, 50)
    assert batch.video.shape == (50, 8, 8, 8, 1)
    assert batch.lvef_percent.dtype == np.float32
    for index, video, frame, lvef in zip(
        batch.index, batch.video, batch.frame, batch.lvef_percent, strict=True
    ):
        clip = store.frames(index)
        assert lvef == store.table["EF"][index]
        assert (clip == frame).all((1, 2, 3)).any()
        start = int((clip == video[0]).all((1, 2, 3)).argmax())
        assert np.array_equal(video, clip[start : start + 15 : 2])


def test_windows_and_conditioning_frames_come_from_everywhere_in_the_clip(
    folder: Any, tmp_path: Path
) -> None:
    folder.rows = folder.rows[-1:]
    folder.change(0, "Split", "TRAIN")
    folder.write()
    store = build(folder, tmp_path, fps=10, size=16)
    clip = store.frames(0)
    batch = ClipSampler(store, "TRAIN", 20, seed=0).batch(0, 400)
    starts = {int((clip == video[0]).all((1, 2, 3)).argmax()) for video in batch.video}
    frames = {int((clip == frame).all((1, 2, 3)).argmax()) for frame in batch.frame}
    assert starts == set(range(len(clip) - 20 + 1))
    assert frames == set(range(len(clip)))  # also outside the window (Reynaud23 Sec. 2)


def test_a_batch_is_read_in_milliseconds(folder: Any, tmp_path: Path) -> None:
    store = build(folder, tmp_path, size=56, fps=32)
    sampler = ClipSampler(store, "TRAIN", 16, seed=0, stride=4)
    times = []
    for step in range(30):
        start = time.perf_counter()
        sampler.batch(step, 16)
        times.append(time.perf_counter() - start)
    # 0.4 ms on an idle core; the least of 30 holds on a busy machine too
    assert min(times) < 0.005


def test_a_split_without_clips_is_an_error(folder: Any, tmp_path: Path) -> None:
    folder.rows = folder.rows[:5]
    folder.write()
    store = build(folder, tmp_path)
    with pytest.raises(ValueError, match="no clip in split TEST"):
        ClipSampler(store, "TEST", 8, seed=0)
    with pytest.raises(ValueError, match="no clip in split VAL"):
        evaluation_clips(store, "VAL", 3, 8)


# --- evaluation


def test_evaluation_clips_are_alphabetical_and_fixed(store: ClipStore) -> None:
    clips = evaluation_clips(store, "TRAIN", 3, 8, seed=1, draws=4)
    assert clips.file_name == ["0X0003", "0X0004", "0X0005"]
    assert clips.index.tolist() == [4, 3, 2]
    assert clips.frames.shape == (3, 4, 8, 8, 1)
    assert clips.lvef_percent.tolist() == [50, 45, 40]
    again = evaluation_clips(store, "TRAIN", None, 8, seed=1, draws=4)
    assert np.array_equal(again.video[:3], clips.video)
    assert np.array_equal(again.frames[:3], clips.frames)
    assert len(again.index) == 5


def test_evaluation_frames_and_windows_are_where_they_say(store: ClipStore) -> None:
    clips = evaluation_clips(store, "VAL", 2, 6, stride=3, draws=2)
    for i, index in enumerate(clips.index):
        assert np.array_equal(clips.video[i], store.window(index, 6, clips.start[i], 3))
        assert np.array_equal(clips.frames[i], store.frames(index)[clips.frame_index[i]])
        assert len(set(clips.frame_index[i].tolist())) == 2


def test_a_clip_keeps_its_evaluation_window_when_others_leave_the_set(
    store: ClipStore, folder: Any, tmp_path: Path
) -> None:
    before = evaluation_clips(store, "VAL", None, 8)
    del folder.rows[6], folder.rows[0]
    folder.write()
    after = evaluation_clips(build(folder, tmp_path), "VAL", None, 8)
    place = before.file_name.index(after.file_name[0])
    assert before.start[place] == after.start[0]
    assert np.array_equal(before.frame_index[place], after.frame_index[0])


# --- real data


@pytest.mark.parametrize(("fps", "n_frames"), [(8, 16), (16, 31), (32, 61)])
def test_the_real_sample_becomes_a_store_of_fifty(
    shared_dir: Path, tmp_path: Path, fps: int, n_frames: int
) -> None:
    store = ClipStore.build(
        shared_dir / "echonet-sample", tmp_path / "store", size=56, fps=fps, workers=1
    )
    assert len(store) == 50
    assert store.table["n_frames"].unique().tolist() == [n_frames]
    assert 20 < store.frames(0).mean() < 90  # an ultrasound picture: mostly dark, not black
    batch = ClipSampler(store, "TRAIN", 64, seed=0).batch(0, 4)
    assert batch.video.shape == (4, 64, 56, 56, 1)


def test_the_manifest_says_what_a_store_was_made_from(store: ClipStore, folder: Any) -> None:
    manifest = json.loads((store.directory / "manifest.json").read_text())
    table = (folder.root / "FileList.csv").read_bytes()
    frames = (store.directory / "frames.u8").read_bytes()
    assert manifest["fingerprint"]["file_list_sha256"] == hashlib.sha256(table).hexdigest()
    assert manifest["sha256"]["frames.u8"] == hashlib.sha256(frames).hexdigest()
    assert (manifest["n_clips"], manifest["size"], manifest["fps"]) == (8, 8, 20)
