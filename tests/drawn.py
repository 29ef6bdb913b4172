"""Pictures that several tests need: a fan of speckle, a scanner's screen around it, as DICOM."""

import cv2
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage

SECRET = "DOE^JANE"


def fan(size: int = 224, seed: int = 0, n_frames: int = 1) -> np.ndarray:
    """A grey fan of speckle (T, size, size, 3): tip at 0.5, top 0.06, depth 0.9 of the side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    dx, dy = x - 0.5, y - 0.04
    radius, angle = np.hypot(dx, dy), np.abs(np.arctan2(dx, dy))
    inside = (angle < np.radians(42)) & (radius < 0.92) & (radius > 0.03)
    speckle = cv2.GaussianBlur(rng.rayleigh(60, (size, size)), (0, 0), 1.2)
    beat = 1 + 0.3 * np.sin(np.arange(n_frames))[:, None, None]
    cavity = np.hypot(dx - 0.03, dy - 0.45) < 0.15
    grey = (speckle * beat * np.where(cavity, 0.1, 1.0)).clip(0, 255) * inside
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def screen(
    picture: np.ndarray, *, name: str = SECRET, left: int = 230, top: int = 60
) -> np.ndarray:
    """A scanner's screen (600, 800, 3) around a fan: name, date, ruler, heart rate."""
    shown = np.zeros((600, 800, 3), np.uint8)
    height, width = picture.shape[:2]
    shown[top : top + height, left : left + width] = picture
    for i, line in enumerate((name, "1951-03-02", "ID 4711")):
        cv2.putText(shown, line, (8, 24 + 22 * i), 0, 0.6, (230, 230, 230), 1)
    cv2.putText(shown, "HR 64", (690, 590), 0, 0.7, (0, 255, 0), 2)
    for i in range(14):
        cv2.line(shown, (770, 60 + 30 * i), (780, 60 + 30 * i), (255, 255, 255), 2)
    return shown


def write_dicom(path, pixels: np.ndarray, photometric: str, **tags: object) -> None:
    """A DICOM file of `pixels` (T, H, W[, 3]) with a patient's name in it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientName, data.PatientID, data.Modality = SECRET, "4711", "US"
    data.Rows, data.Columns = pixels.shape[1:3]
    data.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        data.PlanarConfiguration = 0
    if len(pixels) > 1:
        data.NumberOfFrames = len(pixels)
    data.PhotometricInterpretation, data.PixelRepresentation = photometric, 0
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
