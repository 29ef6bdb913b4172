"""The phantom: known hearts, the real layout, the same bytes every time."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from echocascade.data.echonet import check_dataset
from echocascade.data.phantom import avi, dataset, make_phantom, physiology, render_clip, statistics
from echocascade.data.phantom import machine as scanner_module
from echocascade.data.phantom.canvas import TEXEL, U_LOW, V_LOW
from echocascade.data.phantom.clip import ClipOptions, describe_clip, draw_scene
from echocascade.data.phantom.motion import material_coordinates
from echocascade.data.phantom.scene import fine_map, texture_maps
from echocascade.data.video import read_video

SHORT = (0.8, 1.0)
DIGITS = 1e-6  # both tables print eight decimals


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "EchoNet-Dynamic"
    return make_phantom(root, 8, seed=5, lvef="uniform", duration_s=SHORT, workers=1)


def digest(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def disks(rows: pd.DataFrame) -> float:
    """Method of disks, written here once more from its definition."""
    size = np.hypot(rows["X2"] - rows["X1"], rows["Y2"] - rows["Y1"]).to_numpy()
    return float(np.pi / 4 * np.sum(size[1:] ** 2) * size[0] / (len(size) - 1))


def test_lvef_of_the_tracings_is_the_lvef_of_the_file_list(phantom: Path) -> None:
    clips = pd.read_csv(phantom / "FileList.csv").set_index("FileName")
    tracings = pd.read_csv(phantom / "VolumeTracings.csv")
    assert set(tracings["FileName"]) == {f"{name}.avi" for name in clips.index}
    for name, rows in tracings.groupby("FileName"):
        (ed, edv), (es, esv) = ((frame, disks(part)) for frame, part in rows.groupby("Frame"))
        clip = clips.loc[str(name).removesuffix(".avi")]
        assert rows.groupby("Frame").size().tolist() == [21, 21]
        assert 0 <= ed < es < clip["NumberOfFrames"]
        assert 100 * (1 - esv / edv) == pytest.approx(clip["EF"], abs=DIGITS)
        assert 100 * (1 - clip["ESV"] / clip["EDV"]) == pytest.approx(clip["EF"], abs=DIGITS)


def test_tracings_have_the_long_axis_first_and_disks_across_it(phantom: Path) -> None:
    rows = pd.read_csv(phantom / "VolumeTracings.csv").iloc[:21]
    start, end = rows[["X1", "Y1"]].to_numpy(), rows[["X2", "Y2"]].to_numpy()
    axis = (end - start)[0]
    assert axis[1] > 30, "the long axis runs from the apex (top) to the base"
    np.testing.assert_allclose((end - start)[1:] @ axis, 0, atol=1e-5)
    heights = ((start + end)[1:] / 2 - start[0]) @ axis / (axis @ axis)
    np.testing.assert_allclose(heights, (np.arange(20) + 0.5) / 20, atol=1e-6)


def cavity_area(seed: int, index: int) -> tuple[float, float, float]:
    """Cavity pixels drawn at end-diastole and end-systole, and the area ratio of the tracings."""
    scene, rhythm, _, _ = draw_scene(seed, index, ClipOptions("uniform", duration_s=SHORT))
    # A wider sector than real, so that its edge cuts nothing off.
    scene = replace(scene, scanner=replace(scene.scanner, half_angle=1.2))
    areas = []
    for frame in (rhythm.ed_frame, rhythm.es_frame):
        texels = fine_map(texture_maps(scene, slice(frame, frame + 1))[0])
        u, v = texels[..., 0] * TEXEL + U_LOW, texels[..., 1] * TEXEL + V_LOW
        x = v / scene.ventricle.length
        inside = (x > 0) & (x < 1) & (u**2 < scene.ventricle.radius_squared(np.clip(x, 0, 1)))
        maps = scanner_module.scan_maps(scene.scanner)
        picture = cv2.remap(inside.astype(np.uint8) * 255, *maps, cv2.INTER_LINEAR)
        areas.append(float(picture.sum() / 255.0))
    lines = describe_clip(seed, index, ClipOptions("uniform", duration_s=SHORT)).tracings
    size = np.hypot(lines[..., 2] - lines[..., 0], lines[..., 3] - lines[..., 1])
    traced = size[:, 1:].mean(1) * size[:, 0]
    return areas[0], areas[1], float(traced[1] / traced[0])


@pytest.mark.parametrize("index", range(12))
def test_the_drawn_cavity_shrinks_as_the_tracings_say(index: int) -> None:
    ed, es, traced = cavity_area(3, index)
    assert 200 < ed < 2500
    # The warp is interpolated from every fourth sample: a few hundredths of a pixel at the wall.
    assert es / ed == pytest.approx(traced, abs=0.02)


def test_material_endocardium_lies_on_the_traced_disks() -> None:
    """The inverse warp takes the ends of the disks back to the end-diastolic wall."""
    scene, rhythm, _, _ = draw_scene(1, 4, ClipOptions("uniform", duration_s=SHORT))
    facts = describe_clip(1, 4, ClipOptions("uniform", duration_s=SHORT))
    ends = facts.tracings[1, 1:, :].reshape(20, 2, 2).reshape(40, 2).T.astype(np.float32)
    frame = slice(rhythm.es_frame, rhythm.es_frame + 1)
    u, v = material_coordinates(
        scene.ventricle, scene.right, scene.pose.at(frame), scene.c[frame], ends
    )
    wall = np.sqrt(scene.ventricle.radius_squared(v[0] / scene.ventricle.length))
    np.testing.assert_allclose(np.abs(u[0]), wall, atol=0.15)  # table of 4096 heights near the apex


def test_layout_is_that_of_echonet_dynamic(phantom: Path) -> None:
    table = pd.read_csv(phantom / "FileList.csv")
    columns = "FileName EF ESV EDV FrameHeight FrameWidth FPS NumberOfFrames Split"
    assert " ".join(table.columns) == columns
    assert table["Split"].value_counts().to_dict() == {"TRAIN": 6, "VAL": 1, "TEST": 1}
    tracings = pd.read_csv(phantom / "VolumeTracings.csv")
    assert " ".join(tracings.columns) == "FileName X1 Y1 X2 Y2 Frame"
    report = check_dataset(phantom)
    assert report.ok, report
    clip = table.iloc[0]
    frames = read_video(phantom / "Videos" / f"{clip['FileName']}.avi")
    assert frames.shape == (clip["NumberOfFrames"], 112, 112, 3)


def test_written_frames_are_the_rendered_frames(phantom: Path) -> None:
    clip = render_clip(5, 0, lvef="uniform", duration_s=SHORT)
    read = read_video(phantom / "Videos" / f"{dataset.clip_name(5, 0)}.avi").astype(int)
    assert np.abs(read[..., :1] - clip.frames).mean() < 2  # JPEG at quality 95


def test_facts_without_pixels_equal_those_of_the_rendered_clip() -> None:
    facts, clip = (
        describe_clip(2, 9, ClipOptions(duration_s=SHORT)),
        render_clip(2, 9, duration_s=SHORT),
    )
    assert facts.lvef_percent == clip.lvef_percent and facts.edv_ml == clip.edv_ml
    np.testing.assert_array_equal(facts.tracings, clip.tracings)
    assert clip.frames.shape == (facts.n_frames, 112, 112, 1) and clip.frames.dtype == np.uint8


def test_same_seed_same_bytes_for_any_number_of_workers(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_MIN_CLIPS_PER_WORKER", 1)
    again = make_phantom(tmp_path / "two", 8, seed=5, lvef="uniform", duration_s=SHORT, workers=2)
    assert digest(again) == digest(phantom)


def test_another_seed_is_another_phantom() -> None:
    one, other = (render_clip(seed, 0, duration_s=SHORT) for seed in (0, 1))
    assert one.lvef_percent != other.lvef_percent


def test_a_half_made_folder_is_completed_and_a_finished_one_reused(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"seed": 5, "lvef": "uniform", "duration_s": SHORT, "workers": 1}
    root = make_phantom(tmp_path / "again", 8, **arguments)
    kept = sorted((root / "Videos").iterdir())
    for lost in (kept.pop(2), kept.pop(4), root / "FileList.csv", root / "VolumeTracings.csv"):
        lost.unlink()
    times = [path.stat().st_mtime_ns for path in kept]
    calls: list[tuple[int, int]] = []
    make_phantom(
        root, 8, progress=lambda done, total, note: calls.append((done, total)), **arguments
    )
    assert calls == [(7, 8), (8, 8)]
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert digest(root) == digest(phantom)

    def refuse(*_: object) -> None:
        raise AssertionError("a finished phantom was made again")

    monkeypatch.setattr(dataset, "_make", refuse)
    assert make_phantom(root, 8, **arguments) == root


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"lvef": "echonet"}, "lvef"),
        ({"duration_s": (0.8, 1.1)}, "duration_s"),
        ({"clips": 9}, "clips"),
    ],
)
def test_other_arguments_in_the_same_folder_are_an_error(
    phantom: Path, changed: dict, named: str
) -> None:
    arguments = {"clips": 8, "seed": 5, "lvef": "uniform", "duration_s": SHORT, **changed}
    with pytest.raises(ValueError, match=named):
        make_phantom(phantom, arguments.pop("clips"), workers=1, **arguments)


def test_another_version_in_the_same_folder_is_an_error(phantom: Path, tmp_path: Path) -> None:
    manifest = json.loads((phantom / dataset.MANIFEST).read_text())
    (tmp_path / dataset.MANIFEST).write_text(json.dumps(manifest | {"version": 0}))
    with pytest.raises(ValueError, match="version 0"):
        make_phantom(tmp_path, 8, seed=5, lvef="uniform", duration_s=SHORT)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "FileList.csv").write_text("a real data set")
    with pytest.raises(ValueError, match="not empty"):
        make_phantom(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["FileList.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips": 0}, "clips 0"),
        ({"clips": 1, "workers": 0}, "workers 0"),
        ({"clips": 1, "lvef": "echonett"}, "echonett.*echonet, uniform, mixed"),
        ({"clips": 1, "lvef": "mixed", "uniform_share": 1.5}, "1.5"),
        ({"clips": 1, "duration_s": (2.0, 1.0)}, "2.0, 1.0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_phantom(tmp_path / "new", arguments.pop("clips"), **arguments)
    assert not (tmp_path / "new").exists()


def test_lvef_fps_and_duration_are_distributed_like_the_real_table() -> None:
    """Quantiles of the 10,030 rows of EchoNet-Dynamic; 3 points cover 4,000 draws and the fit."""
    rng = np.random.default_rng(0)
    lvef = [physiology.draw_lvef(rng, "echonet") for _ in range(4000)]
    expected = {5: 27.9, 25: 51.6, 50: 59.2, 75: 64.0, 95: 69.1}
    np.testing.assert_allclose(np.percentile(lvef, list(expected)), list(expected.values()), atol=3)
    fps = np.array([physiology.draw_fps(rng) for _ in range(4000)])
    assert fps.min() >= 18 and fps.max() <= 138 and 0.75 < (fps == 50).mean() < 0.85
    seconds = [physiology.draw_duration_s(rng) for _ in range(4000)]
    assert min(seconds) >= 0.72 and max(seconds) <= 20.04
    # A symmetric log-logistic: its upper tail is a little longer than the real one.
    np.testing.assert_allclose(np.percentile(seconds, [5, 50, 95]), [2.18, 3.38, 4.88], rtol=0.08)


def test_lvef_rules_keep_their_ranges() -> None:
    rng = np.random.default_rng(0)
    uniform = np.array([physiology.draw_lvef(rng, "uniform") for _ in range(2000)])
    assert uniform.min() >= 10 and uniform.max() <= 90
    assert uniform.std() == pytest.approx(80 / 12**0.5, rel=0.05)
    mixed = np.array([physiology.draw_lvef(rng, "mixed", 0.6) for _ in range(4000)])
    # Below 20 %: 0.6 of the uniform's eighth; the real table has under 2 % there.
    assert (mixed < 20).mean() == pytest.approx(0.6 / 8 + 0.4 * 0.017, abs=0.015)


@pytest.mark.parametrize("fps", [18, 50, 138])
def test_ed_and_es_fall_on_frames_and_eight_fps_misses_little(fps: int) -> None:
    lost = []
    for seed in range(40):
        n_frames = int(3.0 * fps)
        rhythm = physiology.draw_rhythm(np.random.default_rng(seed), n_frames, fps, 55.0)
        t = np.arange(n_frames) / fps
        volume = physiology.volume_curve(rhythm, t)
        assert volume[rhythm.ed_frame] == 1.0 and volume[rhythm.es_frame] == 0.0
        assert np.all((volume >= 0) & (volume <= 1))
        coarse = np.interp(np.arange(0, t[-1], 1 / 8), t, volume)
        lost.append(coarse.min() + 1 - coarse.max())
    assert np.mean(lost) < 0.04


def test_the_valve_is_shut_in_systole_and_opens_in_diastole() -> None:
    rhythm = physiology.draw_rhythm(np.random.default_rng(1), 150, 50, 60.0)
    t = np.arange(150) / 50
    volume, opening = physiology.volume_curve(rhythm, t), physiology.valve_curve(rhythm, t)
    emptying = np.diff(volume) < -1e-6
    assert np.all(opening[1:][emptying] < 0.05)
    assert opening.max() > 0.8


@pytest.mark.parametrize("index", range(6))
def test_the_cavity_is_darker_than_its_septum_and_inside_the_sector(index: int) -> None:
    scene, rhythm, _, _ = draw_scene(8, index, ClipOptions(duration_s=SHORT))
    frames = render_clip(8, index, duration_s=SHORT).frames[..., 0].astype(float)
    lines = describe_clip(8, index, ClipOptions(duration_s=SHORT)).tracings[0, 4:18]
    start, end = lines[:, :2], lines[:, 2:]
    across = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    picture = cv2.GaussianBlur(frames[rhythm.ed_frame], (0, 0), 1.0)

    def grey(points: np.ndarray) -> float:
        x, y = np.clip(np.round(points).astype(int), 0, 111).T
        return float(picture[y, x].mean())

    cavity = grey(start + 0.35 * (end - start))
    septum = grey(start - across * scene.right.septum / 2)
    assert septum > cavity + 15


def test_avi_container_holds_every_frame_at_its_rate(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    (tmp_path / "a.avi").write_bytes(avi.avi_bytes(jpegs, 37, 16, 16))
    capture = cv2.VideoCapture(str(tmp_path / "a.avi"))
    assert capture.get(cv2.CAP_PROP_FPS) == 37 and capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert len(read_video(tmp_path / "a.avi")) == 5


def test_speckle_width_of_blurred_noise_is_that_of_the_blur() -> None:
    """White noise under a Gaussian of variance 1 px^2, less its mean over variance 9."""
    noise = np.random.default_rng(0).standard_normal((6, 112, 112)).astype(np.float32)
    clip = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in noise]) * 60 + 128
    found = statistics.speckle(np.clip(clip, 0, 255).astype(np.uint8), "far")
    # h = g_1 - g_10, so h * h = g_2 - 2 g_11 + g_20, where g_v is a 2-D Gaussian of variance v.
    lag = np.linspace(0, 3, 3001)
    shape = np.zeros_like(lag)
    for share, variance in ((1, 2), (-2, 11), (1, 20)):
        shape += share / variance * np.exp(-(lag**2) / (2 * variance))
    expected = 2 * lag[np.argmax(shape < shape[0] / 2)]
    # Bilinear resampling to the wedge widens by up to a tenth of a pixel.
    assert found.lateral_width == pytest.approx(expected, abs=0.15)
    assert found.axial_width == pytest.approx(expected, abs=0.15)


def test_frame_correlation_is_one_for_a_still_and_zero_for_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 112, 112), dtype=np.uint8)
    still = np.repeat(noise[:1], 8, axis=0)
    np.testing.assert_allclose(statistics.frame_correlation(still), 1.0, atol=1e-6)
    np.testing.assert_allclose(statistics.frame_correlation(noise), 0.0, atol=0.03)


def test_the_heart_does_not_light_up_as_it_contracts() -> None:
    """The brightest hundredth of the pixels, over the frames of two seconds: in 50 real clips its
    95th percentile is 1.10 times its 5th (sd 0.06)."""
    found = []
    for index in range(12):
        frames = render_clip(3, index, lvef="uniform", duration_s=(2.0, 2.2)).frames
        bright = np.percentile(frames.reshape(len(frames), -1), 99, axis=1)
        found.append(np.percentile(bright, 95) / np.percentile(bright, 5))
    assert 1.02 < np.mean(found) < 1.16


def test_real_clips_and_phantom_have_like_statistics(shared_dir: Path) -> None:
    """A third of the pixels near black, speckle that widens with depth and decorrelates."""
    videos = sorted((shared_dir / "echonet-sample" / "Videos").glob("*.avi"))[:16]
    real = pd.DataFrame([statistics.clip_statistics(read_video(path)) for path in videos]).mean()
    rows = []
    for index in range(16):
        clip = render_clip(11, index, duration_s=(2.0, 2.1))
        at = np.round(np.arange(16) * clip.fps / 8).astype(int)
        rows.append(statistics.clip_statistics(clip.frames[np.minimum(at, len(clip.frames) - 1)]))
    ours = pd.DataFrame(rows).mean()
    assert ours["intensity.black"] == pytest.approx(real["intensity.black"], abs=0.15)
    assert ours["intensity.mean"] == pytest.approx(real["intensity.mean"], rel=0.35)
    for band in ("near", "far"):
        assert ours[f"{band}.lateral_width"] == pytest.approx(
            real[f"{band}.lateral_width"], rel=0.25
        )
    assert ours["far.lateral_width"] > 1.3 * ours["near.lateral_width"]
    for lag in ("125ms", "500ms"):
        name = f"frame_correlation.{lag}"
        assert ours[name] == pytest.approx(real[name], abs=0.12)
