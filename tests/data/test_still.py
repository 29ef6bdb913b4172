"""A picture from any file becomes a conditioning frame, or a clear word why not."""

import subprocess
import sys

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import examples
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGLosslessSV1

from drawn import SECRET, fan, screen, write_dicom
from echocascade.data.sector import ECHONET, Layout
from echocascade.data.still import StillError, place_still, read_moving, read_still
from echocascade.data.video import write_avi, write_mp4


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_of_a_fan_becomes_a_frame(tmp_path, suffix):
    path = tmp_path / f"still{suffix}"
    Image.fromarray(fan()[0]).save(path, quality=95)
    placed = place_still(read_still(path), 112, 1)
    assert placed.frame.shape == (112, 112, 1) and placed.frame.dtype == np.uint8
    expected = cv2.resize(fan()[0, ..., 0], (112, 112), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(placed.frame[..., 0].ravel(), expected.ravel())[0, 1] > 0.97


def test_the_kind_is_read_from_the_file_not_its_name(tmp_path):
    Image.fromarray(fan()[0]).save(tmp_path / "still", format="PNG")
    assert read_still(tmp_path / "still").kind == "PNG"


def test_16_bit_grey_png_uses_the_depth_it_has(tmp_path):
    grey = fan()[0, ..., 0].astype(np.uint16) * 16  # 12 bits in 16
    cv2.imwrite(str(tmp_path / "deep.png"), grey)
    picture = read_still(tmp_path / "deep.png").picture
    assert np.abs(picture[..., 0].astype(int) - fan()[0, ..., 0]).max() <= 1


def test_a_camera_turned_jpeg_is_turned_back(tmp_path):
    upright = Image.fromarray(fan()[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture = read_still(tmp_path / "turned.jpg").picture
    assert np.abs(picture.astype(int) - fan()[0]).mean() < 3


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_frame_of_a_clip(tmp_path, suffix):
    clip = fan(n_frames=8)
    path = tmp_path / f"clip{suffix}"
    (write_avi if suffix == ".avi" else write_mp4)(path, clip, 16)
    still = read_still(path, 5)
    assert (still.frame, still.n_frames) == (5, 8)
    assert np.abs(still.picture.astype(int) - clip[5]).mean() < 4
    assert np.abs(still.picture.astype(int) - clip[2]).mean() > 4
    with pytest.raises(StillError, match=r"frame 8 was asked for; it has 8 \(0 to 7\)"):
        read_still(path, 8)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1", "RGB", "YBR_FULL", "PALETTE COLOR"])
def test_dicom_of_every_colour_space_gives_the_same_picture(tmp_path, kind, frames):
    from pydicom.pixels import convert_color_space

    clip = fan(n_frames=frames)
    grey, tags = clip[..., 0], {}
    pixels = {"MONOCHROME2": grey, "MONOCHROME1": 255 - grey, "RGB": clip}.get(kind)
    if kind == "YBR_FULL":
        pixels = convert_color_space(clip.copy(), "RGB", "YBR_FULL", per_frame=True)
    if kind == "PALETTE COLOR":
        pixels = 255 - grey  # index 255 is black
        table = (255 - np.arange(256)).astype(np.uint16) * 257
        for colour in ("Red", "Green", "Blue"):
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    write_dicom(tmp_path / "us.dcm", pixels, kind, **tags)
    still = read_still(tmp_path / "us.dcm", frames - 1)
    assert (still.kind, still.n_frames) == ("DICOM", frames)
    assert np.abs(still.picture.astype(int) - clip[-1]).max() <= 2


@pytest.mark.parametrize("stored", [12, 16])
def test_16_bit_dicom_uses_the_bits_that_are_stored(tmp_path, stored):
    grey = fan()[..., 0].astype(np.uint16) * 2 ** (stored - 8)
    write_dicom(tmp_path / "deep.dcm", grey, "MONOCHROME2", BitsStored=stored, HighBit=stored - 1)
    picture = read_still(tmp_path / "deep.dcm").picture
    assert np.abs(picture[..., 0].astype(int) - fan()[0, ..., 0]).max() <= 1


def test_a_dicom_window_is_applied(tmp_path):
    """Of 128 levels, which become 256, in a file whose 16 bits would show them as black."""
    grey = fan()[..., 0].astype(np.uint16)
    tags = {"BitsStored": 16, "WindowCenter": 64, "WindowWidth": 128}
    write_dicom(tmp_path / "window.dcm", grey, "MONOCHROME2", **tags)
    picture = read_still(tmp_path / "window.dcm").picture[..., 0]
    inside = (grey[0] > 10) & (grey[0] < 110)
    assert np.abs(picture[inside].astype(float) / grey[0][inside] - 2).mean() < 0.1


def test_pydicoms_own_ultrasound_example_goes_through():
    """An apical four-chamber cine with a burnt-in screen around it, JPEG in YBR_FULL_422."""
    path = examples.get_path("ybr_color")
    still = read_still(path, 7)
    placed = place_still(still, 112, 1)
    assert (still.kind, still.n_frames) == ("DICOM", 30)
    assert placed.sector.overlap > 0.9
    assert placed.sector.tip_x == pytest.approx(170, abs=8)  # of 320 x 240, by eye
    assert placed.sector.top == pytest.approx(17, abs=8)
    assert placed.sector.depth == pytest.approx(187, abs=12)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("rgb_color", "rectangle"),  # a linear array with colour Doppler
        ("jpeg2k", "rectangle"),
        ("palette_color", "coloured|curved|rectangle|bright up to"),  # obstetric, curved array
    ],
)
def test_pydicoms_other_ultrasound_examples_are_no_cardiac_sector(name, word):
    with pytest.raises(StillError, match=word):
        place_still(read_still(examples.get_path(name)), 112, 1)


@pytest.mark.parametrize(
    ("name", "word"),
    [("CT_small.dcm", "modality CT; ultrasound"), ("rtplan.dcm", "modality RTPLAN; ultrasound")],
)
def test_other_modalities_are_named(name, word):
    with pytest.raises(StillError, match=word):
        read_still(get_testdata_file(name))


def test_a_dicom_that_cannot_be_decoded_says_how_it_is_stored(tmp_path):
    write_dicom(tmp_path / "a.dcm", fan()[..., 0], "MONOCHROME2")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9" * 10])
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(StillError, match=r"b\.dcm: its pixels are stored as JPEG Lossless"):
        read_still(tmp_path / "b.dcm")


def test_cut_files_are_errors_that_name_them(tmp_path):
    Image.fromarray(fan()[0]).save(tmp_path / "whole.png")
    write_dicom(tmp_path / "whole.dcm", fan(n_frames=3)[..., 0], "MONOCHROME2")
    for name in ("whole.png", "whole.dcm"):
        content = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut{name[-4:]}"
        cut.write_bytes(content[: len(content) // 3])
        with pytest.raises(StillError, match=f"^{cut.name}: .*(damaged|cut|readable)"):
            read_still(cut)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"GIF89a" + b"\0" * 200, "GIF; accepted: PNG, JPEG, DICOM"),
        (b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 200, "WebP; accepted"),
        (b"hello " * 50, "of no known format; accepted"),
    ],
)
def test_what_is_not_accepted_is_named(tmp_path, content, word):
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(StillError, match=word):
        read_still(tmp_path / "file.png")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (30000, 30000)).save(tmp_path / "bomb.png")
    with pytest.raises(StillError, match=r"bomb.png: (30000 x 30000 pixels|damaged)"):
        read_still(tmp_path / "bomb.png")


