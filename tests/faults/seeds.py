"""Whole files of every kind that the fuzzers damage, made by the project's own writers."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from echocascade.data.encode import encode_avi, encode_mp4
from echocascade.data.phantom.dataset import make_phantom

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
SIDE = 8
GREY = np.arange(2 * SIDE * SIDE, dtype=np.uint8).reshape(2, SIDE, SIDE)


def whole_dicom(syntax: str = ExplicitVRLittleEndian, **tags: object) -> bytes:
    """Two frames of 8 x 8, grey unless `tags` say otherwise."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.3", "1.2.3.4"
    order = {"is_little_endian": syntax != ExplicitVRBigEndian,
             "is_implicit_VR": syntax == ImplicitVRLittleEndian}  # fmt: skip
    data = FileDataset("a", {}, file_meta=meta, preamble=b"\0" * 128, **order)
    data.Modality, data.PhotometricInterpretation = "US", "MONOCHROME2"
    data.Rows = data.Columns = SIDE
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit = 1, 8, 8, 7
    data.PixelRepresentation, data.NumberOfFrames, data.FrameTime = 0, "2", "20"
    data.FrameTimeVector = [0, 20]
    data.PixelData = GREY.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data["PixelData"].VR = "OB" if data.BitsAllocated == 8 else "OW"
    data["PixelData"].is_undefined_length = syntax not in SYNTAXES
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _pictures(kind: str, **options: object) -> bytes:
    """Both frames, each encoded by itself, as DICOM keeps them."""
    files = [io.BytesIO() for _ in GREY]
    for file, picture in zip(files, GREY, strict=True):
        Image.fromarray(picture).save(file, kind, **options)
    return encapsulate([file.getvalue() for file in files])


def _dicoms() -> dict[str, bytes]:
    colour = np.repeat(GREY[..., None], 3, axis=-1).tobytes()
    red = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    red |= {f"{c}PaletteColorLookupTableData": bytes(512) for c in ("Red", "Green", "Blue")}
    window = {"WindowCenter": "100", "WindowWidth": "50", "RescaleSlope": "2",
              "RescaleIntercept": "-3"}  # fmt: skip
    wide = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1,
            "PixelData": GREY.astype("<i2").tobytes()}  # fmt: skip
    return {
        **{f"syntax{i}": whole_dicom(syntax) for i, syntax in enumerate(SYNTAXES)},
        "wide": whole_dicom(**wide, **window),
        "inverse": whole_dicom(PhotometricInterpretation="MONOCHROME1", **window),
        "rgb": whole_dicom(PhotometricInterpretation="RGB", SamplesPerPixel=3,
                           PlanarConfiguration=0, PixelData=colour),
        "ybr": whole_dicom(PhotometricInterpretation="YBR_FULL", SamplesPerPixel=3,
                           PlanarConfiguration=1, PixelData=colour),
        "palette": whole_dicom(PhotometricInterpretation="PALETTE COLOR", **red),
        "jpeg": whole_dicom(JPEGBaseline8Bit, PixelData=_pictures("JPEG")),
        "jpeg2000": whole_dicom(JPEG2000, PixelData=_pictures("JPEG2000", no_jp2=True)),
        "rle": whole_dicom(RLELossless, PixelData=encapsulate(
            [b"\1\0\0\0\x40\0\0\0" + bytes(56) + b"\x3f" + g.tobytes() for g in GREY])),
    }  # fmt: skip


def _videos(encode: Callable[..., bytes]) -> dict[str, bytes]:
    grey = np.full((4, 16, 16, 1), 90, np.uint8)
    return {
        "grey": encode(grey, 10),
        "colour": encode(np.repeat(grey, 3, axis=-1), 29.97),
        "said": encode(grey[:2], 50, metadata={"title": "a", "comment": "b"}),
    }


SCORES = "FileName,lvef_requested,lvef_measured,draw,task,SSIM\na,50,49.5,0,generation,0.9\n"
PUBLISHED = "FileName,GT EF,Gen EF,Ref EF,SSIM,LPIPS\na,50,49.5,51,0.9,0.1\na,60,59,61,0.8,0.2\n"
YAML = (
    "base: whole.yaml\nseed: 3\ncascade:\n  stages:\n  - name: base\n    training: {steps: 5}\n"
    "  - {name: tssr, sampler: {method: heun, steps: 4}}\n"
)


def furnish(folder: Path, params: Path) -> Path:
    """A data folder with everything that the targets find beside their file: a phantom, and more.

    `params`: the project's folder of parameters files.
    """
    make_phantom(folder, 2, duration_s=(0.7, 0.8), workers=1)
    (folder / "whole-scores.csv").write_text(SCORES)
    for name in ("ci", "quick"):
        shutil.copy(params / f"{name}.yaml", folder)
    shutil.copy(folder / "ci.yaml", folder / "whole.yaml")
    return folder


def seeds(furnished: Path) -> dict[str, dict[str, bytes]]:
    """Of every target, whole files by a name; the tables are those of the `furnished` folder."""
    listed = (furnished / "FileList.csv").read_bytes()
    traced = (furnished / "VolumeTracings.csv").read_bytes().split(b"\n")
    header, first, *_ = listed.split(b"\n")
    return {
        "file_list": {"phantom": listed, "marked": b"\xef\xbb\xbf" + listed},
        "tracings": {"phantom": b"\n".join(traced[:24]), "returns": b"\r\n".join(traced[:4])},
        "scores": {"ours": SCORES.encode(), "published": PUBLISHED.encode()},
        "labels": {
            "list": header + b"\na" + first[first.index(b",") :],
            "short": b"FileName,EF\na.avi,50\n",
        },
        "params": {
            "based": YAML.encode(),
            "ci": (furnished / "ci.yaml").read_bytes(),
            "quick": (furnished / "quick.yaml").read_bytes(),
        },
        "dicom": _dicoms(),
        "avi": _videos(encode_avi),
        "mp4": _videos(encode_mp4),
    }
