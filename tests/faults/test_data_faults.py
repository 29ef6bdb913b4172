"""Rows D01 to D11 of the fault table, planted in a copy of a small phantom, found in one pass.

D12, a killed reader process, stands in test_training_faults.py.
"""

import json
import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from echocascade.cli import app
from echocascade.data.clips import ClipStore
from echocascade.data.echonet import check_dataset, read_file_list
from echocascade.data.phantom import make_phantom
from echocascade.data.video import read_frames, write_avi

N_CLIPS = 14


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """14 phantom clips of three quarters of a second."""
    root = tmp_path_factory.mktemp("sound") / "phantom"
    return make_phantom(root, N_CLIPS, duration_s=(0.7, 0.8), workers=1)


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "copy")


def rows_of(root):
    return [line.split(",") for line in (root / "FileList.csv").read_text().splitlines()]


def write_rows(root, rows):
    (root / "FileList.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


def video(root, row):
    return root / "Videos" / f"{row[0]}.avi"


def test_d01_to_d10_the_check_finds_every_planted_fault_in_one_pass(copy, tmp_path, tally):
    rows = rows_of(copy)
    header, clip = rows[0], rows[1:]
    whole = video(copy, clip[0]).read_bytes()
    planted = set()

    def bad_video(i, content):
        video(copy, clip[i]).write_bytes(content)
        planted.add((f"Videos/{clip[i][0]}.avi", i + 2))

    def bad_row(cells):
        rows.append(cells)
        planted.add(("FileList.csv", len(rows)))

    bad_video(0, whole[: len(whole) // 2])  # D01
    bad_video(1, whole[:3000] + bytes(b ^ 0xFF for b in whole[3000:5000]) + whole[5000:])  # D02
    bad_video(2, b"")
    bad_video(3, b"no pictures in here")
    bad_video(4, whole[: whole.index(b"movi") + 4])  # D03: no frame
    write_avi(video(copy, clip[5]), np.zeros((1, 112, 112, 1), np.uint8), 50)
    write_avi(video(copy, clip[6]), np.zeros((40, 112, 120, 1), np.uint8), 50)  # D05
    planted |= {(f"Videos/{clip[i][0]}.avi", i + 2) for i in (5, 6)}
    video(copy, clip[7]).unlink()  # D09, D11
    video(copy, clip[7]).symlink_to("/etc/passwd")
    planted.add((f"Videos/{clip[7][0]}.avi", 9))
    for i, cell in ((8, "NaN"), (9, "-1"), (10, "180"), (11, "high")):  # D08
        clip[i][header.index("EF")] = cell
        planted.add(("FileList.csv", i + 2))
    bad_row(list(clip[12]))  # D07
    bad_row([*clip[13][:-1], "TEST" if clip[13][-1] != "TEST" else "TRAIN"])
    names = ("../../etc/passwd", "/etc/passwd", "a/../b", "n\0ul", "=1+1", "x" * 5000)  # D09, D10
    for name in names:
        bad_row([name, *clip[12][1:]])
    write_rows(copy, rows)

    run = CliRunner().invoke(app, ["data", "check", str(copy), "--json"])

    assert run.exit_code == 2, run.output
    found = json.loads(run.stdout)
    assert {(p["file"], p["row"]) for p in found["problems"]} == planted
    assert found["n_clips"] == 2
    tally["planted faults of data"] += len(planted)


def test_d04_a_rate_that_is_not_the_tables_is_noted_and_the_tables_is_used(copy, tmp_path):
    rows = rows_of(copy)
    n_frames = int(rows[1][7])
    write_avi(video(copy, rows[1]), read_frames(video(copy, rows[1]), 1), 5)
    report = check_dataset(copy, workers=1)
    assert report.ok
    assert [(note.file, note.row) for note in report.notes] == [(f"Videos/{rows[1][0]}.avi", 2)]
    store = ClipStore.build(copy, tmp_path / "store", size=16, fps=8, workers=1)
    fps = float(rows[1][6])
    assert store.table["source_fps"][0] == fps
    assert abs(store.n_frames(0) - n_frames * 8 / fps) <= 1


def test_d06_the_header_may_have_bom_crlf_and_more_columns_but_no_other_case(copy):
    rows = rows_of(copy)
    expected = read_file_list(copy)
    text = "\r\n".join(",".join([*row, "more"]) for row in rows) + "\r\n"
    (copy / "FileList.csv").write_bytes(text.encode("utf-8-sig"))
    assert read_file_list(copy).equals(expected)
    write_rows(copy, [[cell.lower() for cell in rows[0]], *rows[1:]])
    whats = [problem.what for problem in check_dataset(copy, workers=1).problems]
    assert any("column 'EF' is missing (found 'filename', 'ef'" in what for what in whats)


def test_d09_nothing_outside_the_folder_is_opened(copy, tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("FileName,X1,Y1,X2,Y2,Frame\n")
    for name in ("FileList.csv", "VolumeTracings.csv"):
        (copy / name).unlink()
        (copy / name).symlink_to(secret)
    opened, watching = [], [True]
    sys.addaudithook(lambda event, args: event == "open" and watching and opened.append(args[0]))
    try:
        problems = check_dataset(copy, workers=1).problems
    finally:
        watching.clear()
    assert {(p.file, p.what) for p in problems} == {
        (name, "is a link that leaves the data folder")
        for name in ("FileList.csv", "VolumeTracings.csv")
    }
    assert not [path for path in opened if "secret" in str(path) or str(copy) in str(path)]


def test_d10_two_spellings_of_one_name_are_one_clip(copy):
    rows = rows_of(copy)
    for name in ("caf\u00e9", "cafe\u0301"):
        shutil.copy(video(copy, rows[1]), copy / "Videos" / f"{name}.avi")
        rows.append([name, *rows[1][1:]])
    write_rows(copy, rows)
    (problem,) = check_dataset(copy, workers=1).problems
    assert (problem.file, problem.row) == ("FileList.csv", N_CLIPS + 3)
    assert f"already in row {N_CLIPS + 2}" in problem.what


def test_d11_a_file_that_goes_while_others_are_read_is_named(copy):
    rows = rows_of(copy)
    gone = video(copy, rows[N_CLIPS])
    report = check_dataset(copy, workers=1, progress=lambda *_: gone.unlink(missing_ok=True))
    (problem,) = report.problems
    assert (problem.file, problem.row) == (f"Videos/{gone.name}", N_CLIPS + 1)
    assert "no such file" in problem.what
