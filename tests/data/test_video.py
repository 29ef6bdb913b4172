from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echocascade.data.video import (
    VideoError,
    encode_mp4,
    frame_strip,
    read_frames,
    read_video,
    resample_time,
    resize,
    set_channels,
    to_model,
    to_uint8,
    video_fps,
    write_avi,
    write_mp4,
)

fps_values = st.floats(min_value=5, max_value=140)
lengths = st.integers(min_value=2, max_value=80)


def moving_disk(n_frames: int, size: int = 32) -> np.ndarray:
    """A soft bright disk that moves to the right, (T, size, size, 1)."""
    t, y, x = np.meshgrid(np.arange(n_frames), *[np.arange(size)] * 2, indexing="ij")
    squared = (x - 8 - 0.5 * t) ** 2 + (y - size / 2) ** 2
    return np.rint(20 + 200 * np.exp(-squared / 40)).astype(np.uint8)[..., None]


def avi(path: Path, n_frames: int = 12, fps: float = 25) -> bytes:
    write_avi(path, moving_disk(n_frames), fps)
    return path.read_bytes()


# --- resampling in time


@given(value=st.integers(0, 255), n=lengths, source=fps_values, target=fps_values)
def test_a_constant_clip_stays_constant_at_any_rate(
    value: int, n: int, source: float, target: float
) -> None:
    frames = np.full((n, 2, 2, 1), value, np.uint8)
    assert np.unique(resample_time(frames, source, target)).tolist() == [value]


@given(n=lengths, source=fps_values, target=fps_values, slope=st.floats(-3, 3))
def test_a_linear_ramp_in_time_stays_linear_to_its_end(
    n: int, source: float, target: float, slope: float
) -> None:
    ramp = slope * np.arange(n, dtype=np.float64)[:, None] / source
    resampled = resample_time(ramp, source, target)[:, 0]
    # Rounding of the position k * source / target, n up to 80 frames, slope up to 3 a second.
    np.testing.assert_allclose(resampled, slope * np.arange(len(resampled)) / target, atol=1e-9)


@given(n=lengths, source=fps_values, target=fps_values)
def test_resampling_keeps_the_duration_within_one_frame_and_invents_nothing_after_the_end(
    n: int, source: float, target: float
) -> None:
    last = (len(resample_time(np.zeros((n, 1)), source, target)) - 1) / target
    end = (n - 1) / source
    assert last <= end + 1e-5 / target  # the margin by which a frame at the very end is kept
    assert end - last < 1 / target


@given(n=lengths, rate=fps_values)
def test_first_frame_is_kept_and_the_same_rate_changes_nothing(n: int, rate: float) -> None:
    frames = moving_disk(n, 8)
    assert np.array_equal(resample_time(frames, rate, rate), frames)
    assert np.array_equal(resample_time(frames, rate, 31.7)[0], frames[0])


def test_midway_between_two_frames_is_their_rounded_mean() -> None:
    frames = np.array([10, 21, 40], np.uint8).reshape(3, 1, 1, 1)
    # 15.5 and 30.5 are rounded to even, as NumPy and IEEE 754 do
    assert resample_time(frames, 10, 20).ravel().tolist() == [10, 16, 21, 30, 40]


def test_sixteen_frames_at_8_fps_become_61_at_32_and_every_fourth_is_the_original() -> None:
    frames = moving_disk(16)
    dense = resample_time(frames, 8, 32)
    assert len(dense) == 61
    assert np.array_equal(dense[::4], frames)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_no_rate_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match=f"target_fps is {fps}"):
        resample_time(moving_disk(3), 10, fps)


# --- space and colour


def test_shrinking_averages_areas() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    mean = frames.reshape(3, 16, 2, 16, 2, 1).mean((2, 4))
    # OpenCV rounds the mean of four to nearest, halves either way
    assert np.abs(resize(frames, 16) - mean).max() <= 0.5


