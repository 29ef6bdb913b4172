"""Making a study: drawn, encoded and written in one go, whole or not at all."""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from echocascade.data.atomic import sync
from echocascade.studies.expert import folder
from echocascade.studies.expert.answers import FILE, AnswerStore, now
from echocascade.studies.expert.clips import RunClips, encode_clip, equal_sizes
from echocascade.studies.expert.design import Design, Shown, Trial, design_study
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.server import new_token, token_hash

Progress = Callable[[int, int, str], None]
NAME_BYTES = 12  # random: a name must not follow from the seed, which is public


@dataclass(frozen=True)
class Named:
    """A design with names that say nothing: of clips, and of each reader's trials in order."""

    design: Design
    files: dict[Shown, str]
    trials: dict[str, list[str]]

    @staticmethod
    def of(design: Design) -> "Named":
        """The names of a study are drawn once and kept in its folder."""
        clips = {clip for trials in design.readers.values() for t in trials for clip in t.clips}
        ordered = sorted(clips, key=lambda clip: (clip.patient, clip.kind, clip.draw))
        files = {clip: secrets.token_hex(NAME_BYTES) for clip in ordered}
        names = {
            reader: [secrets.token_hex(NAME_BYTES) for _ in trials]
            for reader, trials in design.readers.items()
        }
        return Named(design, files, names)


def create_study(
    source: RunClips,
    readers: Sequence[str],
    target: Path,
    facts: Mapping[str, object] = {},
    progress: Progress | None = None,
) -> Design:
    """Make the study of a run in `target`, which must not exist.

    Args:
        readers: a name each; `reader_names` makes them where nobody has one.
        facts: what else to record with the design, such as the run's name and commit.

    Raises:
        StudyError: `target` exists, or the run has too few patients.
    """
    if target.exists():
        raise StudyError(f"{target} exists; a study is never changed, choose another --out")
    params = source.params
    design = design_study(params.study, params.seed, source.patients(), readers, source.draws)
    named = Named.of(design)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    building.mkdir()
    try:
        _write_clips(building, source, named, progress)
        _write_room(building, source, named)
        _write_key(building, source, named, facts)
        AnswerStore(building / FILE, create=True).close()
        building.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return design


def reader_names(n: int) -> list[str]:
    """reader-1, reader-2, ..."""
    return [f"reader-{i}" for i in range(1, n + 1)]


def _write_clips(building: Path, source: RunClips, named: Named, progress: Progress | None) -> None:
    files = {}
    for i, (clip, name) in enumerate(named.files.items(), start=1):
        frames = source.frames(clip)
        files[name] = encode_clip(frames, source.fps, source.params.study.pixels)
        if progress is not None:
            progress(i, len(named.files), "clips")
    (building / folder.CLIPS).mkdir()
    for name, content in equal_sizes(files).items():
        (building / folder.CLIPS / f"{name}.mp4").write_bytes(content)


def _write_room(building: Path, source: RunClips, named: Named) -> None:
    study, last = source.params.study, source.params.cascade.stages[-1]
    settings = folder.Settings(
        secrets.token_hex(NAME_BYTES), study.mode, study.confidence, study.cannot_judge,
        last.fps, last.n_frames, source.params.is_phantom,
    )  # fmt: skip
    links = {name: folder.Link(new_token(), secrets.token_hex(32)) for name in named.design.readers}
    readers = {
        name: {
            "token_sha256": token_hash(links[name].token),
            "trials": [
                _room_trial(trial, trial_name, named.files)
                for trial, trial_name in zip(trials, named.trials[name], strict=True)
            ],
        }
        for name, trials in named.design.readers.items()
    }
    content = {"format": folder.FORMAT, "settings": asdict(settings), "readers": readers}
    _write(building / folder.STUDY, json.dumps(content, indent=1), 0o644)
    secret = {name: asdict(link) for name, link in links.items()}
    _write(building / folder.LINKS, json.dumps(secret, indent=1), 0o600)


def _room_trial(trial: Trial, name: str, files: Mapping[Shown, str]) -> dict[str, object]:
    shown = [files[clip] for clip in trial.clips]
    return {"id": name, "files": shown, "practice": trial.role == "practice"}


def _write_key(building: Path, source: RunClips, named: Named, facts: Mapping[str, object]) -> None:
    key = building / folder.KEY
    key.mkdir(mode=0o700)
    clips = pd.DataFrame([_key_clip(source, clip, name) for clip, name in named.files.items()])
    trials = pd.DataFrame(
        [
            _key_trial(trial, named, reader, position)
            for reader, shown in named.design.readers.items()
            for position, trial in enumerate(shown)
        ]
    )
    params = source.params
    design = {
        "created": now(), "seed": params.seed, "split": params.evaluation.split,
        "study": params.study.model_dump(mode="json"), "notes": list(named.design.notes),
        **facts,
    }  # fmt: skip
    _write(key / folder.KEY_CLIPS, clips.to_csv(index=False), 0o600)
    _write(key / folder.KEY_TRIALS, trials.to_csv(index=False), 0o600)
    _write(key / folder.KEY_DESIGN, json.dumps(design, indent=1), 0o600)


def _key_clip(source: RunClips, clip: Shown, name: str) -> dict[str, object]:
    row: dict[str, object] = {
        "file": name, "kind": clip.kind, "FileName": clip.patient, "draw": clip.draw,
        "lvef_true": source.lvef_percent(clip.patient),
    }  # fmt: skip
    if clip.kind != "real":
        found = source.row(clip).iloc[0]
        row |= {"lvef_requested": float(found["lvef_requested"]), "chunk": found["chunk"]}
        row |= {"row": int(found["row"])}
    return row


def _key_trial(trial: Trial, named: Named, reader: str, position: int) -> dict[str, object]:
    return {
        "reader": reader, "position": position, "trial": named.trials[reader][position],
        "role": trial.role, "truth": trial.truth, "kind": trial.kind,
        "files": " ".join(named.files[clip] for clip in trial.clips),
    }  # fmt: skip


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=mode)
    path.write_text(text + "\n" if not text.endswith("\n") else text, encoding="utf-8")
    sync(path)
