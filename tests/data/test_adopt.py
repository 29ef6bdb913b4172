"""A hospital's own clips become a data set that everything here reads, without their names."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from drawn import SECRET, fan, screen, write_dicom
from echocascade.cli import app
from echocascade.data.adopt import AdoptError, adopt
from echocascade.data.echonet import check_dataset, read_file_list
from echocascade.data.video import read_frames, write_avi, write_mp4


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six clips of screens in three formats, two of them of one patient, and one that is none."""
    folder = tmp_path_factory.mktemp("hospital")
    for i in range(6):
        shown = np.stack([screen(frame) for frame in fan(300, seed=i, n_frames=8)])
        if i % 3 == 0:
            write_avi(folder / f"{SECRET}{i}.avi", shown, 30)
        elif i % 3 == 1:
            write_mp4(folder / f"{SECRET}{i}.mp4", shown, 25)
        else:
            write_dicom(folder / f"{SECRET}{i}.dcm", shown, "RGB", FrameTime="40.0")
    write_avi(folder / "black.avi", np.zeros((8, 64, 64, 1), np.uint8), 30)
    return folder


def labels_of(clips, path, **columns: list):
    files = sorted(p.name for p in clips.iterdir() if SECRET in p.name)
    table = pd.DataFrame({"File": files, "EF": [20 + 10 * i for i in range(6)], **columns})
    table.to_csv(path, index=False)
    return path


def test_own_clips_become_a_sound_data_set(clips, tmp_path):
    out = tmp_path / "set"
    done = adopt(labels_of(clips, tmp_path / "l.csv"), clips, out)
    assert done.n_clips == 6 and not done.problems and not done.volumes_known
    report = check_dataset(out, workers=1)
    assert report.ok and report.n_clips == 6
    table = read_file_list(out)
    assert table["EF"].tolist() == [20, 30, 40, 50, 60, 70]
    assert table["FPS"].tolist() == [30, 25, 25, 30, 25, 25]
    frames = read_frames(table["path"][2], 1)
    assert frames.shape == (8, 112, 112, 1) and frames.std() > 10


def test_no_name_goes_along(clips, tmp_path):
    adopt(labels_of(clips, tmp_path / "l.csv"), clips, tmp_path / "set")
    for file in (tmp_path / "set").rglob("*"):
        assert SECRET not in file.name
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()


def test_all_clips_of_a_patient_are_in_one_split(clips, tmp_path):
    patients = ["a", "b", "a", "c", "b", "a"]
    for seed in range(5):
        out = tmp_path / f"set{seed}"
        adopt(labels_of(clips, tmp_path / "l.csv", Patient=patients), clips, out, seed=seed)
        splits = read_file_list(out)["Split"].groupby(patients).nunique()
        assert splits.max() == 1


def test_splits_rates_and_volumes_of_the_table_are_kept(clips, tmp_path):
    columns = {"Split": ["train", "VAL", "TEST"] * 2, "FPS": [50] * 6,
               "ESV": [60] * 6, "EDV": [120] * 6}  # fmt: skip
    done = adopt(labels_of(clips, tmp_path / "l.csv", **columns), clips, tmp_path / "set")
    table = read_file_list(tmp_path / "set")
    assert table["Split"].tolist() == ["TRAIN", "VAL", "TEST"] * 2
    assert set(table["FPS"]) == {50} and set(table["EDV"]) == {120} and done.volumes_known


def test_what_cannot_be_used_is_listed_and_stops_unless_skipped(clips, tmp_path):
    table = pd.DataFrame({
        "File": [f"{SECRET}0.avi", "black.avi", "nowhere.avi", "../out.avi", f"{SECRET}1.mp4"],
        "EF": ["55", "40", "50", "50", "abc"],
    })  # fmt: skip
    table.to_csv(tmp_path / "l.csv", index=False)
    done = adopt(tmp_path / "l.csv", clips, tmp_path / "set")
    assert done.n_clips == 1 and not (tmp_path / "set" / "FileList.csv").exists()
    said = {problem.row: problem.what for problem in done.problems}
    assert "no cardiac ultrasound sector" in said[3] and "no such file" in said[4]
    assert "leads out of the folder" in said[5] and said[6] == "EF 'abc' is not a number"
    runner = CliRunner()
    command = ["data", "import", str(tmp_path / "l.csv"), str(clips), str(tmp_path / "cli")]
    stopped = runner.invoke(app, command)
    assert stopped.exit_code == 2 and "4 problems; --skip" in stopped.stderr
    assert runner.invoke(app, [*command, "--skip"]).exit_code == 0
    assert len(read_file_list(tmp_path / "cli")) == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("Name,EF\na,50\n", "column File is missing; there are Name, EF"),
        ("File,EF\n", "no row in it"),
        ("File,EF,Split\na.avi,50,TRAINING\n", "'TRAINING' is not one of TRAIN, VAL, TEST"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path, content, word):
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(AdoptError, match=word):
        adopt(tmp_path / "l.csv", tmp_path, tmp_path / "set")


def test_a_data_set_is_not_written_over(clips, tmp_path):
    adopt(labels_of(clips, tmp_path / "l.csv"), clips, tmp_path / "set")
    with pytest.raises(AdoptError, match="there is a data set already"):
        adopt(tmp_path / "l.csv", clips, tmp_path / "set")
