"""One picture from a file: PNG, JPEG, DICOM, or a frame of an AVI, MP4 or multi-frame DICOM.

What kind of file it is, its first bytes say, not its name.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from echocascade.data.decode import VideoError, read_frames, video_fps
from echocascade.data.dicom import DicomError, open_dicom
from echocascade.data.frames import Frames, set_channels
from echocascade.data.sector import ECHONET, Layout, Sector, SectorError, find_sector, place_sector

ACCEPTED = "PNG, JPEG, DICOM, or a frame of an AVI or MP4"
MAX_FILE_BYTES = 2**30
MAX_PIXELS = 4096 * 4096
LOOKED_AT = 16  # frames of a clip that help to find the sector
DEPTHS = (8, 10, 12, 14, 16)  # bits that a grey picture may have used of its 16

_SIGNATURES = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
)


class StillError(ValueError):
    """A picture that cannot be used: says what was found and what is accepted."""


@dataclass(frozen=True)
class Still:
    """A picture uint8 (H, W, 3), more frames of the same clip (or None), and what it came from."""

    picture: Frames
    clip: Frames | None
    kind: str
    frame: int
    n_frames: int
    sha256: str


@dataclass(frozen=True)
class Placed:
    """A conditioning frame uint8 (size, size, C) and the sector that it was cut from."""

    frame: Frames
    sector: Sector
    still: Still

    def facts(self) -> dict[str, object]:
        """What may be written of where it came from; the file's name may name a patient."""
        height, width = self.still.picture.shape[:2]
        return {
            "kind": self.still.kind, "sha256": self.still.sha256, "pixels": [width, height],
            "frame": self.still.frame, "frames": self.still.n_frames,
            "sector": {
                "tip": [round(self.sector.tip_x, 1), round(self.sector.tip_y, 1)],
                "opening_degrees": round(2 * float(np.degrees(self.sector.opening)), 1),
                "depth": round(self.sector.depth, 1), "overlap": round(self.sector.overlap, 3),
            },
        }  # fmt: skip


def read_still(path: Path | str, frame: int = 0) -> Still:
    """The picture in a file, or frame number `frame` (from 0) of a clip.

    Raises:
        StillError: no such file, another format, damaged, too large, or no such frame.
    """
    path = Path(path)
    kind = kind_of(path)
    try:
        if kind in ("PNG", "JPEG"):
            return _one(_read_image(path), kind, frame, path)
        if kind == "DICOM":
            return _read_dicom(path, frame)
        return _read_clip(path, kind, frame)
    except (DicomError, VideoError) as error:
        raise StillError(str(error)) from None


def place_still(still: Still, size: int, channels: int, layout: Layout = ECHONET) -> Placed:
    """The sector of a picture as a conditioning frame (size, size, channels).

    Raises:
        StillError: there is no sector, or too few pixels for that size.
    """
    try:
        sector = find_sector(still.picture, still.clip)
    except SectorError as error:
        raise StillError(str(error)) from None
    if sector.depth < size / 2:
        raise StillError(
            f"the sector is {sector.depth:.0f} pixels deep; this run makes clips of {size} x "
            f"{size} pixels and needs at least {size // 2}"
        )
    frame = place_sector(still.picture[None], sector, size, layout)
    return Placed(set_channels(frame, channels)[0], sector, still)


def kind_of(path: Path) -> str:
    """PNG, JPEG, DICOM, AVI or MP4, by the file's first bytes; StillError for anything else."""
    if not path.is_file():
        raise StillError(f"{path.name}: no such file")
    size = path.stat().st_size
    if size == 0:
        raise StillError(f"{path.name}: the file is empty (0 bytes)")
    if size > MAX_FILE_BYTES:
        raise StillError(f"{path.name}: {size / 2**20:.0f} MiB; at most 1024 are taken")
    with path.open("rb") as file:
        head = file.read(132)
    found = next((name for start, name in _SIGNATURES if head.startswith(start)), "")
    if head[128:132] == b"DICM" or (not found and path.suffix.lower() in (".dcm", ".dicom")):
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        found = "AVI" if head[8:11] == b"AVI" else "WebP"
    if head[4:8] == b"ftyp":
        found = "MP4"
    if found not in ("PNG", "JPEG", "AVI", "MP4"):
        raise StillError(f"{path.name}: {found or 'of no known format'}; accepted: {ACCEPTED}")
    return found


def _one(picture: Frames, kind: str, frame: int, path: Path) -> Still:
    if frame != 0:
        raise StillError(f"{path.name}: frame {frame} was asked for; a {kind} file has one, 0")
    return Still(picture, None, kind, 0, 1, _sha256(path))


def _read_image(path: Path) -> Frames:
    """uint8 RGB (H, W, 3) of a PNG or JPEG, turned as its camera says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise StillError(
                        f"{path.name}: {image.width} x {image.height} pixels; at most 4096 x 4096"
                    )
                return _to_rgb(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, ValueError,
            Image.DecompressionBombWarning, Image.DecompressionBombError) as error:  # fmt: skip
        if isinstance(error, StillError):
            raise
        raise StillError(f"{path.name}: damaged or cut short ({type(error).__name__})") from None


def _to_rgb(image: Image.Image) -> Frames:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        depth = next((d for d in DEPTHS if values.max() < 2**d), 16)
        grey = np.rint(values.clip(0) * (255 / (2**depth - 1))).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if "A" in image.mode or "transparency" in image.info:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), coloured)
    return np.array(image.convert("RGB"))


def _read_dicom(path: Path, frame: int) -> Still:
    found = open_dicom(path)
    picture = found.frames([frame])[0]
    clip = None
    if found.n_frames > 2:
        places = np.linspace(0, found.n_frames - 1, min(found.n_frames, LOOKED_AT))
        clip = found.frames([int(place) for place in places])
    return Still(picture, clip, "DICOM", frame, found.n_frames, _sha256(path))


def _read_clip(path: Path, kind: str, frame: int) -> Still:
    frames = read_frames(path, 3)
    if not 0 <= frame < len(frames):
        raise StillError(
            f"{path.name}: frame {frame} was asked for; it has {len(frames)} (0 to "
            f"{len(frames) - 1})"
        )
    places = np.linspace(0, len(frames) - 1, min(len(frames), LOOKED_AT)).astype(int)
    return Still(frames[frame], frames[places], kind, frame, len(frames), _sha256(path))


@dataclass(frozen=True)
class Moving:
    """All frames of a clip uint8 (T, H, W, 3) and its frames per second; 0: the file says none."""

    frames: Frames
    fps: float


def read_moving(path: Path | str) -> Moving:
    """A clip from an AVI, MP4 or multi-frame DICOM; StillError for anything else."""
    path = Path(path)
    kind = kind_of(path)
    try:
        if kind == "DICOM":
            found = open_dicom(path)
            return Moving(found.frames(range(found.n_frames)), found.fps)
        if kind in ("AVI", "MP4"):
            return Moving(read_frames(path, 3), video_fps(path))
    except (DicomError, VideoError) as error:
        raise StillError(str(error)) from None
    raise StillError(f"{path.name}: a {kind} file holds one picture, no clip")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
