"""Generated folders: any order of blocks, the same bytes; every clip can be accounted for."""

import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from echocascade.data.clips import ClipStore
from echocascade.data.echonet import check_dataset, read_file_list, read_tracings
from echocascade.data.marked import SYNTHETIC, read_mark
from echocascade.evaluation.stick import segment_lvef
from echocascade.params import KeepParams, PlanParams
from echocascade.studies.rebalancing import drawing, generate
from echocascade.studies.rebalancing.drawing import (
    MEMORISED,
    OFF_TARGET,
    SPARE,
    UNTRACEABLE,
    choose,
    refusals,
)
from echocascade.studies.rebalancing.folder import GeneratedFolder, GenerationError
from echocascade.studies.rebalancing.generate import (
    Chunk,
    ChunkError,
    begin_generation,
    generation_name,
)
from echocascade.studies.rebalancing.labels import label_of
from echocascade.studies.rebalancing.plan import make_plan
from echocascade.studies.rebalancing.tracings import trace_clip, trace_contour, traceable

SCALE = 1.5
# an untrained cascade hits no target: all that can be outlined is kept
LENIENT = KeepParams(draws=2, tolerance=None, keep="best", refuse_memorised=False, block=4)


def with_keep(trained, keep: KeepParams):
    rebalancing = trained.params.rebalancing.model_copy(update={"generation": keep})
    params = trained.params.model_copy(update={"rebalancing": rebalancing})
    return dataclasses.replace(trained, params=params)


@pytest.fixture(scope="module")
def lenient(tiny_trained):
    return with_keep(tiny_trained, LENIENT)


@pytest.fixture(scope="module")
def targets(lenient):
    wanted = PlanParams(per_bin=8, bin_width=20, low=10, high=90)
    return make_plan(lenient.store.table, wanted, seed=3).targets.iloc[:10].reset_index(drop=True)


@pytest.fixture(scope="module")
def whole(lenient, targets, tmp_path_factory):
    """All blocks by one process."""
    folder = begin_generation(lenient, targets, SCALE, tmp_path_factory.mktemp("made") / "whole")
    assert generate.generate(lenient, folder) == []
    return folder


