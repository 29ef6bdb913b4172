"""DICOM ultrasound to frames: pixels, how fast they follow each other, and nothing else.

Who the patient is stays in the file: no tag but those that say how to read the pixels is looked at.
Names that the scanner burnt into the picture are removed by `sector.place_sector`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, iter_pixels

from echocascade.data.frames import Frames

ULTRASOUND = ("US", "OT", "SC", "")  # OT and SC: pictures taken of a screen; the sector decides
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
MAX_PIXELS = 4096 * 4096  # of one frame
MAX_BYTES = 2**30  # of all frames that are asked for


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
        if any(not 0 <= i < self.n_frames for i in indices):
            raise DicomError(
                f"{self.path.name}: frame {max(indices)} was asked for; "
                f"it has {self.n_frames} (0 to {self.n_frames - 1})"
            )
        rows, columns = int(self.dataset.Rows), int(self.dataset.Columns)
        if len(indices) * rows * columns * 3 > MAX_BYTES:
            raise DicomError(f"{self.path.name}: {len(indices)} frames need more than a gigabyte")
        try:
            return np.stack([self._shown(p) for p in self._pixels(indices)])
        except (NotImplementedError, RuntimeError, ValueError, AttributeError, OSError) as error:
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
        data = self.dataset
        values = apply_modality_lut(pixels, data)
        if "VOILUTSequence" in data or "WindowCenter" in data:
            values = apply_voi_lut(values, data)
        plain = values.dtype == pixels.dtype
        signed = bool(data.get("PixelRepresentation", 0))
        full = (2 ** int(data.BitsStored) - 1) if not signed else 2 ** (int(data.BitsStored) - 1)
        low, high = (0.0, float(full)) if plain else _span(values)
        grey = _to_8_bit(values, low, high)
        return 255 - grey if kind == "MONOCHROME1" else grey


def open_dicom(path: Path) -> DicomClip:
    """The header of a DICOM ultrasound file, single or multi-frame.

    Raises:
        DicomError: not DICOM, without pixels, of another modality or in an unknown colour space.
    """
    try:
        data = pydicom.dcmread(path, force=False)
    except (InvalidDicomError, OSError, ValueError, EOFError, AttributeError) as error:
        raise DicomError(
            f"{path.name}: not a readable DICOM file ({type(error).__name__})"
        ) from None
    modality = str(data.get("Modality", ""))
    if modality not in ULTRASOUND:
        raise DicomError(f"{path.name}: modality {modality[:16]}; ultrasound (US) is accepted")
    if "PixelData" not in data or not data.get("Rows") or not data.get("Columns"):
        raise DicomError(f"{path.name}: no picture in this DICOM file")
    if int(data.Rows) * int(data.Columns) > MAX_PIXELS:
        raise DicomError(f"{path.name}: {data.Columns} x {data.Rows} pixels; at most 4096 x 4096")
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind not in (*GREY, *COLOUR):
        allowed = ", ".join((*GREY, *COLOUR))
        raise DicomError(f"{path.name}: colours are {kind[:24] or 'not named'}; allowed: {allowed}")
    return DicomClip(path, data, max(int(data.get("NumberOfFrames") or 1), 1), _fps(data))


def _fps(data: Dataset) -> float:
    """Frames a second by FrameTime (ms), FrameTimeVector, CineRate or the recommended rate."""
    vector = data.get("FrameTimeVector")
    if data.get("FrameTime"):
        return 1000.0 / float(data.FrameTime)
    if vector is not None and len(vector) > 1:
        return 1000.0 / float(np.mean([float(v) for v in vector[1:]]))
    return float(data.get("CineRate") or data.get("RecommendedDisplayFrameRate") or 0)


def _span(values: NDArray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1


def _to_8_bit(values: NDArray, low: float, high: float) -> Frames:
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _why(data: Dataset, error: Exception) -> str:
    """In words why pixels cannot be decoded, without anything that the file says of a patient."""
    meta = getattr(data, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    name = getattr(syntax, "name", "unknown")
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return (
            f"its pixels are stored as {name}, which this installation cannot decode; "
            "uncompressed, RLE, JPEG Baseline and JPEG 2000 are accepted "
            "(pylibjpeg adds JPEG Lossless)"
        )
    return f"its pixels ({name}) are damaged or cut short"
