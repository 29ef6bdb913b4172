import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echocascade.data.echonet import (
    COLUMNS,
    DatasetError,
    Problem,
    check_dataset,
    read_file_list,
    read_tracings,
)
from echocascade.data.video import write_avi

TRACINGS_HEADER = "FileName,X1,Y1,X2,Y2,Frame"


def write_tracings(root: Path, *rows: str, header: str = TRACINGS_HEADER) -> None:
    (root / "VolumeTracings.csv").write_text("\n".join([header, *rows]) + "\n")


def folder_frames(n_frames: int) -> np.ndarray:
    return np.full((n_frames, 16, 16, 1), 80, np.uint8)


def problems_of(folder: Any) -> list[Problem]:
    with pytest.raises(DatasetError) as caught:
        read_file_list(folder.write())
    return list(caught.value.problems)


# --- the table as it should be, and the quirks of the real one


def test_every_row_comes_back_typed_in_file_order(folder: Any) -> None:
    table = read_file_list(folder.root)
    assert list(table.columns) == [*COLUMNS, "path"]
    assert table["FileName"].tolist() == [f"0X{7 - i:04X}" for i in range(8)]
    assert table["EF"].tolist() == [30.0 + 5 * i for i in range(8)]
    assert table["NumberOfFrames"].tolist() == list(range(20, 28))
    assert all(path.is_file() for path in table["path"])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [False, True])
def test_bom_and_line_ends_make_no_difference(folder: Any, newline: str, bom: bool) -> None:
    expected = read_file_list(folder.root)
    assert read_file_list(folder.write(newline, bom)).equals(expected)


def test_quirks_of_the_real_table_are_met(folder: Any) -> None:
    expected = read_file_list(folder.root)
    folder.change(0, "FileName", "0X0007.avi")  # some names carry their suffix
    folder.change(1, "FrameHeight", "768")  # some rows give the size before cropping
    folder.change(2, "FPS", "50.5")  # table and AVI header differ: the table is right
    folder.header += ",Comment"
    folder.rows = [row + ",x" for row in folder.rows] + [""]
    table = read_file_list(folder.write())
    assert table["FileName"].tolist() == expected["FileName"].tolist()
    assert table["FPS"].tolist() == [10, 10, 50.5, *[10] * 5]
    assert list(table.columns) == list(expected.columns)
    assert check_dataset(folder.root).ok


# --- what is wrong with a table


@pytest.mark.parametrize(
    ("column", "cell", "what"),
    [
        ("EF", "", "is not a number"),
        ("EF", "nan", "is not a finite number"),
        ("EF", "inf", "is not a finite number"),
        ("EF", "high", "is not a number"),
        ("EF", "-3", "allowed is 0 to 100 percent"),
        ("EF", "6420", "allowed is 0 to 100 percent"),
        ("ESV", "-1", "allowed is 0 or more ml"),
        ("EDV", "nan", "is not a finite number"),
        ("FPS", "0", "allowed is 1 to 1000 frames per second"),
        ("NumberOfFrames", "-5", "is out of range"),
        ("NumberOfFrames", "20.5", "is not a whole number"),
        ("Split", "train", "is not one of TRAIN, VAL, TEST"),
        ("FileName", "", "is no file name"),
        ("FileName", "..", "is no file name"),
        ("FileName", "../../etc/passwd", "leaves the data folder"),
        ("FileName", "/etc/passwd", "leaves the data folder"),
        ("FileName", "a/../0X0004", "leaves the data folder"),
        ("FileName", "C:\\clip", "leaves the data folder"),
        ("FileName", "0X\x000004", "holds control characters"),
        ("FileName", "x" * 5000, "is longer than 200 bytes"),
    ],
)
def test_a_bad_cell_is_named_with_its_row_and_what_is_allowed(
    folder: Any, column: str, cell: str, what: str
) -> None:
    folder.change(3, column, cell)
    (problem,) = problems_of(folder)
    assert (problem.file, problem.row) == ("FileList.csv", 5)
    assert problem.what.startswith(f"{column} {cell[:20]!r}"[:-1])
    assert what in problem.what


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named_with_the_columns_found(folder: Any, column: str) -> None:
    folder.header = folder.header.replace(column, column.lower() + "_", 1)
    problems = problems_of(folder)
    assert f"column {column!r} is missing (found " in problems[0].what
    assert repr(column.lower() + "_") in problems[0].what


