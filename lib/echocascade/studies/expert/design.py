"""Who sees which clip, in which order: a pure function of the seed and of the patients' names.

Every reader answers `trials` trials with the shares of real, factual and counterfactual clips that
were asked for, no two clips of one patient among them but hidden repeats, in another order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from echocascade.params import StudyParams
from echocascade.rng import numpy_generator
from echocascade.studies.expert.errors import StudyError

Kind = Literal["real", "factual", "counterfactual"]
Role = Literal["practice", "main", "repeat"]
KINDS: tuple[Kind, ...] = ("real", "factual", "counterfactual")
TASKS: dict[Kind, str] = {"factual": "reconstruction", "counterfactual": "generation"}


@dataclass(frozen=True)
class Patients:
    """Names of patients that generated clips exist of, and of those with a real clip alone."""

    generated: tuple[str, ...]
    real_only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """One clip of one patient; `draw` says which of the generated ones."""

    patient: str
    kind: Kind
    draw: int = 0


@dataclass(frozen=True)
class Trial:
    """What is asked once: one clip, or in mode "pairs" the left and the right one."""

    clips: tuple[Shown, ...]
    role: Role = "main"

    @property
    def truth(self) -> str:
        """The right answer: "real" or "generated"; of a pair "left" or "right", where real is."""
        if len(self.clips) == 1:
            return "real" if self.clips[0].kind == "real" else "generated"
        return "left" if self.clips[0].kind == "real" else "right"

    @property
    def kind(self) -> Kind:
        """The class that an answer counts for: of a pair, its generated clip's."""
        kinds = [clip.kind for clip in self.clips]
        return next((kind for kind in kinds if kind != "real"), "real")


@dataclass(frozen=True)
class Design:
    """The trials of each reader in the order shown, and what had to give way."""

    readers: dict[str, tuple[Trial, ...]]
    notes: tuple[str, ...] = ()


def design_study(
    study: StudyParams, seed: int, patients: Patients, readers: Sequence[str], draws: int = 1
) -> Design:
    """Draw the study.

    Args:
        readers: a name each; the order of a reader follows from the place among them.
        draws: generated clips a patient and task, of which one is picked blindly.

    Raises:
        StudyError: fewer patients than two trials need, or readers of one name.
    """
    if len(set(readers)) < len(readers) or not readers:
        raise StudyError(f"readers {', '.join(readers) or 'none'}: names that differ are needed")
    n, practice = _sizes(study, patients)
    order = _arranged(patients.generated, study, seed, 0)
    order += _arranged(patients.real_only, study, seed, 1)
    main = order[: sum(class_counts(study, n))]
    labels = _label(main, set(patients.generated), class_counts(study, n), (seed, 0, 0))
    core = _core(study, labels, n, seed)
    rest = [name for name in main if name not in {clip.patient for clip in core}]
    rest_counts = _minus(class_counts(study, n), _count(core))
    common = _trials(study, core, (seed, 0))
    warm_up = [Trial((Shown(name, "real"),), "practice") for name in order[len(main) :][:practice]]
    drawn = {}
    for place, reader in enumerate(readers, start=1):
        own = _label(rest, set(patients.generated), rest_counts, (seed, 1, place))
        trials = common + _trials(study, own, (seed, place))
        shown = _ordered(trials, round(study.repeats * n), (seed, place))
        drawn[reader] = tuple(warm_up + [_with_draws(trial, seed, draws) for trial in shown])
    return Design(drawn, _notes(study, n, practice))


def class_counts(study: StudyParams, n: int) -> tuple[int, int, int]:
    """Clips of each of KINDS in `n` trials: the shares by largest remainder, pairs half real."""
    if study.mode == "pairs":
        factual, counterfactual = allocate(n, study.shares[1:])
        return n, factual, counterfactual
    real, factual, counterfactual = allocate(n, study.shares)
    return real, factual, counterfactual


def allocate(n: int, shares: Sequence[float]) -> tuple[int, ...]:
    """`n` as whole numbers in the proportion of `shares` (largest remainder, first on ties)."""
    quota = np.asarray(shares, float) * n / np.sum(shares)
    whole = np.floor(quota + 1e-9).astype(int)
    first = np.argsort(-(quota - whole), kind="stable")[: n - whole.sum()]
    whole[first] += 1
    return tuple(int(count) for count in whole)


def _sizes(study: StudyParams, patients: Patients) -> tuple[int, int]:
    """Trials and practice clips a reader that the patients suffice for."""
    everyone = len(patients.generated) + len(patients.real_only)
    for n in range(study.trials, 0, -1):
        real, *generated = class_counts(study, n)
        enough = sum(generated) <= len(patients.generated) and real + sum(generated) <= everyone
        if enough and real and sum(generated):
            return n, min(study.practice, everyone - real - sum(generated))
    raise StudyError(
        f"{len(patients.generated)} patients with generated clips and {len(patients.real_only)} "
        "others: a study needs a real and a generated clip of two patients at least"
    )