def test_enlarging_is_linear_and_keeps_constants() -> None:
    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8)[:, None], (2, 16, 16))[..., None]
    large = resize(ramp.copy(), 32)
    inner = large[0, 1:-1, 0, 0].astype(int)
    assert large.shape == (2, 32, 32, 1)
    assert np.abs(np.diff(inner) - 5).max() <= 1  # 5 grey levels a row, rounded
    assert np.unique(resize(np.full((1, 7, 7, 3), 99, np.uint8), 20)).tolist() == [99]


def test_frames_that_are_not_square_are_refused_not_squeezed() -> None:
    with pytest.raises(ValueError, match="20 x 16 pixels; square frames are needed"):
        resize(np.zeros((1, 16, 20, 1), np.uint8), 8)


def test_grey_to_rgb_and_back_is_exact() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(set_channels(set_channels(grey, 3), 1), grey)


def test_grey_is_the_luma_of_jpeg() -> None:
    primaries = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8).reshape(1, 1, 3, 3)
    assert set_channels(primaries, 1).ravel().tolist() == [76, 150, 29]  # .299, .587, .114 of 255


def test_strip_shows_first_to_last_frame_side_by_side() -> None:
    frames = moving_disk(9, 8)
    strip = frame_strip(frames, 3)
    assert strip.shape == (8, 24, 3)
    for place, frame in zip(range(0, 24, 8), frames[[0, 4, 8]], strict=True):
        assert np.array_equal(strip[:, place : place + 8], np.repeat(frame, 3, axis=-1))


# --- frames and model input


@pytest.mark.parametrize("shape", [(2, 16, 16, 1), (3, 2, 16, 8, 3)])
def test_every_grey_level_survives_the_way_into_the_model_and_back(shape: tuple[int, ...]) -> None:
    frames = np.resize(np.arange(256, dtype=np.uint8), shape)
    video = to_model(frames)
    batch = shape[:-4]
    assert video.shape == (*batch, shape[-1], *shape[-4:-1])
    assert (float(video.min()), float(video.max())) == (-1, 1)
    assert np.array_equal(to_uint8(video), frames)
    assert torch.equal(to_model(torch.from_numpy(frames)), video)


def test_bfloat16_keeps_every_grey_level_within_its_precision() -> None:
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    back = to_uint8(to_model(frames).bfloat16())
    # bfloat16 has 8 bits of precision: at most 2^-9 of 1, a quarter of a grey level, is lost
    assert np.abs(back.astype(int) - frames).max() <= 1