def digests(root) -> dict[str, str]:
    """Every file's content."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_chunks_by_several_processes_give_the_same_bytes(lenient, targets, whole, tmp_path):
    left = []
    for number in (3, 1, 2):
        folder = begin_generation(lenient, targets, SCALE, tmp_path / "parts")
        left.append(len(generate.generate(lenient, folder, Chunk(number, 3))))
    assert left == [2, 1, 0]
    assert digests(tmp_path / "parts") == digests(whole.root)


def test_a_killed_generation_goes_on_where_it_was(lenient, targets, whole, tmp_path, monkeypatch):
    folder = begin_generation(lenient, targets, SCALE, tmp_path / "killed")

    def killed_at_the_table(self, block, rows, tracings):
        if block == 1:
            raise KeyboardInterrupt
        return write(self, block, rows, tracings)

    write = GeneratedFolder.write_block
    monkeypatch.setattr(GeneratedFolder, "write_block", killed_at_the_table)
    with pytest.raises(KeyboardInterrupt):
        generate.generate(lenient, folder)
    monkeypatch.undo()
    assert folder.missing() == [1, 2]
    with pytest.raises(GenerationError, match="2 of 3 blocks are missing"):
        folder.assemble()
    again = begin_generation(lenient, targets, SCALE, tmp_path / "killed")
    assert generate.generate(lenient, again) == []
    assert digests(again.root) == digests(whole.root)


def test_a_finished_folder_costs_nothing(lenient, targets, whole, monkeypatch):
    monkeypatch.setattr(generate, "make_block", None)
    before = digests(whole.root)
    folder = begin_generation(lenient, targets, SCALE, whole.root)
    assert generate.generate(lenient, folder) == []
    assert digests(whole.root) == before


def test_the_folder_is_one_that_every_reader_here_takes(whole, lenient, tmp_path):
    report = check_dataset(whole.root, workers=1)
    kept = whole.provenance()["kept"].sum()
    assert report.ok, report.problems
    assert report.n_clips == kept == report.splits["TRAIN"] and kept >= 5
    last = lenient.last
    store = ClipStore.build(whole.root, tmp_path / "store", size=last.size, fps=last.fps, workers=1)
    assert len(store) == kept
    assert all(store.n_frames(i) == last.n_frames for i in range(kept))


def test_the_loader_of_echonet_dynamic_finds_every_clip(whole):
    """Its rules, restated: names without suffix, a file for each, two traced frames for each."""
    table = pd.read_csv(whole.root / "FileList.csv")
    assert list(table["Split"].str.upper().unique()) == ["TRAIN"]
    assert [Path(name).suffix for name in table["FileName"]] == [""] * len(table)
    files = table["FileName"] + ".avi"
    assert set(files) - {path.name for path in (whole.root / "Videos").iterdir()} == set()
    text = (whole.root / "VolumeTracings.csv").read_text().splitlines()
    assert text[0] == "FileName,X1,Y1,X2,Y2,Frame"
    frames: dict[str, list[int]] = {}
    for line in text[1:]:
        name, *coordinates, frame = line.split(",")
        assert len([float(c) for c in coordinates]) == 4
        seen = frames.setdefault(name, [])
        if int(frame) not in seen:
            seen.append(int(frame))
    assert all(len(frames.get(name, [])) == 2 for name in files)
    n_frames = dict(zip(files, table["NumberOfFrames"], strict=True))
    assert all(max(frames[name]) < n_frames[name] for name in files)


def test_only_kept_clips_lie_in_the_folder(whole):
    names = {path.stem for path in (whole.root / "Videos").iterdir()}
    provenance = whole.provenance()
    assert names == set(provenance.loc[provenance["kept"], "FileName"])


def test_every_clip_says_that_it_is_synthetic(whole):
    for row in whole.provenance().query("kept").to_dict("records"):
        mark = read_mark(whole.root / "Videos" / f"{row['FileName']}.avi")
        assert mark.startswith(SYNTHETIC) and f"{row['lvef_requested']:.1f} %" in mark


def test_every_draw_is_accounted_for(whole, lenient, targets):
    provenance = whole.provenance()
    assert (provenance.groupby("target")["draw"].nunique() == LENIENT.draws).all()
    assert set(provenance["target"]) == set(targets["target"])
    assert (provenance["kept"] == (provenance["reason"] == "")).all()
    assert provenance.groupby("target")["kept"].sum().max() == 1
    train = lenient.store.table.set_index("FileName")
    anatomy = train.loc[provenance["anatomy"]]
    assert (anatomy["Split"] == "TRAIN").all()
    assert (anatomy["EDV"].to_numpy() == provenance["anatomy_edv_ml"]).all()
    assert not provenance["noise"].duplicated().any()
    facts = json.loads((whole.root / "generation.json").read_text())
    assert facts["scale"] == SCALE and facts["n_targets"] == len(targets)


def test_a_kept_clip_can_be_made_again_from_its_row(whole, lenient):
    """Provenance is enough: frame, request and noise give the same picture."""
    from echocascade.data.decode import read_frames

    row = whole.provenance().query("kept").iloc[0]
    clip = int(np.flatnonzero(lenient.store.table["FileName"] == row["anatomy"])[0])
    frame = lenient.store.frames(clip)[int(row["frame"])][None]
    video = lenient.generate(
        frame, np.array([row["lvef_requested"]]), [int(row["noise"])], SCALE, np.array([clip])
    )[-1][0]
    stored = read_frames(whole.root / "Videos" / f"{row['FileName']}.avi", 1)
    assert np.abs(stored.astype(int) - video.astype(int)).mean() < 3  # JPEG


def test_both_labels_are_kept_and_the_choice_changes_the_table(whole, lenient, targets):
    provenance = whole.provenance()
    kept = provenance[provenance["kept"]]
    seen = {}
    for kind in ("estimated", "requested"):
        whole.assemble(kind)
        seen[kind] = read_file_list(whole.root)
        label = label_of(kept, kind).to_numpy()
        np.testing.assert_allclose(seen[kind]["EF"], label, atol=1e-6)
        volumes = seen[kind]["EDV"] * (1 - label / 100)
        np.testing.assert_allclose(seen[kind]["ESV"], volumes, atol=1e-6)
        assert GeneratedFolder.open(whole.root).facts["labels"] == kind
    assert not np.allclose(seen["estimated"]["EF"], seen["requested"]["EF"])
    pd.testing.assert_frame_equal(whole.provenance(), provenance)
    with pytest.raises(ValueError, match=r"'guessed'.*requested, estimated"):
        label_of(kept, "guessed")


@pytest.mark.parametrize("split", ["VAL", "TEST", "nobody"])
def test_an_anatomy_that_is_not_train_is_refused(lenient, targets, tmp_path, split):
    table = lenient.store.table
    name = (
        "unknown" if split == "nobody" else table.loc[table["Split"] == split, "FileName"].iloc[0]
    )
    changed = targets.copy()
    changed.loc[2, "anatomy"] = name
    with pytest.raises(GenerationError, match=rf"row 4.*{name}.*only TRAIN"):
        begin_generation(lenient, changed, SCALE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_clips_is_not_mixed_with(lenient, targets, whole):
    with pytest.raises(GenerationError, match="another scale"):
        begin_generation(lenient, targets, 2.0, whole.root)
    with pytest.raises(GenerationError, match="another plan and n_targets"):
        begin_generation(lenient, targets.iloc[:4], SCALE, whole.root)


def test_a_plan_that_asks_for_nothing_is_said_to_do_so(lenient, targets, tmp_path):
    with pytest.raises(GenerationError, match="asks for no clip"):
        begin_generation(lenient, targets.iloc[:0], SCALE, tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(lenient, targets, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(GenerationError, match="not empty"):
        begin_generation(lenient, targets, SCALE, tmp_path)


def test_the_folders_name_follows_what_the_clips_depend_on(lenient, targets):
    same = generation_name(lenient, targets, SCALE)
    relabelled = with_keep(lenient, LENIENT.model_copy(update={"labels": "estimated"}))
    stricter = with_keep(lenient, LENIENT.model_copy(update={"tolerance": 5.0}))
    assert generation_name(relabelled, targets, SCALE) == same
    others = (
        generation_name(lenient, targets, 2.0),
        generation_name(lenient, targets.iloc[:4], SCALE),
        generation_name(stricter, targets, SCALE),
    )
    assert len({same, *others}) == 4


def test_under_keep_first_a_target_that_is_met_is_not_drawn_again(lenient, targets, tmp_path):
    first = with_keep(lenient, LENIENT.model_copy(update={"keep": "first", "draws": 3}))
    folder = begin_generation(first, targets, SCALE, tmp_path / "first")
    generate.generate(first, folder)
    provenance = folder.provenance()
    last = provenance.groupby("target")["draw"].idxmax()
    assert (
        provenance.loc[provenance["kept"]].index == last[provenance.loc[last, "kept"].to_numpy()]
    ).all()
    assert (provenance.loc[~provenance["kept"], "reason"] == UNTRACEABLE).all()


def test_a_block_can_be_one_shard_in_place_of_many_files(lenient, targets, whole, tmp_path):
    sharded = with_keep(lenient, LENIENT.model_copy(update={"shards": True}))
    folder = begin_generation(sharded, targets, SCALE, tmp_path / "tar")
    assert generate.generate(sharded, folder) == []
    shards = sorted(path.name for path in (folder.root / "Shards").iterdir())
    assert shards == ["00000.tar", "00001.tar", "00002.tar"]
    assert not (folder.root / "Videos").exists()
    pd.testing.assert_frame_equal(folder.provenance(), whole.provenance())
    last = lenient.last
    stores = [
        ClipStore.build(made.root, tmp_path / name, size=last.size, fps=last.fps, workers=1)
        for name, made in (("tar store", folder), ("file store", whole))
    ]
    frames = [store.manifest["sha256"]["frames.u8"] for store in stores]
    assert frames[0] == frames[1]


class Memory:
    """Everything scores what its name says; above 0.5 is too close."""

    threshold = own_threshold = 0.5


def rows_of(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def outlined(tiny_store):
    """A reading that can be traced, and one that cannot."""
    clip = np.zeros((8, 56, 56, 1), np.uint8)
    y, x = np.mgrid[:56, :56]
    for t in range(8):
        inside = ((x - 30) / (6 + t % 4)) ** 2 + ((y - 21) / 13) ** 2 < 1
        clip[t, ..., 0] = cv2.GaussianBlur(np.where(inside, 5.0, 120.0), (0, 0), 2)
    good, bad = segment_lvef(clip), segment_lvef(np.zeros_like(clip))
    assert traceable(good) and not traceable(bad)
    return good, bad


def test_reasons_to_refuse(outlined):
    good, bad = outlined
    nan = float("nan")
    table = rows_of(
        lvef_requested=[50.0] * 6,
        lvef_estimated=[50.0, 61, 61, nan, 50, 50],
        memorisation=[0.4, 0.4, 0.6, nan, 0.1, 0.1],
        memorisation_own=[0.4, 0.4, 0.4, nan, 0.6, 0.1],
    )
    keep = KeepParams(tolerance=10.0)
    found = refusals(table, keep, Memory(), [good] * 5 + [bad])
    assert found == ["", OFF_TARGET, MEMORISED, OFF_TARGET, MEMORISED, UNTRACEABLE]
    lax = refusals(table, KeepParams(tolerance=None), None, [good] * 6)
    assert lax == [""] * 6


def test_of_the_passing_draws_the_nearest_to_the_request_is_kept():
    table = rows_of(
        target=[0, 1, 0, 1, 0], draw=[0, 0, 1, 1, 2],
        lvef_requested=[50.0] * 5, lvef_estimated=[56.0, 50, 53, 58, 50],
        reason=["", OFF_TARGET, "", "", MEMORISED],
    )  # fmt: skip
    chosen = choose(table)
    assert chosen["target"].tolist() == [0, 0, 0, 1, 1]
    assert chosen["kept"].tolist() == [False, True, False, False, True]
    assert chosen["reason"].tolist() == [SPARE, "", MEMORISED, OFF_TARGET, ""]
    assert chosen.index.tolist() == [0, 2, 4, 1, 3]  # places of the draws are not lost


def test_a_copy_of_a_training_clip_does_not_get_into_the_folder(
    tiny_trained, targets, tmp_path, monkeypatch
):
    """A generator that replays its patients' clips: every one of them is refused."""
    trained = with_keep(tiny_trained, LENIENT.model_copy(update={"refuse_memorised": True}))
    store, last = trained.store, trained.last

    def replay(self, frames, lvef_percent, seeds, scale, rows):
        return [np.stack([store.window(int(row), last.n_frames, 0) for row in rows])]

    monkeypatch.setattr(type(trained), "generate", replay)
    folder = begin_generation(trained, targets, SCALE, tmp_path / "copies")
    generate.generate(trained, folder)
    provenance = folder.provenance()
    assert (provenance["reason"] == MEMORISED).all()
    assert list((folder.root / "Videos").iterdir()) == []


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_chunk_that_does_not_exist_is_refused(text):
    with pytest.raises(ChunkError, match="1/n to n/n"):
        Chunk.parse(text)


