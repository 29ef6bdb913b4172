"""The folder of a study, with what the reading room may know apart from what it must not.

STUDY/study.json       what is shown: settings, each reader's trials under opaque names
STUDY/clips/           one file a clip, all of one size, under opaque names
STUDY/answers.sqlite   the answers (`answers`)
STUDY/links.json       each reader's secret link and signing key: for who runs the study
STUDY/key/             which clip is what: the reading room never opens it
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from echocascade.studies.expert.answers import FILE
from echocascade.studies.expert.errors import StudyError

if TYPE_CHECKING:  # the reading room starts without it
    import pandas as pd

FORMAT = 1
STUDY, LINKS, CLIPS, KEY = "study.json", "links.json", "clips", "key"
KEY_CLIPS, KEY_TRIALS, KEY_DESIGN = "clips.csv", "trials.csv", "design.json"
_OPAQUE = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class RoomTrial:
    """A trial as the reading room knows it: names that say nothing, and whether it is practice."""

    id: str
    files: tuple[str, ...]
    practice: bool


@dataclass(frozen=True)
class Reader:
    """A reader: the hash of the link's token, the trials in order."""

    name: str
    token_sha256: str
    trials: tuple[RoomTrial, ...]


@dataclass(frozen=True)
class Settings:
    """What the page has to know."""

    study: str
    mode: Literal["single", "pairs"]
    confidence: bool
    cannot_judge: bool
    fps: float
    n_frames: int
    phantom: bool


@dataclass(frozen=True)
class Study:
    """A study without its key."""

    directory: Path
    settings: Settings
    readers: Mapping[str, Reader]

    @property
    def answers_file(self) -> Path:
        return self.directory / FILE

    def clip(self, name: str) -> Path:
        """The file of a clip; its name was checked when the study was read."""
        return self.directory / CLIPS / f"{name}.mp4"

    def allowed_answers(self) -> tuple[str, ...]:
        """The words that an answer may be."""
        words = ("real", "generated") if self.settings.mode == "single" else ("left", "right")
        return (*words, "cannot judge") if self.settings.cannot_judge else words

    def digest(self) -> str:
        """Of what is shown: a file that a reader brings back must carry the same."""
        facts = [asdict(self.settings), [asdict(reader) for reader in self.readers.values()]]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Link:
    """What one reader gets: the token of the link, and the key that signs the file."""

    token: str
    signing_key: str


def load_study(directory: Path) -> Study:
    """Read and check ``study.json``; StudyError says what is missing or wrong."""
    file = directory / STUDY
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise StudyError(f"{file}: format {content['format']!r}; this version reads {FORMAT}")
        settings = Settings(**content["settings"])
        readers = {name: _reader(name, entry) for name, entry in content["readers"].items()}
    except OSError:
        raise StudyError(f"{directory}: no study there (no {STUDY}); see study create") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{file}: not a study ({type(error).__name__}: {error})") from None
    return Study(directory, settings, readers)


def load_links(directory: Path) -> dict[str, Link]:
    """Tokens and signing keys by reader."""
    try:
        content = json.loads((directory / LINKS).read_text(encoding="utf-8"))
        return {name: Link(**entry) for name, entry in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"{directory / LINKS}: cannot be read ({error})") from None


@dataclass(frozen=True)
class Key:
    """The truth: `clips` a row a file, `trials` a row a reader and position, `design` how drawn.

    The column `shown` of `trials` says what was on the screen, in words that a second drawing of
    the same study gives again, unlike the names of its files.
    """

    clips: "pd.DataFrame"
    trials: "pd.DataFrame"
    design: dict[str, object]


def load_key(directory: Path) -> Key:
    """Read the key: for the analysis alone."""
    import pandas as pd

    folder = directory / KEY
    try:
        design = json.loads((folder / KEY_DESIGN).read_text(encoding="utf-8"))
        clips = pd.read_csv(folder / KEY_CLIPS, dtype={"file": str, "FileName": str})
        trials = pd.read_csv(folder / KEY_TRIALS, dtype={"trial": str, "files": str, "reader": str})
    except (OSError, ValueError) as error:
        raise StudyError(f"{folder}: the key cannot be read ({error})") from None
    words = {
        file: f"{patient} {kind} {draw}"
        for file, patient, kind, draw in clips[["file", "FileName", "kind", "draw"]].itertuples(
            index=False
        )
    }
    trials["shown"] = [
        " | ".join(words[name] for name in str(files).split()) for files in trials["files"]
    ]
    return Key(clips, trials, design)


def _reader(name: str, entry: Mapping[str, object]) -> Reader:
    trials = entry["trials"]
    if not isinstance(trials, list):
        raise ValueError(f"the trials of {name} are no list")
    found = tuple(
        RoomTrial(_opaque(trial["id"]), tuple(map(_opaque, trial["files"])), trial["practice"])
        for trial in trials
    )
    return Reader(name, str(entry["token_sha256"]), found)


def _opaque(name: object) -> str:
    """A name that can be nothing but a file of the study."""
    if not isinstance(name, str) or not _OPAQUE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a clip or trial")
    return name
