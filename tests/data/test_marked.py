"""Every format that a generated clip is written in says that it is generated."""

import av
import numpy as np
import pytest
from PIL import Image

from echocascade.data.decode import read_frames
from echocascade.data.marked import (
    SOURCE_TYPE,
    SUFFIXES,
    SYNTHETIC,
    FormatError,
    encode_marked_mp4,
    read_mark,
    write_clip,
    write_marked_png,
)

ABOUT = 'LVEF asked 30 %, seed 0, run "a<b"'
FPS = 16


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """A bright disk that beats, 32 frames of 56 pixels, grey."""
    y, x = np.mgrid[:56, :56] - 27.5
    radius = 14 + 5 * np.sin(2 * np.pi * np.arange(32) / 16)
    shown = 30 + 180 * (np.hypot(y, x) < radius[:, None, None])
    return shown.astype(np.uint8)[..., None]


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".npy"])
def test_the_mark_is_read_back(clip, tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, clip, FPS, ABOUT)
    assert SYNTHETIC in read_mark(path)
    assert "LVEF asked 30 %, seed 0" in read_mark(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_webp_and_png_carry_the_iptc_source_type(clip, tmp_path):
    write_clip(tmp_path / "clip.webp", clip, FPS, ABOUT)
    write_marked_png(tmp_path / "strip.png", np.repeat(clip[0], 3, axis=-1), ABOUT)
    with Image.open(tmp_path / "clip.webp") as image:
        assert SOURCE_TYPE.encode() in image.info["xmp"]
    with Image.open(tmp_path / "strip.png") as image:
        assert image.info["Comment"].startswith(SYNTHETIC)
        assert SOURCE_TYPE in image.info["XML:com.adobe.xmp"]
    assert SYNTHETIC in read_mark(tmp_path / "strip.png")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numpy_holds_the_clip_as_it_is(clip, tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, clip, FPS)
    stored = np.load(path, allow_pickle=False)
    frames = stored if suffix == ".npy" else stored["frames"]
    assert frames.dtype == np.uint8 and (frames == clip).all()
    assert suffix == ".npy" or stored["fps"] == FPS


def test_avi_is_a_clip_of_the_data_sets_kind(clip, tmp_path):
    path = tmp_path / "clip.avi"
    write_clip(path, clip, FPS)
    frames = read_frames(path, 1)
    assert frames.shape == clip.shape
    assert np.abs(frames.astype(int) - clip).mean() < 2


def test_mp4_is_h264_for_browsers_and_enlarged(clip, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_marked_mp4(clip, FPS))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.frames, stream.average_rate) == (224, 32, FPS)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_last_as_long_as_the_clip(clip, tmp_path, suffix):
    """16 frames a second are 62.5 ms each, which neither format can say; the sum is right."""
    path = tmp_path / f"clip{suffix}"
    write_clip(path, clip, FPS)
    with Image.open(path) as image:
        assert image.n_frames == 32 and image.size == (224, 224) and image.info["loop"] == 0
        total = 0
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            total += image.info["duration"]
    assert total == pytest.approx(2000, abs=10)


def test_grey_gif_keeps_its_grey_levels(tmp_path):
    ramp = np.tile(np.arange(224, dtype=np.uint8), (224, 1))[None, ..., None]
    frames = np.concatenate([ramp, 255 - ramp])
    write_clip(tmp_path / "ramp.gif", frames, 8)
    with Image.open(tmp_path / "ramp.gif") as image:
        assert (np.asarray(image.convert("L")) == ramp[0, ..., 0]).all()


def test_an_unknown_suffix_is_refused_before_anything_is_written(clip, tmp_path):
    with pytest.raises(FormatError, match=r"clip.mov: .mov; a clip is written as .mp4, .gif"):
        write_clip(tmp_path / "clip.mov", clip, FPS)
    assert list(tmp_path.iterdir()) == []