def test_chunks_share_the_work_without_overlap():
    parts = [Chunk.parse(f"{i}/3") for i in (1, 2, 3)]
    assert [[part.has(i) for part in parts].count(True) for i in range(20)] == [1] * 20


def test_an_ellipse_is_traced_as_its_axis_and_disks():
    angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    contour = np.stack([30 + 6 * np.sin(angle), 25 - 14 * np.cos(angle)], -1)  # apex, right, left
    lines = trace_contour(contour)
    assert lines.shape == (21, 4)
    np.testing.assert_allclose(lines[0], [30, 11, 30, 39], atol=0.1)
    widths = lines[1:, 2] - lines[1:, 0]
    height = (np.arange(20) + 0.5) / 20
    np.testing.assert_allclose(np.abs(widths), 24 * np.sqrt(height * (1 - height)), atol=0.1)
    np.testing.assert_allclose(lines[1:, 1], 11 + 28 * height, atol=0.1)


def test_end_systole_is_traced_first(outlined):
    good, _ = outlined
    rows = trace_clip("clip", good)
    assert rows["Frame"].tolist() == [good.esv_frame] * 21 + [good.edv_frame] * 21
    assert set(rows["FileName"]) == {"clip.avi"}


def test_tracings_are_read_back(whole):
    assert set(read_tracings(whole.root)["FileName"]) == set(read_file_list(whole.root)["FileName"])


def test_frames_are_drawn_from_the_whole_clip():
    drawn = [drawing._frame_number(0, target, 0, 40) for target in range(200)]
    assert min(drawn) < 4 and max(drawn) > 35
    assert drawn == [drawing._frame_number(0, target, 0, 40) for target in range(200)]
