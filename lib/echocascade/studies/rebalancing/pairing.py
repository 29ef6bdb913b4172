"""Whose anatomy a generated clip gets: TRAIN patients only, by a declared rule."""

import numpy as np
from numpy.typing import NDArray

from echocascade.rng import numpy_generator

RULES = ("random", "nearest")


def pair_anatomies(
    requested: NDArray[np.float64], lvef: NDArray[np.float64], rule: str, cap: int | None, seed: int
) -> NDArray[np.int64]:
    """The row of the patient whose anatomy each request gets: (N,) into `lvef`.

    Args:
        requested: (N,) LVEF in percent; lvef: (P,) of the patients, percent.
        rule: "random" draws a patient at random, as the paper does; "nearest" takes the patient
            whose own LVEF is nearest to the request, so that as little as possible has to change.
        cap: most requests on one patient; None for no limit. Requests come in random order, so a
            cap favours none of them.
    Raises:
        ValueError: an unknown rule, or a cap that leaves requests without a patient.
    """
    if rule not in RULES:
        raise ValueError(f"pairing is {rule!r}; allowed are {', '.join(RULES)}")
    if cap is not None and cap * len(lvef) < len(requested):
        raise ValueError(
            f"cap {cap}: {len(lvef)} TRAIN patients give {cap * len(lvef)} anatomies,"
            f" {len(requested)} clips are planned"
        )
    rng = numpy_generator(seed, f"rebalancing pairing {rule}")
    if rule == "random":
        return _random(len(requested), len(lvef), cap, rng)
    return _nearest(requested, lvef, cap, rng)


def _random(n: int, n_patients: int, cap: int | None, rng: np.random.Generator) -> NDArray:
    if cap is None:
        return rng.integers(n_patients, size=n)
    tickets = np.repeat(np.arange(n_patients), cap)  # drawing without return keeps the cap
    return rng.permutation(tickets)[:n]


def _nearest(
    requested: NDArray, lvef: NDArray, cap: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    order = rng.permutation(len(lvef))  # equally near patients: none comes first by its name
    order = order[np.argsort(lvef[order], kind="stable")]
    free = _Free(lvef[order], len(requested) if cap is None else cap)
    chosen = np.empty(len(requested), np.int64)
    for i, value in enumerate(requested):
        chosen[i] = order[free.take(float(value))]
    return chosen


class _Free:
    """Places on an ascending line, each to be taken `cap` times; full ones are jumped over."""

    def __init__(self, values: NDArray[np.float64], cap: int) -> None:
        self.values = values
        self.left = np.full(len(values), cap)
        # the next place with room at or after (before) each one; shifted by 1 for the ends
        self.after = list(range(len(values) + 1))
        self.before = list(range(len(values) + 1))

    def take(self, value: float) -> int:
        """The nearest place with room, whose room it lessens by one."""
        at = int(np.searchsorted(self.values, value))
        up = self._find(self.after, at)
        down = self._find(self.before, at) - 1
        if down < 0 or (
            up < len(self.values) and self.values[up] - value < value - self.values[down]
        ):
            place = up
        else:
            place = down
        self.left[place] -= 1
        if self.left[place] == 0:
            self.after[place] = place + 1
            self.before[place + 1] = place
        return place

    @staticmethod
    def _find(links: list[int], start: int) -> int:
        """Follow links to the first place with room; they are shortened on the way."""
        end = start
        while links[end] != end:
            end = links[end]
        while links[start] != end and links[start] != start:
            links[start], start = end, links[start]
        return end
