"""From a plan to clips: sampled, scored, kept or refused, block after block (FACTS Sec. 6).

Any number of processes may share the blocks of one folder, see `folder`. What a block holds
depends on the plan, the weights and the parameters alone, never on who makes it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echocascade.evaluation.memorisation import memorisation_index
from echocascade.params import KeepParams
from echocascade.studies.protocol import Trained, weights_digest
from echocascade.studies.rebalancing.drawing import Generator, make_block
from echocascade.studies.rebalancing.folder import GeneratedFolder, GenerationError

Progress = Callable[[int, int, str], None]
FORMAT = 1  # of the folder; clips of another number are not completed


class ChunkError(ValueError):
    """A part of the work that does not exist."""


@dataclass(frozen=True)
class Chunk:
    """Part `number` of `of`, from 1: what one of several processes does."""

    number: int = 1
    of: int = 1

    @staticmethod
    def parse(text: str) -> "Chunk":
        """ "2/8" as the second of eight."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ChunkError(f"chunk is {text!r}; allowed are 1/n to n/n, for example 2/8")
        return Chunk(int(number), int(of))

    def has(self, index: int) -> bool:
        """Whether item `index`, from 0, belongs to this part."""
        return index % self.of == self.number - 1


def begin_generation(
    trained: Trained, targets: pd.DataFrame, scale: float, root: Path
) -> GeneratedFolder:
    """The folder `root` for the clips of a plan (`plan.COLUMNS`), begun or found again.

    scale: of classifier-free guidance.

    Raises:
        GenerationError: an anatomy is no TRAIN clip of this run's data, or `root` is in use.
    """
    keep = trained.params.rebalancing.generation
    _check_anatomies(trained, targets)
    text = targets.to_csv(index=False, lineterminator="\n")
    settings = keep.model_dump(exclude={"labels", "block"})
    last = trained.last
    facts: dict[str, Any] = {
        "format": FORMAT,
        "run": trained.params.name,
        "plan": hashlib.sha256(text.encode()).hexdigest()[:16],
        "weights": weights_digest(trained)[:16],
        "data": trained.store.manifest["sha256"]["table.csv"][:16],
        "parameters": trained.params.digest("seed", "cascade", "conditioning"),
        "scale": scale,
        "keep": settings,
        "block": keep.block,
        "n_targets": len(targets),
        "size": last.size,
        "n_frames": last.n_frames,
        "fps": last.fps,
        "labels": keep.labels,
    }
    return GeneratedFolder.claim(root, facts, text)


def generation_name(trained: Trained, targets: pd.DataFrame, scale: float) -> str:
    """A folder name that other weights, another plan or other settings would not get."""
    keep = trained.params.rebalancing.generation.model_dump(exclude={"labels"})
    facts = [FORMAT, targets.to_csv(index=False), scale, keep, trained.params.digest("seed")]
    text = f"{facts} {weights_digest(trained)} {trained.params.digest('cascade', 'conditioning')}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def generate(
    trained: Trained, folder: GeneratedFolder, chunk: Chunk | None = None,
    progress: Progress | None = None,
) -> list[int]:  # fmt: skip
    """Make the blocks of a chunk that are not done; returns those of all chunks still missing.

    With none missing the folder is assembled: manifest, FileList.csv and VolumeTracings.csv.
    """
    chunk = chunk or Chunk()
    mine = [block for block in folder.missing() if chunk.has(block)]
    if mine:
        generator = _generator(trained, folder)
        for done, block in enumerate(mine, start=1):
            if not folder.block_file(block).is_file():  # another process may have been faster
                make_block(generator, block)
            if progress is not None:
                progress(done, len(mine), f"block {block}")
    missing = folder.missing()
    if not missing:
        folder.assemble()
    return missing


def _check_anatomies(trained: Trained, targets: pd.DataFrame) -> None:
    if targets.empty:
        raise GenerationError(
            "the plan asks for no clip: no bin of TRAIN has fewer than it should; raise per_bin"
        )
    table = trained.store.table.set_index("FileName")
    known = targets["anatomy"].isin(table.index)
    split = table["Split"].reindex(targets["anatomy"]).to_numpy()
    bad = np.flatnonzero(~known.to_numpy() | (split != "TRAIN"))
    if len(bad):
        row = int(bad[0])
        name = targets["anatomy"].iloc[row]
        what = f"is a {split[row]} clip" if known.iloc[row] else "is not in this run's data"
        raise GenerationError(
            f"the plan's row {row + 2}: anatomy {name!r} {what}; only TRAIN clips are allowed"
        )


def _generator(trained: Trained, folder: GeneratedFolder) -> Generator:
    keep = KeepParams(**folder.facts["keep"], block=folder.facts["block"])
    store, last = trained.store, trained.last
    memory = None
    if keep.refuse_memorised:
        seed = trained.params.seed
        memory = memorisation_index(store, last.n_frames, last.fps, seed=seed)
    train = store.indices("TRAIN")
    rows = {str(store.table["FileName"][row]): int(row) for row in train}
    return Generator(trained, folder, keep, memory, rows)