def test_burnt_in_margins_are_black_in_the_frame(tmp_path):
    """The frame of a screen shows the fan and nothing of the name beside it."""
    Image.fromarray(screen(fan(400)[0])).save(tmp_path / "screen.png")
    placed = place_still(read_still(tmp_path / "screen.png"), 112, 1, Layout(0.5, 0.06, 0.9))
    alone = cv2.resize(fan(400)[0, ..., 0], (112, 112), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(placed.frame[..., 0].ravel(), alone.ravel())[0, 1] > 0.9
    outside = cv2.dilate((alone > 4).astype(np.uint8), np.ones((13, 13))) == 0
    assert outside.mean() > 0.1 and placed.frame[outside].max() == 0


def test_the_name_changes_nothing_in_the_frame(tmp_path):
    """Burnt-in text and DICOM tags do not reach the frame, to the last bit."""
    frames = []
    for name in (SECRET, "A", "SOMEONE ELSE ENTIRELY"):
        write_dicom(tmp_path / "us.dcm", screen(fan(400)[0], name=name)[None], "RGB")
        frames.append(place_still(read_still(tmp_path / "us.dcm"), 112, 1).frame)
    assert all((frame == frames[0]).all() for frame in frames)


def test_the_facts_hold_no_name(tmp_path):
    path = tmp_path / f"{SECRET}.dcm"
    write_dicom(path, fan(n_frames=4), "RGB")
    facts = str(place_still(read_still(path), 112, 1).facts())
    assert SECRET not in facts and "4711" not in facts and str(tmp_path) not in facts


def test_a_sector_of_too_few_pixels_is_refused(tmp_path):
    Image.fromarray(fan(96)[0]).save(tmp_path / "small.png")
    with pytest.raises(StillError, match=r"112|224 x 224 pixels and needs at least 112"):
        place_still(read_still(tmp_path / "small.png"), 224, 1)
    Image.fromarray(fan(40)[0]).save(tmp_path / "tiny.png")
    with pytest.raises(StillError, match="at least 48 are needed"):
        place_still(read_still(tmp_path / "tiny.png"), 28, 1)


def test_a_moving_clip_keeps_its_rate(tmp_path):
    write_dicom(tmp_path / "us.dcm", fan(n_frames=5), "RGB", FrameTime="40.0")
    found = read_moving(tmp_path / "us.dcm")
    assert found.fps == 25 and found.frames.shape == (5, 224, 224, 3)
    write_avi(tmp_path / "clip.avi", fan(n_frames=5), 30)
    assert read_moving(tmp_path / "clip.avi").fps == 30
    Image.fromarray(fan()[0]).save(tmp_path / "still.png")
    with pytest.raises(StillError, match="a PNG file holds one picture, no clip"):
        read_moving(tmp_path / "still.png")


def test_reading_pictures_needs_no_torch():
    code = "import sys, echocascade.data.still; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_default_layout_is_echonets():
    assert Layout() == ECHONET
