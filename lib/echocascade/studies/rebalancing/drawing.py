"""One block of targets: drawn, read by the judges, kept or refused, written as clips."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from einops import rearrange
from numpy.typing import NDArray

from echocascade.data.echonet import TRACING_COLUMNS
from echocascade.data.marked import encode_marked_avi
from echocascade.data.shards import Sample
from echocascade.data.video import shrink, to_model, to_uint8
from echocascade.evaluation.memorisation import MemorisationIndex
from echocascade.evaluation.stick import StickReading, segment_lvef
from echocascade.params import KeepParams
from echocascade.rng import derive_seed, numpy_generator
from echocascade.studies.protocol import Trained
from echocascade.studies.rebalancing.folder import GeneratedFolder
from echocascade.studies.rebalancing.tracings import trace_clip, traceable

# why a draw was refused; empty for one that passes
MEMORISED = "too close to a training clip"
OFF_TARGET = "LVEF off the request"
UNTRACEABLE = "no ventricle outlined"
SPARE = "another draw was kept"
NO_MEMORY = {"memorisation": np.nan, "memorisation_own": np.nan}


@dataclass(frozen=True)
class Generator:
    """A cascade with its judge and its memory, making the clips of one folder.

    rows: FileName of every TRAIN clip -> its row in the store.
    """

    trained: Trained
    folder: GeneratedFolder
    keep: KeepParams
    memory: MemorisationIndex | None
    rows: dict[str, int]

    @property
    def prefix(self) -> str:
        """Begins the names of the folder's clips, so that two folders can be joined."""
        return f"G{self.folder.facts['plan'][:4]}{self.folder.facts['weights'][:4]}X".upper()


@dataclass(frozen=True)
class Drawn:
    """One draw of some targets: a row each, uint8 videos (N, T, H, W, C), the stick's readings."""

    table: pd.DataFrame
    videos: np.ndarray
    readings: list[StickReading]


def make_block(generator: Generator, block: int) -> None:
    """All draws of a block's targets; writes the clips that are kept, then the block.

    Under keep "first" a target that has a draw which passes is not drawn again.
    """
    wanting = generator.folder.block_targets(block)
    parts: list[Drawn] = []
    for number in range(generator.keep.draws):
        parts.append(draw(generator, wanting, number))
        if generator.keep.keep == "first":
            wanting = wanting[(parts[-1].table["reason"] != "").to_numpy()]
        if wanting.empty:
            break
    table = choose(pd.concat([part.table for part in parts], ignore_index=True))
    clips = np.concatenate([part.videos for part in parts])
    readings = [reading for part in parts for reading in part.readings]
    traced, samples = [pd.DataFrame(columns=list(TRACING_COLUMNS), dtype=object)], []
    for row in table.index[table["kept"]]:  # the place of a draw among `clips`, in any order
        name, asked = str(table["FileName"][row]), float(table["lvef_requested"][row])
        about = f"Requested LVEF {asked:.1f} %."
        avi = encode_marked_avi(clips[row], generator.trained.last.fps, about)
        samples.append(Sample(name, avi, _facts(table.loc[row])))
        traced.append(trace_clip(name, readings[row]))
    generator.folder.keep_clips(block, samples)
    generator.folder.write_block(block, table, pd.concat(traced[len(traced) > 1 :]))


def _facts(row: pd.Series) -> dict[str, object]:
    """A row of provenance as JSON takes it."""
    values = {str(key): getattr(value, "item", lambda v=value: v)() for key, value in row.items()}
    return {key: None if value != value else value for key, value in values.items()}


