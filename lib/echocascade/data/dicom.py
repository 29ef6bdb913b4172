"""DICOM ultrasound to frames: pixels, how fast they follow each other, and nothing else.

Who the patient is stays in the file: no tag but those that say how to read the pixels is looked at.
Names that the scanner burnt into the picture are removed by `sector.place_sector`.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pydicom.filereader
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, iter_pixels

from echocascade.data.cells import MAX_FPS
from echocascade.data.frames import Frames
from echocascade.wording import in_one_line

ULTRASOUND = ("US", "OT", "SC", "")  # OT and SC: pictures taken of a screen; the sector decides
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
MAX_PIXELS = 4096 * 4096  # of one frame
MAX_BYTES = 2**30  # of all frames that are asked for


# pydicom reads a value when it is asked for, and each kind of damage has its own exception there.
_DAMAGE = (
    InvalidDicomError, BytesLengthException, Image.DecompressionBombError,
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError,
    ArithmeticError, RuntimeError, MemoryError, struct.error,
)  # fmt: skip
DEFLATED = "1.2.840.10008.1.2.1.99"


class DicomError(ValueError):
    """A DICOM file that cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class DicomClip:
    """A DICOM file whose pixels are read when asked for; fps 0 where the file says nothing."""

    path: Path
    dataset: Dataset
    n_frames: int
    fps: float

    def frames(self, indices: Sequence[int]) -> Frames:
        """The frames at `indices` (0-based), uint8 RGB (N, H, W, 3)."""
        rows, columns = int(self.dataset.Rows), int(self.dataset.Columns)
        # First the size: a header may claim more frames than could be counted one by one.
        if len(indices) * rows * columns * 3 > MAX_BYTES:
            raise DicomError(f"{self.path.name}: {len(indices)} frames need more than a gigabyte")
        outside = next((i for i in indices if not 0 <= i < self.n_frames), None)
        if outside is not None:
            raise DicomError(
                f"{self.path.name}: frame {outside} was asked for; "
                f"it has {self.n_frames} (0 to {self.n_frames - 1})"
            )
        try:
            return np.stack([self._shown(p) for p in self._pixels(indices)])
        except _DAMAGE as error:
            raise DicomError(f"{self.path.name}: {_why(self.dataset, error)}") from error

    def _pixels(self, indices: Sequence[int]) -> Iterator[NDArray]:
        # Palette colours are indices, which must not be touched on the way; YBR becomes RGB.
        return iter_pixels(self.dataset, indices=list(indices))

    def _shown(self, pixels: NDArray) -> Frames:
        """One frame as it is meant to be looked at, uint8 (H, W, 3)."""
        kind = str(self.dataset.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            coloured = apply_color_lut(pixels, self.dataset)
            return _to_8_bit(coloured, 0, 2 ** (8 * coloured.dtype.itemsize) - 1)
        if kind in GREY:
            return np.repeat(self._windowed(pixels, kind)[..., None], 3, axis=-1)
        return _to_8_bit(pixels, 0, 2 ** int(self.dataset.BitsStored) - 1)

    def _windowed(self, pixels: NDArray, kind: str) -> Frames:
        """Grey levels 0 to 255 for what the file's own window and scale make of its whole range."""
        bits = int(self.dataset.BitsStored)
        signed = bool(self.dataset.get("PixelRepresentation", 0))
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = np.sort(self._looked_up(ends.astype(pixels.dtype)).astype(float))
        grey = _to_8_bit(self._looked_up(pixels), low, high if high > low else low + 1)
        return 255 - grey if kind == "MONOCHROME1" else grey

    def _looked_up(self, values: NDArray) -> NDArray:
        return apply_voi_lut(apply_modality_lut(values, self.dataset), self.dataset)


def open_dicom(path: Path) -> DicomClip:
    """The header of a DICOM ultrasound file, single or multi-frame.

    Raises:
        DicomError: not DICOM, without pixels, of another modality or in an unknown colour space.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DicomError(f"{path.name}: {size} bytes; at most {MAX_BYTES} are read")
        meta = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
            # A small file may unpack to any size, and pydicom unpacks all of it at once.
            raise DicomError(f"{path.name}: a deflated DICOM file, which is not accepted")
        return _checked(path, pydicom.dcmread(path, force=False))
    except DicomError:
        raise
    except _DAMAGE as error:
        raise DicomError(
            f"{path.name}: not a readable DICOM file ({type(error).__name__})"
        ) from None


def _checked(path: Path, data: Dataset) -> DicomClip:
    modality = str(data.get("Modality", ""))
    if modality not in ULTRASOUND:
        raise DicomError(
            f"{path.name}: modality {in_one_line(modality, 16)}; ultrasound (US) is accepted"
        )
    if "PixelData" not in data or not data.get("Rows") or not data.get("Columns"):
        raise DicomError(f"{path.name}: no picture in this DICOM file")
    if int(data.Rows) * int(data.Columns) > MAX_PIXELS:
        raise DicomError(f"{path.name}: {data.Columns} x {data.Rows} pixels; at most 4096 x 4096")
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind not in (*GREY, *COLOUR):
        allowed = ", ".join((*GREY, *COLOUR))
        raise DicomError(
            f"{path.name}: colours are {in_one_line(kind, 24) or 'not named'}; allowed: {allowed}"
        )
    return DicomClip(path, data, max(int(data.get("NumberOfFrames") or 1), 1), _fps(data))


def _fps(data: Dataset) -> float:
    """Frames a second, 0 where the file says none or what no clip can have."""
    fps = _stated_fps(data)
    return fps if 0 < fps <= MAX_FPS else 0.0


def _stated_fps(data: Dataset) -> float:
    """By FrameTime (ms), FrameTimeVector, CineRate or the recommended rate."""
    vector = data.get("FrameTimeVector")
    if data.get("FrameTime"):
        return 1000.0 / float(data.FrameTime)
    if vector is not None and len(vector) > 1:
        mean_ms = float(np.mean([float(v) for v in vector[1:]]))
        return 1000.0 / mean_ms if mean_ms else 0.0
    return float(data.get("CineRate") or data.get("RecommendedDisplayFrameRate") or 0)


def _to_8_bit(values: NDArray, low: float, high: float) -> Frames:
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _why(data: Dataset, error: Exception) -> str:
    """In words why pixels cannot be decoded, without anything that the file says of a patient."""
    meta = getattr(data, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    name = in_one_line(getattr(syntax, "name", "unknown"), 80)
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return (
            f"its pixels are stored as {name}, which this installation cannot decode; "
            "uncompressed, RLE, JPEG Baseline and JPEG 2000 are accepted "
            "(pylibjpeg adds JPEG Lossless)"
        )
    return f"its pixels ({name}) are damaged or cut short"
