"""``echocascade sample``: files in, marked clips, a strip and their provenance out."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from pydicom import examples
from typer.testing import CliRunner

from drawn import SECRET, fan, screen
from echocascade.cli import app
from echocascade.commands import sampling
from echocascade.data.marked import SYNTHETIC, read_mark
from echocascade.studies.stills import Ask


@pytest.fixture(scope="module")
def run(tiny_params, tiny_store, tmp_path_factory):
    """A run folder with trained stages and a chosen scale; no judge, no data."""
    from echocascade.cascade.training import train_stage

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    (folder / "tables").mkdir(parents=True)
    (folder / "params.yaml").write_text(tiny_params.dump_yaml())
    (folder / "tables" / "guidance.csv").write_text("scale,chosen\n1.0,False\n2.0,True\n")
    for index, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, index, tiny_store, folder / "checkpoints" / stage.name)
    return folder


@pytest.fixture
def image(tmp_path):
    path = tmp_path / f"{SECRET}.png"
    Image.fromarray(screen(fan(400)[0])).save(path)
    return path


def sample(*arguments: object):
    return CliRunner().invoke(app, ["sample", *map(str, arguments)])


def test_one_lvef_gives_the_file_that_was_named(run, image, tmp_path):
    out = tmp_path / "clip.mp4"
    done = sample(run, "--image", image, "--lvef", 30, "--out", out)
    assert done.exit_code == 0, done.output
    names = {p.name for p in tmp_path.iterdir()} - {image.name}
    assert names == {"clip.mp4", "clip-strip.png", "clip.json"}
    assert "LVEF 30 %, seed 0: no regressor in this run" in done.stdout


def test_lvefs_seeds_and_formats_multiply(run, image, tmp_path):
    given = ["--image", image, "--lvef", 30, "--lvef", 62.5, "--seed", 0, "--seed", 4]
    done = sample(run, *given, "--out", tmp_path / "a.gif", "--out", tmp_path / "a.npz")
    assert done.exit_code == 0, done.output
    clips = sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".gif", ".npz"))
    assert clips == sorted(
        f"a-lvef{lvef}-seed{seed}.{kind}"
        for lvef in ("30", "62.5") for seed in (0, 4) for kind in ("gif", "npz")
    )  # fmt: skip
    for name in clips:
        said = read_mark(tmp_path / name)
        assert SYNTHETIC in said
        assert re.search(r"LVEF asked (30|62.5) %, seed (0|4), run tiny", said)
    with Image.open(tmp_path / "a-strip.png") as strip:
        assert strip.height > 4 * 100 and SYNTHETIC in strip.info["Comment"]


def test_a_seed_gives_the_same_clip_in_any_batch(run, image, tmp_path):
    given = [run, "--image", image, "--out"]
    assert sample(*given, tmp_path / "a.npz", "--lvef", 30, "--lvef", 60).exit_code == 0
    assert sample(*given, tmp_path / "b.npz", "--lvef", 60).exit_code == 0
    both = np.load(tmp_path / "a-lvef60-seed0.npz")["frames"]
    alone = np.load(tmp_path / "b.npz")["frames"]
    assert np.abs(both.astype(int) - alone).max() <= 1  # float32 sums in another order


def test_the_provenance_says_all_but_whose_it_is(run, image, tmp_path):
    done = sample(run, "--image", image, "--lvef", 8, "--out", tmp_path / "c.avi", "--json")
    said = json.loads(done.stdout)
    assert said == json.loads((tmp_path / "c.json").read_text())
    assert said["synthetic"] is True and said["run"] == "tiny"
    assert said["guidance_scale"] == 2.0 and len(said["weights_sha256"]) == 64
    assert said["image"]["kind"] == "PNG" and len(said["image"]["sha256"]) == 64
    assert said["clips"][0]["lvef_percent"] == 8 and said["clips"][0]["lvef_regressor"] is None
    assert said["files"] == ["c.avi", "c-strip.png"]
    assert "evaluated between 15 and 85 % only" in said["warning"]
    assert SECRET not in done.stdout and str(tmp_path) not in done.stdout


def test_pydicoms_ultrasound_example_becomes_a_clip(run, tmp_path):
    """A frame of a cine in YBR_FULL_422 with a screen around it; no tag of it is copied."""
    path = examples.get_path("ybr_color")
    out = tmp_path / "clip.mp4"
    done = sample(run, "--image", path, "--frame", 7, "--lvef", 60, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["image"]["kind"], said["image"]["frame"], said["image"]["frames"]) == (
        "DICOM", 7, 30
    )  # fmt: skip
    data = examples.ybr_color
    told = done.stdout + (tmp_path / "clip.mp4").read_bytes().decode("latin-1")
    for tag in ("PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        value = str(data.get(tag) or "")
        assert not value or value not in told


def test_six_seconds(run, image, tmp_path):
    out = tmp_path / "long.npz"
    done = sample(run, "--image", image, "--lvef", 50, "--seconds", 6, "--out", out, "--json")
    assert np.load(out)["frames"].shape == (24, 16, 16, 1)
    said = json.loads(done.stdout)
    assert said["seconds"] == 6 and said["extended"] is True


def test_the_plan_samples_nothing(run, image, tmp_path):
    given = [run, "--image", image, "--lvef", 30, "--lvef", 60, "--out", tmp_path / "p.mp4"]
    planned = sample(*given, "--plan", "--json")
    assert json.loads(planned.stdout)["n_videos"] == 2
    assert "2 videos, 2 at a time" in sample(*given, "--plan").stdout
    assert [p.name for p in tmp_path.iterdir()] == [image.name]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--lvef", "120"], "LVEF 120 %: 5 to 95 % are accepted"),
        (["--lvef", "nan"], "LVEF nan %: 5 to 95 % are accepted"),
        (["--lvef", "30", "--seconds", "90"], "90 s: 2 to 20 s are accepted"),
        (["--lvef", "30", "--scalar", "EDV"], "--scalar EDV: NAME=VALUE with a number"),
        (["--lvef", "30", "--frame", "3"], "frame 3 was asked for; a PNG file has one, 0"),
    ],
)
def test_bad_requests_are_one_line_and_status_2(run, image, tmp_path, arguments, word):
    done = sample(run, "--image", image, "--out", tmp_path / "x.mp4", *arguments)
    assert done.exit_code == 2 and word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == [image.name]


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        (np.random.default_rng(0).integers(0, 255, (200, 300, 3)), "bright part is a rectangle"),
        (fan(40)[0], "at least 48 are needed"),
    ],
    ids=["a photograph", "too small"],
)
def test_a_wrong_picture_is_named_for_what_it_is(run, tmp_path, picture, word):
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "picture.png")
    given = ["--image", tmp_path / "picture.png", "--lvef", 30, "--out", tmp_path / "x.mp4"]
    done = sample(run, *given)
    assert done.exit_code == 2 and word in done.stderr and "Traceback" not in done.stderr


def test_names_are_checked_before_anything_is_done(run, image, tmp_path):
    given = [run, "--image", image, "--lvef", 30, "--out"]
    assert "a clip is written as .mp4" in sample(*given, tmp_path / "x.mov").stderr
    assert "no such folder" in sample(*given, tmp_path / "nowhere" / "x.mp4").stderr
    assert "no run 'nowhere'" in sample("nowhere", *given[1:], tmp_path / "x.mp4").stderr


def test_a_run_without_a_chosen_scale_says_what_to_do(run, image, tmp_path):
    import shutil

    bare = shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("tables"))
    given = [bare, "--image", image, "--lvef", 30, "--out", tmp_path / "x.npz"]
    done = sample(*given)
    assert (
        done.exit_code == 2 and "`echocascade guidance RUN` does, or give --guidance" in done.stderr
    )
    assert sample(*given, "--guidance", 1.5).exit_code == 0


def test_every_lvef_with_every_seed_once():
    asked = sampling.Asked(None, 0, [30, 60, 30], [1, 0, 1], [])
    assert asked.asks == [Ask(30, 1), Ask(60, 1), Ask(30, 0), Ask(60, 0)]


def test_explore_prints_a_secret_link_and_serves_it(run):
    """As a user meets it, in a process of its own; Ctrl-C ends it."""
    command = [sys.executable, "-m", "echocascade.cli", "explore", str(run), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        printed = ""
        while "stop with Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        link = re.search(r"http://127\.0\.0\.1:\d+/e/[\w-]{43}", printed)[0]
        with urllib.request.urlopen(f"{link}/run") as answer:
            assert json.load(answer)["run"] == "tiny"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{link[:-1]}/run")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, -signal.SIGINT, 130)


def test_explore_of_no_run_is_one_line(run):
    done = CliRunner().invoke(app, ["explore", "nowhere"])
    assert done.exit_code == 2 and "no run 'nowhere'" in done.stderr