def test_overshoot_is_clipped_and_nan_is_refused() -> None:
    video = torch.tensor([-1.5, 1.5]).reshape(1, 2, 1, 1)
    assert to_uint8(video).ravel().tolist() == [0, 255]
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(video * torch.nan)


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2, 1), np.float32), np.zeros((2, 2, 1), np.uint8)])
def test_what_is_no_clip_is_refused_with_what_was_found(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(T, H, W, C\)"):
        to_model(bad)


# --- files


def test_avi_round_trip_keeps_the_picture_and_the_rate(tmp_path: Path) -> None:
    frames = moving_disk(20)
    write_avi(tmp_path / "a.avi", frames, 47.5)
    grey, colour = read_frames(tmp_path / "a.avi", 1), read_video(tmp_path / "a.avi")
    assert (grey.shape, colour.shape) == ((20, 32, 32, 1), (20, 32, 32, 3))
    # JPEG at this quantiser is off by about one grey level on smooth pictures
    assert np.abs(grey.astype(int) - frames).mean() < 1
    assert np.abs(colour.astype(int) - grey).max() <= 1  # grey stays grey, up to YUV rounding
    assert video_fps(tmp_path / "a.avi") == 47.5


def test_colour_is_rgb_in_that_order(tmp_path: Path) -> None:
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    write_avi(tmp_path / "red.avi", red, 10)
    # JPEG and rounding of YUV: a few grey levels
    assert np.abs(read_video(tmp_path / "red.avi").astype(int) - red).max() <= 6
    grey = read_frames(tmp_path / "red.avi", 1)
    assert np.abs(grey.astype(int) - set_channels(red, 1)).max() <= 3


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    assert avi(tmp_path / "a.avi") == avi(tmp_path / "b.avi")
    assert len({encode_mp4(moving_disk(8), 16) for _ in range(8)}) == 1


def test_mp4_is_h264_with_its_index_in_front_and_odd_sizes_padded(tmp_path: Path) -> None:
    frames = moving_disk(16)[:, :31, :29]
    data = encode_mp4(frames, 8)
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    assert b"avc1" in data
    write_mp4(tmp_path / "clip.mp4", frames, 8)
    assert (tmp_path / "clip.mp4").read_bytes() == data
    back = read_frames(tmp_path / "clip.mp4", 1)
    assert back.shape == (16, 32, 30, 1)
    assert video_fps(tmp_path / "clip.mp4") == 8
    # crf 16 on a smooth picture, limited range: a grey level or two, no shift of brightness
    assert np.abs(back[:, :31, :29].astype(int) - frames).mean() < 2
    assert abs(back[:, :31, :29].mean() - frames.mean()) < 0.7


def test_scale_enlarges_the_mp4(tmp_path: Path) -> None:
    write_mp4(tmp_path / "large.mp4", moving_disk(4), 8, scale=3)
    assert read_video(tmp_path / "large.mp4").shape == (4, 96, 96, 3)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    before = avi(tmp_path / "a.avi")
    with pytest.raises(ValueError, match="fps is -1"):
        write_avi(tmp_path / "a.avi", moving_disk(3), -1)
    assert (tmp_path / "a.avi").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_a_file_cut_anywhere_in_its_frames_is_an_error_and_never_a_shorter_clip(
    tmp_path: Path,
) -> None:
    whole = avi(tmp_path / "a.avi", n_frames=12)
    index = whole.index(b"idx1")  # what follows the frames holds no picture
    for share in (0.0, 0.3, 0.6, 0.9, 0.999):
        (tmp_path / "cut.avi").write_bytes(whole[: int(share * index)])
        with pytest.raises(VideoError, match=r"cut\.avi"):
            read_video(tmp_path / "cut.avi")


def test_error_of_a_cut_file_says_how_much_is_there(tmp_path: Path) -> None:
    whole = avi(tmp_path / "a.avi")
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2 + 2000])
    with pytest.raises(
        VideoError, match=rf"the file is cut: \d+ bytes, its header says {len(whole)}"
    ):
        read_video(tmp_path / "cut.avi")


def test_a_header_that_claims_more_frames_than_there_are_is_an_error(tmp_path: Path) -> None:
    whole = bytearray(avi(tmp_path / "a.avi", n_frames=12))
    length = whole.index(b"strh") + 8 + 32  # dwLength of the stream header
    assert int.from_bytes(whole[length : length + 4], "little") == 12
    whole[length : length + 4] = (40).to_bytes(4, "little")
    (tmp_path / "lies.avi").write_bytes(whole)
    with pytest.raises(VideoError, match="12 frames, its header claims 40"):
        read_video(tmp_path / "lies.avi")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("gone.avi", None, "no such file"),
        ("empty.avi", b"", "empty"),
        ("text.avi", b"these are no pictures", "cannot be decoded"),
        ("playlist.avi", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "cannot be decoded"),
        ("clip.txt", b"x", "suffix '.txt'"),
    ],
)
def test_what_is_no_video_is_named(
    tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=f"{name}: .*{what}"):
        read_video(tmp_path / name)


def test_damaged_bytes_give_frames_or_a_video_error_and_nothing_else(tmp_path: Path) -> None:
    whole = avi(tmp_path / "a.avi", n_frames=4)
    rng = np.random.default_rng(0)
    outcomes = {"frames": 0, "error": 0}
    for _ in range(300):
        broken = bytearray(whole)
        # mostly in the headers, where a byte does more harm
        for place in rng.integers(0, rng.choice([400, len(whole)]), rng.integers(1, 6)):
            broken[place] = rng.integers(256)
        (tmp_path / "broken.avi").write_bytes(broken)
        try:
            outcomes["frames"] += len(read_video(tmp_path / "broken.avi")) > 0
        except VideoError:
            outcomes["error"] += 1
    assert sum(outcomes.values()) == 300
    assert min(outcomes.values()) > 10
