"""Clips in tar shards: the same clips to every reader, and nothing that a shard smuggles in."""

import io
import json
import os
import tarfile

import numpy as np
import pytest

from echocascade.commands.sharding import shard
from echocascade.data.clips import ClipStore
from echocascade.data.decode import Slice, VideoError, read_frames
from echocascade.data.echonet import DatasetError, check_dataset, read_file_list
from echocascade.data.shards import SHARDS, Sample, clips_in_shards, write_shard


@pytest.fixture(scope="module")
def sharded(pulsating_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("sharded") / "rings"
    assert shard(pulsating_folder, out, 7) == (30, 5)
    return out


@pytest.fixture
def fresh(pulsating_folder, tmp_path):
    shard(pulsating_folder, tmp_path / "rings", 7)
    return tmp_path / "rings"


def test_a_store_of_shards_is_the_store_of_files(pulsating_folder, sharded, tmp_path):
    stores = [
        ClipStore.build(root, tmp_path / name, size=16, fps=8, workers=1)
        for name, root in (("files", pulsating_folder), ("shards", sharded))
    ]
    assert stores[0].manifest["sha256"] == stores[1].manifest["sha256"]
    report = check_dataset(sharded, workers=1)
    assert report.ok and report.n_clips == 30


def test_a_thousand_clips_are_not_a_thousand_files(sharded):
    files = [path for path in sharded.rglob("*") if path.is_file()]
    assert len(files) == 5 + 1  # shards and FileList.csv


def test_shards_are_named_as_webdataset_names_them(sharded, pulsating_folder):
    """Members come in pairs of one base name: the clip, and JSON with its row."""
    with tarfile.open(sharded / SHARDS / "00000.tar") as tar:
        names = tar.getnames()
        clip = tar.extractfile(names[0]).read()
        facts = json.load(tar.extractfile(names[1]))
    assert names[0].removesuffix(".avi") == names[1].removesuffix(".json")
    assert len(names) == 14
    original = pulsating_folder / "Videos" / names[0]
    assert clip == original.read_bytes()
    row = read_file_list(pulsating_folder).set_index("FileName").loc[original.stem]
    assert facts["EF"] == row["EF"] and facts["Split"] == row["Split"]


def test_the_same_clips_make_the_same_bytes(sharded, fresh):
    for path in (sharded / SHARDS).iterdir():
        assert (fresh / SHARDS / path.name).read_bytes() == path.read_bytes()


def test_a_changed_shard_makes_a_store_anew(fresh, tmp_path):
    settings = {"size": 16, "fps": 8, "workers": 1}
    before = ClipStore.build(fresh, tmp_path / "store", **settings).manifest["fingerprint"]
    os.utime(fresh / SHARDS / "00002.tar", ns=(1, 1))
    after = ClipStore.build(fresh, tmp_path / "store", **settings).manifest["fingerprint"]
    assert before != after


@pytest.mark.parametrize("left", [100, 5000])
def test_a_cut_shard_is_named(fresh, left):
    path = fresh / SHARDS / "00001.tar"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DatasetError, match=r"Shards/00001.tar: not a whole tar file"):
        read_file_list(fresh)


def test_a_clip_that_no_shard_has_is_missing(fresh):
    (fresh / SHARDS / "00003.tar").unlink()
    report = check_dataset(fresh, workers=1)
    missing = [problem for problem in report.problems if problem.what == "the file is missing"]
    assert len(missing) == 7 and report.n_clips == 23


def test_a_clip_in_two_shards_is_said(fresh):
    (fresh / SHARDS / "00009.tar").write_bytes((fresh / SHARDS / "00001.tar").read_bytes())
    problems = clips_in_shards(fresh)[1]
    assert len(problems) == 7 and "00001.tar too" in problems[0].what


def test_only_plain_files_under_plain_names_are_clips(fresh):
    """Links, folders and names with a path in them are passed over; nothing is unpacked."""
    with tarfile.open(fresh / SHARDS / "00008.tar", "w") as tar:
        for name in ("../evil.avi", "/etc/evil.avi", ".hidden.avi", "a/b.avi", "ok.avi"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"RIFF"))
        link = tarfile.TarInfo("link.avi")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = clips_in_shards(fresh)[0]
    assert {name for name, place in found.items() if place.path.name == "00008.tar"} == {"ok"}


def test_a_shard_that_leaves_the_data_folder_is_refused(fresh, tmp_path):
    inside = fresh / SHARDS / "00001.tar"
    inside.rename(tmp_path / "outside.tar")
    inside.symlink_to(tmp_path / "outside.tar")
    problems = check_dataset(fresh, workers=1).problems
    assert len(problems) == 7 and "leaves the data folder" in problems[0].what


def test_a_pipe_is_no_shard(fresh):
    os.mkfifo(fresh / SHARDS / "00007.tar")
    problems = clips_in_shards(fresh)[1]
    assert [problem.what for problem in problems] == ["is not a regular file"]


def test_a_damaged_clip_in_a_shard_is_named(tmp_path, pulsating_folder):
    data = (pulsating_folder / "Videos" / "ring00.avi").read_bytes()
    write_shard(
        tmp_path / SHARDS / "0.tar", [Sample("cut", data[:-900], {}), Sample("ok", data, {})]
    )
    places = clips_in_shards(tmp_path)[0]
    assert np.array_equal(read_frames(places["ok"], 1),
                          read_frames(pulsating_folder / "Videos" / "ring00.avi", 1))  # fmt: skip
    with pytest.raises(VideoError, match=r"0.tar:cut.avi"):
        read_frames(places["cut"], 1)
    with pytest.raises(VideoError, match="bytes are there"):
        read_frames(Slice(tmp_path / SHARDS / "0.tar", 10**6, 5000, "x.avi"), 1)


def test_a_name_that_is_no_clip_name_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="leaves the data folder"):
        write_shard(tmp_path / "0.tar", [Sample("../up", b"", {})])
    assert list(tmp_path.iterdir()) == []


def test_a_finished_data_set_is_not_written_over(pulsating_folder, sharded):
    with pytest.raises(FileExistsError, match="holds a data set already"):
        shard(pulsating_folder, sharded, 7)