def draw(generator: Generator, targets: pd.DataFrame, number: int) -> Drawn:
    """Draw `number` of every target, with what is read from it and why it is refused."""
    trained, store = generator.trained, generator.trained.store
    rows = [generator.rows[name] for name in targets["anatomy"]]
    places = targets["target"].to_numpy()
    frames = [
        _frame_number(trained.params.seed, int(place), number, store.n_frames(row))
        for place, row in zip(places, rows, strict=True)
    ]
    pictures = np.stack([store.frames(r)[f] for r, f in zip(rows, frames, strict=True)])
    noise = [derive_seed(trained.params.seed, "rebalancing noise", p, number) for p in places]
    videos = trained.generate(
        _at_size(pictures, trained.last.size), np.array(targets["lvef_requested"], float), noise,
        float(generator.folder.facts["scale"]), np.array(rows),
    )[-1]  # fmt: skip
    readings = [segment_lvef(video, trained.last.duration_s) for video in videos]
    table = targets[["target", "lvef_requested", "anatomy", "anatomy_lvef"]].assign(
        FileName=[f"{generator.prefix}{place:06d}" for place in places],
        draw=number,
        lvef_estimated=trained.read_lvef(videos),
        lvef_stick=[reading.lvef_percent for reading in readings],
        **_memory_scores(generator.memory, videos, targets["anatomy"].tolist()),
        anatomy_edv_ml=store.table["EDV"].to_numpy(float)[rows],
        frame=frames,
        noise=noise,
    )
    reasons = refusals(table, generator.keep, generator.memory, readings)
    return Drawn(table.assign(reason=reasons), videos, readings)


def refusals(
    table: pd.DataFrame,
    keep: KeepParams,
    memory: MemorisationIndex | None,
    readings: list[StickReading],
) -> list[str]:
    """Why each draw is refused, empty where it passes; a copy is refused whatever else it is."""
    untraceable = np.array([not traceable(reading) for reading in readings])
    off = np.zeros(len(table), bool)
    if keep.tolerance is not None:
        error = (table["lvef_estimated"] - table["lvef_requested"]).abs().to_numpy()
        off = ~(error <= keep.tolerance)
    copied = np.zeros(len(table), bool)
    if memory is not None:  # comparisons with NaN, where nothing is known, refuse nothing
        copied = (table["memorisation"].to_numpy() > memory.threshold) | (
            table["memorisation_own"].to_numpy() > memory.own_threshold
        )
    chosen = np.select([copied, off, untraceable], [MEMORISED, OFF_TARGET, UNTRACEABLE], "")
    return [str(reason) for reason in chosen]


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The draws of a block with `kept`: of each target the passing draw nearest to the request.

    What passed and was not the nearest gets the reason SPARE. Sorted by target and draw.
    """
    table = table.sort_values(["target", "draw"], kind="stable")
    error = (table["lvef_estimated"] - table["lvef_requested"]).abs()
    passing = error[table["reason"] == ""]
    best = passing.groupby(table.loc[passing.index, "target"]).idxmin()
    kept = table.index.isin(best)
    spare = (table["reason"] == "") & ~kept
    return table.assign(kept=kept, reason=table["reason"].mask(spare, SPARE))


def _memory_scores(
    memory: MemorisationIndex | None, videos: np.ndarray, anatomies: list[str]
) -> dict[str, NDArray[np.float64] | float]:
    """Closeness to the nearest other training clip, and to the one that the anatomy is from."""
    if memory is None:
        return dict(NO_MEMORY)
    return {
        "memorisation": memory.score(videos, anatomies),
        "memorisation_own": memory.own_score(videos, anatomies),
    }


def _frame_number(seed: int, target: int, number: int, n_frames: int) -> int:
    """The frame of the patient's clip that a draw starts from: any one, at random."""
    rng = numpy_generator(seed, "rebalancing frame", target, number)
    return int(rng.integers(n_frames))


def _at_size(pictures: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, H, W, C) at `size` pixels, by the one way down that there is."""
    if pictures.shape[1] == size:
        return pictures
    clips = shrink(to_model(rearrange(pictures, "n h w c -> n 1 h w c")), size, 1)
    return rearrange(to_uint8(clips), "n 1 h w c -> n h w c")