def test_a_clip_named_twice_is_an_error_that_names_both_rows(folder: Any) -> None:
    folder.rows.append(folder.rows[2])
    (problem,) = problems_of(folder)
    assert problem == Problem("FileList.csv", 10, "FileName '0X0005' is already in row 4")


def test_a_clip_in_two_splits_is_fatal_with_or_without_its_suffix(folder: Any) -> None:
    folder.rows.append(folder.rows[2].replace("TRAIN", "TEST").replace("0X0005", "0X0005.avi"))
    (problem,) = problems_of(folder)
    assert problem.what == "FileName '0X0005' is already in row 4 in TRAIN, here in TEST"
    assert problem.fatal


def test_a_row_with_cells_missing_or_too_many_is_an_error(folder: Any) -> None:
    folder.rows[1] = ",".join(folder.rows[1].split(",")[:5])
    folder.rows[4] += ",TEST"
    assert [(p.row, p.what[:7]) for p in problems_of(folder)] == [(3, "5 cells"), (6, "10 cell")]


def test_lvef_given_as_a_fraction_is_an_error(folder: Any) -> None:
    for i in range(8):
        folder.change(i, "EF", f"0.{i + 2}")
    (problem,) = problems_of(folder)
    assert "fractions; EF is wanted in percent" in problem.what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: No such file"),
        (b"", "the file is empty"),
        (b"FileName,EF\n\xff\xfe\n", "not UTF-8 text"),
        (b"FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n", "no row below"),
        (b'"' + b"x" * 200_000, "not a CSV table"),
    ],
)
def test_a_table_that_is_none_is_one_clear_problem(
    folder: Any, content: bytes | None, what: str
) -> None:
    table = folder.root / "FileList.csv"
    table.unlink() if content is None else table.write_bytes(content)
    with pytest.raises(DatasetError, match=what) as caught:
        read_file_list(folder.root)
    assert "\n" not in caught.value.summary