def _arranged(names: Sequence[str], study: StudyParams, seed: int, group: int) -> list[str]:
    ordered = sorted(names)
    if study.selection == "random":
        rng = numpy_generator(seed, "study patients", group)
        return [ordered[i] for i in rng.permutation(len(ordered))]
    return ordered


def _label(
    names: Sequence[str], generated: set[str], counts: Sequence[int], address: tuple[int, int, int]
) -> list[Shown]:
    """A class for each name, in these numbers; only patients with generated clips get those."""
    seed, *index = address
    rng = numpy_generator(seed, "study classes", *index)
    able = [i for i, name in enumerate(names) if name in generated]
    _, factual, counterfactual = counts
    chosen = rng.permutation(able)[: factual + counterfactual]
    kinds: list[Kind] = ["real"] * len(names)
    for place, i in enumerate(chosen):
        kinds[i] = "factual" if place < factual else "counterfactual"
    return [Shown(name, kind) for name, kind in zip(names, kinds, strict=True)]


def _core(study: StudyParams, labels: list[Shown], n: int, seed: int) -> list[Shown]:
    """The clips of the trials that all readers share, with the shares of the whole."""
    shared = round(study.shared * n)
    wanted = allocate(shared, _count(labels)) if study.mode == "single" else ()
    if study.mode == "pairs":
        wanted = (shared, *allocate(shared, _count(labels)[1:]))
    core = []
    for group, (kind, count) in enumerate(zip(KINDS, wanted, strict=True)):
        of_kind = [clip for clip in labels if clip.kind == kind]
        rng = numpy_generator(seed, "study core", group)
        picked = set(rng.permutation(len(of_kind))[:count].tolist())
        core += [clip for i, clip in enumerate(of_kind) if i in picked]
    return core


def _trials(study: StudyParams, clips: list[Shown], address: tuple[int, int]) -> list[Trial]:
    """Each clip alone, or a real and a generated one side by side, real on the left half of times.

    `address`: the seed and the reader's place, 0 for what all share.
    """
    if study.mode == "single":
        return [Trial((clip,)) for clip in clips]
    seed, place = address
    rng = numpy_generator(seed, "study pairs", place)
    real = [clip for clip in clips if clip.kind == "real"]
    made = [clip for clip in clips if clip.kind != "real"]
    partners = rng.permutation(len(made))
    swapped = rng.permutation(np.arange(len(real)) % 2 == 0)
    pairs = [(clip, made[i]) for clip, i in zip(real, partners, strict=True)]
    return [Trial(pair[::-1] if swap else pair) for pair, swap in zip(pairs, swapped, strict=True)]


def _ordered(trials: list[Trial], n_repeats: int, address: tuple[int, int]) -> list[Trial]:
    """A reader's own order; repeats of trials of its first half lie in its last third."""
    seed, place = address
    rng = numpy_generator(seed, "study order", place)
    order = [trials[i] for i in rng.permutation(len(trials))]
    half = max(1, len(order) // 2)
    again = [Trial(order[i].clips, "repeat") for i in rng.permutation(half)[:n_repeats]]
    for trial in again:
        first = max(len(order) * 2 // 3, half)
        order.insert(int(rng.integers(first, len(order) + 1)), trial)
    return order


def _with_draws(trial: Trial, seed: int, draws: int) -> Trial:
    clips = tuple(Shown(clip.patient, clip.kind, _draw(clip, seed, draws)) for clip in trial.clips)
    return Trial(clips, trial.role)


def _draw(clip: Shown, seed: int, draws: int) -> int:
    if clip.kind == "real":
        return 0
    rng = numpy_generator(seed, f"study draw {clip.kind} {clip.patient}")
    return int(rng.integers(draws))


def _count(clips: Sequence[Shown]) -> tuple[int, ...]:
    return tuple(sum(clip.kind == kind for clip in clips) for kind in KINDS)


def _minus(counts: Sequence[int], others: Sequence[int]) -> list[int]:
    return [a - b for a, b in zip(counts, others, strict=True)]


def _notes(study: StudyParams, n: int, practice: int) -> tuple[str, ...]:
    notes = []
    if n < study.trials:
        notes.append(
            f"{n} trials a reader in place of study.trials {study.trials}: this run has no more "
            "patients with generated clips; raise evaluation.clips for more"
        )
    if practice < study.practice:
        notes.append(f"{practice} practice clips in place of {study.practice}: no more patients")
    return tuple(notes)
