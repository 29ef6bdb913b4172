"""A folder of generated clips: what it was made for, which parts are done, one manifest.

    ROOT/generation.json       what the clips were made from, by digest, and how they are labelled
    ROOT/plan.csv              the targets
    ROOT/Videos/<name>.avi     the clips that were kept, or ROOT/Shards/00000.tar, one a block
    ROOT/blocks/00000.csv      every draw of a block of targets, and .tracings.csv beside it
    ROOT/provenance.csv        all blocks as one table: every draw, kept or refused and why
    ROOT/FileList.csv          the kept clips (EchoNet-Dynamic layout, Ouyang20)
    ROOT/VolumeTracings.csv    their tracings

A block is done when its table is there; any number of processes may work on blocks, in any order,
on any number of machines that see the folder. Two that do the same block write the same bytes.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from echocascade.data.atomic import replacing, write_text
from echocascade.data.shards import SHARDS, Sample, write_shard
from echocascade.data.tables import FILE_LIST, TRACINGS, VIDEOS
from echocascade.studies.rebalancing.labels import file_list
from echocascade.studies.rebalancing.plan import read_targets

MANIFEST, PLAN, BLOCKS, PROVENANCE = "generation.json", "plan.csv", "blocks", "provenance.csv"
TEXT_COLUMNS = {"FileName": str, "anatomy": str, "reason": str}


class GenerationError(ValueError):
    """A folder of generated clips that cannot be made, completed or read."""


@dataclass(frozen=True)
class GeneratedFolder:
    """The folder at `root` for the clips that `facts` describe (generation.json)."""

    root: Path
    facts: dict[str, Any]

    @staticmethod
    def claim(root: Path, facts: dict[str, Any], plan_text: str) -> "GeneratedFolder":
        """Begin a folder, or go on with one that was begun for the same clips.

        Raises:
            GenerationError: it holds clips of another plan, other weights or settings, or
                something that is no generated data set.
        """
        path = root / MANIFEST
        if path.is_file():
            found = GeneratedFolder.open(root).facts
            differing = [key for key in facts if key != "labels" and found.get(key) != facts[key]]
            if differing:
                raise GenerationError(
                    f"{root} holds clips made with another {' and '.join(differing)};"
                    " choose another folder"
                )
        elif root.exists() and any(root.iterdir()):
            raise GenerationError(f"{root} is not empty and holds no {MANIFEST}; choose another")
        for folder in (root / (SHARDS if facts["keep"]["shards"] else VIDEOS), root / BLOCKS):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(root / PLAN, plan_text)
        write_text(path, json.dumps(facts, indent=1) + "\n")
        return GeneratedFolder(root, facts)

    @staticmethod
    def open(root: Path) -> "GeneratedFolder":
        """A folder that exists; GenerationError where there is none."""
        try:
            facts = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        except OSError:
            raise GenerationError(f"{root}: no generated data set there ({MANIFEST})") from None
        except ValueError as error:
            raise GenerationError(f"{root / MANIFEST}: not valid JSON ({error})") from None
        return GeneratedFolder(root, facts)

    @cached_property  # a plan of a million rows takes seconds to read, and every block asks for it
    def targets(self) -> pd.DataFrame:
        return read_targets(self.root / PLAN)

    @property
    def n_blocks(self) -> int:
        return -(-int(self.facts["n_targets"]) // int(self.facts["block"]))

    def block_targets(self, block: int) -> pd.DataFrame:
        """The rows of the plan that a block consists of."""
        size = int(self.facts["block"])
        return self.targets.iloc[block * size : (block + 1) * size]

    def block_file(self, block: int) -> Path:
        return self.root / BLOCKS / f"{block:05d}.csv"

    def missing(self) -> list[int]:
        """Blocks that are not done."""
        return [i for i in range(self.n_blocks) if not self.block_file(i).is_file()]

    def keep_clips(self, block: int, samples: list[Sample]) -> None:
        """Leave the clips of a block, each in its file or all in one shard."""
        if self.facts["keep"]["shards"]:
            write_shard(self.root / SHARDS / f"{block:05d}.tar", samples)
            return
        for sample in samples:
            with replacing(self.root / VIDEOS / f"{sample.name}.avi", durable=False) as temporary:
                temporary.write_bytes(sample.avi)

    def write_block(self, block: int, rows: pd.DataFrame, tracings: pd.DataFrame) -> None:
        """Leave a finished block: its tracings, then its table, which marks it as done."""
        path = self.block_file(block)
        write_text(path.with_suffix(".tracings.csv"), _csv(tracings))
        write_text(path, _csv(rows))

    def assemble(self, labels: str | None = None) -> pd.DataFrame:
        """Write the manifest and the tables of a finished folder; returns the manifest.

        labels: the kind that FileList.csv gets from now on; by default the one it was made for.

        Raises:
            GenerationError: a block is missing.
        """
        missing = self.missing()
        if missing:
            raise GenerationError(
                f"{self.root}: {len(missing)} of {self.n_blocks} blocks are missing, the first is"
                f" {missing[0]}; run rebalance generate again"
            )
        files = [self.block_file(i) for i in range(self.n_blocks)]
        provenance = pd.concat(map(_read, files), ignore_index=True)
        tracings = [f.with_suffix(".tracings.csv").read_text(encoding="utf-8") for f in files]
        head = tracings[0].partition("\n")[0] + "\n"
        facts = self.facts | ({"labels": labels} if labels else {})
        text = file_list(
            provenance, facts["labels"], facts["size"], facts["n_frames"], facts["fps"]
        )
        write_text(self.root / PROVENANCE, _csv(provenance))
        write_text(self.root / TRACINGS, head + "".join(t.partition("\n")[2] for t in tracings))
        write_text(self.root / FILE_LIST, text)
        if labels:
            write_text(self.root / MANIFEST, json.dumps(facts, indent=1) + "\n")
        return provenance

    def provenance(self) -> pd.DataFrame:
        """The manifest of a finished folder."""
        path = self.root / PROVENANCE
        if not path.is_file():
            raise GenerationError(f"{path}: not there yet; run rebalance generate again")
        return _read(path)


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=TEXT_COLUMNS)
    return table.assign(reason=table["reason"].fillna(""))