# --- videos that are not what the table says


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_not(
    folder: Any, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere.avi"
    folder.video("0X0007").rename(outside)
    folder.video("0X0007").symlink_to(outside)
    inside = folder.root / "object"
    folder.video("0X0006").rename(inside)
    folder.video("0X0006").symlink_to(inside)
    (problem,) = problems_of(folder)
    assert problem == Problem("Videos/0X0007.avi", 2, "is a link that leaves the data folder")


def test_the_videos_folder_itself_may_be_a_link(folder: Any, tmp_path: Path) -> None:
    (folder.root / "Videos").rename(tmp_path / "large_disk")
    (folder.root / "Videos").symlink_to(tmp_path / "large_disk")
    assert check_dataset(folder.root).ok


def test_every_planted_fault_is_reported_in_one_pass(folder: Any, tmp_path: Path) -> None:
    for i in range(4):
        folder.add(f"EXTRA{i}", 20)
    folder.change(0, "EF", "NaN")
    folder.change(1, "EF", "180")
    folder.rows.append(folder.rows[2])
    folder.rows.append("../escape,50,50,100,16,16,10,20,TRAIN")
    folder.rows.append("GONE,50,50,100,16,16,10,20,VAL")
    cut = folder.video("0X0003").read_bytes()
    folder.video("0X0003").write_bytes(cut[: len(cut) // 2])
    folder.video("0X0002").write_bytes(b"")
    folder.video("0X0001").write_text("no pictures in here")
    folder.change(7, "NumberOfFrames", "64")
    folder.video("EXTRA0").unlink()
    folder.video("EXTRA0").symlink_to("/dev/null")
    write_avi(folder.video("EXTRA1"), folder_frames(1), 10)
    folder.change(9, "NumberOfFrames", "1")
    write_avi(folder.video("EXTRA2"), folder_frames(20)[:, :, :12], 10)
    write_tracings(folder.root, "EXTRA3.avi,1,2,3,four,5", "EXTRA3.avi,1,2,3,4,99")

    report = check_dataset(folder.write())

    found = {(problem.file, problem.row) for problem in report.problems}
    assert found == {
        ("FileList.csv", 2),  # EF is NaN
        ("FileList.csv", 3),  # EF is 180
        ("FileList.csv", 14),  # row 4 again
        ("FileList.csv", 15),  # leaves the folder
        ("Videos/GONE.avi", 16),
        ("Videos/0X0003.avi", 6),  # cut in half
        ("Videos/0X0002.avi", 7),  # empty
        ("Videos/0X0001.avi", 8),  # text
        ("Videos/0X0000.avi", 9),  # fewer frames than the table claims
        ("Videos/EXTRA0.avi", 10),  # a link to a device
        ("Videos/EXTRA1.avi", 11),  # one frame
        ("Videos/EXTRA2.avi", 12),  # not square
        ("VolumeTracings.csv", 2),
        ("VolumeTracings.csv", 3),
    }
    assert not report.ok
    assert report.n_clips == 3  # rows 4 and 5, and EXTRA3
    assert report.splits == {"TRAIN": 3, "VAL": 0, "TEST": 0}


def test_a_sound_folder_is_reported_as_the_command_line_promises(folder: Any) -> None:
    calls: list[tuple[int, int, str]] = []
    report = check_dataset(folder.root, progress=lambda *call: calls.append(call))
    assert json.loads(json.dumps(report.to_json())) == {
        "ok": True,
        "n_clips": 8,
        "splits": {"TRAIN": 5, "VAL": 2, "TEST": 1},
        "fps": [10.0, 10.0],
        "duration_s": [2.0, 2.7],
        "problems": [],
        "notes": [],
    }
    assert calls[-1] == (8, 8, "0X0000")


def test_a_folder_that_is_not_there_is_reported_too(tmp_path: Path) -> None:
    report = check_dataset(tmp_path / "nowhere").to_json()
    assert (report["ok"], report["n_clips"], report["fps"]) == (False, 0, [None, None])
    assert report["problems"][0]["file"] == "FileList.csv"


def test_the_error_lists_every_problem_with_its_place(folder: Any) -> None:
    folder.change(0, "EF", "NaN")
    folder.change(5, "Split", "DEV")
    with pytest.raises(DatasetError) as caught:
        read_file_list(folder.write())
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("2 problems in ")
    assert lines[1].strip() == "FileList.csv row 2: EF 'NaN' is not a finite number"
    assert lines[2].strip() == "FileList.csv row 7: Split 'DEV' is not one of TRAIN, VAL, TEST"


# --- tracings


def test_tracings_keep_their_order_and_lose_the_suffix(folder: Any) -> None:
    write_tracings(folder.root, "0X0007.avi,51,18,48.5,88,4", "0X0007,40,20,60,21,4")
    table = read_tracings(folder.root)
    assert table["FileName"].tolist() == ["0X0007", "0X0007"]
    assert table["Y1"].tolist() == [18, 20]
    assert table["Frame"].tolist() == [4, 4]
    assert check_dataset(folder.root).ok


def test_every_bad_tracing_is_named(folder: Any) -> None:
    write_tracings(
        folder.root,
        "0X0007.avi,51,18,48,88,4",
        "0X0007.avi,51,inf,48,88,-1",
        "../x.avi,51,18,48,88,4",
        "0X0007.avi,51,18,48,88",
    )
    with pytest.raises(DatasetError) as caught:
        read_tracings(folder.root)
    whats = [(problem.row, problem.what) for problem in caught.value.problems]
    assert [row for row, _ in whats] == [3, 3, 4, 5]
    assert whats[1][1] == "Y1 'inf' is no finite number"
    assert "leaves the data folder" in whats[2][1]


def test_tracings_without_a_column_are_refused(folder: Any) -> None:
    write_tracings(folder.root, "a,1,2,3,4,5", header="FileName,X1,Y1,X2,y2,Frame")
    with pytest.raises(DatasetError, match="column 'Y2' is missing"):
        read_tracings(folder.root)


# --- real data


def test_the_full_real_table_has_its_known_splits(shared_dir: Path) -> None:
    table = read_file_list(
        shared_dir / "echonet-sample", find_videos=False, name="FileList.full.csv"
    )
    assert table["Split"].value_counts().to_dict() == {"TRAIN": 7465, "VAL": 1288, "TEST": 1277}
    assert (table["FPS"].min(), table["FPS"].max()) == (18, 138)


def test_the_real_sample_is_sound(shared_dir: Path) -> None:
    report = check_dataset(shared_dir / "echonet-sample")
    assert report.ok
    assert report.splits == {"TRAIN": 30, "VAL": 10, "TEST": 10}
    assert report.duration_s == (2.0, 2.0)
