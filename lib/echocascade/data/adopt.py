"""A hospital's own clips and labels as a data set in EchoNet-Dynamic layout.

    LABELS.csv: File, EF and, where they are known, ESV, EDV (ml), Patient, Split, FPS

Clips may be AVI, MP4 or multi-frame DICOM. Each is cut to its sector, everything around it made
black, and written grey under a number: no name, date or tag of a patient goes along.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.atomic import write_text
from echocascade.data.cells import PARSERS, SPLITS
from echocascade.data.encode import write_avi
from echocascade.data.frames import set_channels
from echocascade.data.problems import Problem
from echocascade.data.sector import SectorError, find_sector, place_sector
from echocascade.data.still import StillError, read_moving
from echocascade.data.tables import COLUMNS, FILE_LIST, VIDEOS
from echocascade.rng import numpy_generator

Progress = Callable[[int, int, str], None]

SIZE = 112  # EchoNet-Dynamic's
SHARES = (0.75, 0.125, 0.125)  # of patients in TRAIN, VAL and TEST where the table has no Split
LEAST_FRAMES = 8


class AdoptError(ValueError):
    """A table or a folder that cannot be used."""


@dataclass(frozen=True)
class Adopted:
    """What was written, what could not be, and whether volumes were known."""

    n_clips: int
    splits: dict[str, int]
    problems: tuple[Problem, ...]
    volumes_known: bool


def adopt(
    labels: Path, clips: Path, out: Path, *, seed: int = 0, skip: bool = False,
    progress: Progress | None = None,
) -> Adopted:  # fmt: skip
    """Write the data set `out`; FileList.csv comes last, and only without problems or with `skip`.

    Without a Split column patients are shared out by `seed`, all clips of one in one split; without
    volumes EDV is written as 100, so that ESV and EDV are shares and not ml.
    Raises:
        AdoptError: the table has no File or EF, or `out` holds a data set already.
    """
    if (out / FILE_LIST).exists():
        raise AdoptError(f"{out}: there is a data set already")
    table = _read(labels)
    (out / VIDEOS).mkdir(parents=True, exist_ok=True)
    splits = _splits(table, seed)
    rows, problems = [], []
    for i, cells in enumerate(table.to_dict("records")):
        name = f"clip-{i + 1:05d}"
        try:
            row = _labels(cells)
            shown = _write(
                clips, str(cells["File"]), cells.get("FPS"), out / VIDEOS / f"{name}.avi"
            )
            rows.append({"FileName": name, **row, **shown, "Split": splits[i]})
        except (AdoptError, StillError, SectorError) as error:
            problems.append(Problem(str(cells["File"]), i + 2, str(error)))
        if progress is not None:
            progress(i + 1, len(table), name)
    written = pd.DataFrame(rows, columns=list(COLUMNS))
    if len(written) and (skip or not problems):
        write_text(out / FILE_LIST, written.to_csv(index=False))
    counts = written["Split"].value_counts()
    known = {"ESV", "EDV"} <= set(table.columns)
    return Adopted(len(written), {s: int(counts.get(s, 0)) for s in SPLITS}, tuple(problems), known)


def _read(labels: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(labels, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise AdoptError(
            f"{labels.name}: not a readable CSV file ({type(error).__name__})"
        ) from None
    missing = [column for column in ("File", "EF") if column not in table]
    if missing or table.empty:
        found = ", ".join(map(str, table.columns))
        what = f"column {missing[0]} is missing; there are {found}" if missing else "no row in it"
        raise AdoptError(f"{labels.name}: {what}")
    return table


def _labels(cells: Mapping[Hashable, str]) -> dict[str, float]:
    """EF, ESV and EDV of a row; AdoptError names the cell that is wrong."""
    found: dict[str, float] = {}
    for column in ("EF", "ESV", "EDV"):
        if column in cells:
            try:
                found[column] = float(str(PARSERS[column](cells[column].strip())))
            except ValueError as error:
                raise AdoptError(f"{column} {cells[column][:40]!r} {error}") from None
    if not {"ESV", "EDV"} <= found.keys():
        found |= {"ESV": 100 - found["EF"], "EDV": 100.0}
    return found


def _write(folder: Path, file: str, fps: str | None, target: Path) -> dict[str, float]:
    """One clip cut to its sector; what FileList.csv says of it."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise AdoptError("leads out of the folder of clips")
    moving = read_moving(path)
    rate = moving.fps
    if fps is not None and fps.strip():
        try:
            rate = float(str(PARSERS["FPS"](fps.strip())))
        except ValueError as error:
            raise AdoptError(f"FPS {fps[:40]!r} {error}") from None
    if rate <= 0:
        raise AdoptError("the file does not say its frame rate; give it in a column FPS")
    if len(moving.frames) < LEAST_FRAMES:
        raise AdoptError(f"{len(moving.frames)} frames; at least {LEAST_FRAMES} are needed")
    sector = find_sector(moving.frames[len(moving.frames) // 2], moving.frames)
    frames = set_channels(place_sector(moving.frames, sector, SIZE), 1)
    write_avi(target, frames, rate)
    return {"FrameHeight": SIZE, "FrameWidth": SIZE, "FPS": rate, "NumberOfFrames": len(frames)}


def _splits(table: pd.DataFrame, seed: int) -> list[str]:
    """The split of each row: the table's, or patients shared out in SHARES."""
    if "Split" in table:
        given = [split.strip().upper() for split in table["Split"]]
        wrong = next((split for split in given if split not in SPLITS), None)
        if wrong is not None:
            raise AdoptError(f"Split {wrong[:40]!r} is not one of {', '.join(SPLITS)}")
        return given
    patients = table["Patient"] if "Patient" in table else pd.Series(table.index.astype(str))
    unique = sorted(patients.unique())
    order = numpy_generator(seed, "splits of an adopted data set").permutation(len(unique))
    ends = np.cumsum(np.rint(np.array(SHARES[1:]) * len(unique))).astype(int)
    place = {unique[patient]: i for i, patient in enumerate(order)}
    kinds = ("VAL", "TEST", "TRAIN")
    return [kinds[int(np.searchsorted(ends, place[p], side="right"))] for p in patients]
