"""Which LVEFs to generate: what the histogram of TRAIN lacks (FACTS Sec. 6; Reynaud23 Sec. 3)."""

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from echocascade.data.atomic import write_text
from echocascade.data.echonet import DatasetError, read_file_list
from echocascade.params import PlanParams
from echocascade.rng import numpy_generator
from echocascade.studies.rebalancing.pairing import pair_anatomies

COLUMNS = ("target", "lvef_requested", "low", "high", "anatomy", "anatomy_lvef")
DECIMALS = 4  # of a requested LVEF, cut and not rounded: rounding could leave the bin


class PlanError(ValueError):
    """A target that cannot be planned, or a file that is no plan."""


@dataclass(frozen=True)
class Bins:
    """Bins of LVEF in percent, ascending: low <= LVEF < high; the last one has its end in it."""

    low: NDArray[np.floating]
    high: NDArray[np.floating]

    @staticmethod
    def regular(low: float, high: float, width: float) -> "Bins":
        """Bins of one width; PlanError where the range is no whole number of them."""
        n = round((high - low) / width)
        if n < 1 or abs(low + n * width - high) > 1e-9:
            raise PlanError(f"low {low:g}, high {high:g}: not a whole number of bins of {width:g}")
        edges = np.asarray(low + width * np.arange(n + 1), np.float64)
        return Bins(edges[:-1], edges[1:])

    def __len__(self) -> int:
        return len(self.low)

    def find(self, lvef_percent: ArrayLike) -> NDArray[np.int64]:
        """The bin of each LVEF (N,), -1 for none."""
        lvef = np.asarray(lvef_percent, np.float64)
        place = np.searchsorted(self.low, lvef, side="right") - 1
        inside = (place >= 0) & ((lvef < self.high[place]) | (lvef == self.high[-1]))
        return np.where(inside, place, -1)

    def nearest(self, lvef_percent: ArrayLike) -> NDArray[np.int64]:
        """The bin of each LVEF (N,), the first or the last one for what lies outside."""
        place = np.searchsorted(self.low, np.asarray(lvef_percent, np.float64), side="right") - 1
        return np.clip(place, 0, len(self) - 1)

    def count(self, lvef_percent: ArrayLike) -> NDArray[np.int64]:
        """How many of LVEFs (N,) lie in each bin."""
        place = self.find(lvef_percent)
        return np.bincount(place[place >= 0], minlength=len(self))


@dataclass(frozen=True)
class Plan:
    """bins: low, high, real, generate, a row a bin; targets: COLUMNS, a row a clip to generate;
    n_real: TRAIN clips of the table, those outside of all bins among them."""

    bins: pd.DataFrame
    targets: pd.DataFrame
    n_real: int

    def to_json(self) -> dict[str, object]:
        """The object that `echocascade rebalance plan --json` prints."""
        return {
            "n_generate": len(self.targets),
            "n_real": self.n_real,
            "bins": [
                {
                    "low": float(row["low"]),
                    "high": float(row["high"]),
                    "real": int(row["real"]),
                    "generate": int(row["generate"]),
                }
                for row in self.bins.to_dict("records")
            ],
        }

    def write(self, path: Path) -> None:
        """Write the targets as CSV, the file that `read_targets` reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.targets.to_csv(index=False, lineterminator="\n"))


def make_plan(table: pd.DataFrame, wanted: PlanParams, seed: int = 0) -> Plan:
    """The clips that the TRAIN rows of a FileList lack, each with a TRAIN anatomy.

    Args:
        table: FileName, EF (percent) and Split, as `data.echonet.read_file_list` returns them.
    Raises:
        PlanError: no TRAIN row, a range or histogram that makes no bins, a cap that is too small.
    """
    train = table[table["Split"] == "TRAIN"]
    if train.empty:
        raise PlanError("the table has no TRAIN row: there is nothing to rebalance")
    lvef = train["EF"].to_numpy(np.float64)
    bins, target = _target(wanted, lvef)
    real = bins.count(lvef)
    generate = np.maximum(0, target - real)
    if wanted.most is not None and wanted.most < generate.sum():
        rng = numpy_generator(seed, "rebalancing plan order")
        generate = raise_lowest(real, generate, wanted.most, rng)
    requested = _requests(bins, generate, seed)
    rows = pair_anatomies(requested, lvef, wanted.pairing, wanted.cap, seed)
    place = bins.find(requested)
    names = train["FileName"].to_numpy()
    values = (
        np.arange(len(requested)), requested, bins.low[place], bins.high[place], names[rows],
        lvef[rows],
    )  # fmt: skip
    targets = pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
    counts = {"low": bins.low, "high": bins.high, "real": real, "generate": generate}
    return Plan(pd.DataFrame(counts), targets, len(train))


def plan_file_list(file: Path, wanted: PlanParams, seed: int = 0) -> Plan:
    """`make_plan` of a FileList.csv; its videos need not be there. PlanError says what is wrong."""
    try:
        table = read_file_list(file.parent, find_videos=False, name=file.name)
    except DatasetError as error:
        raise PlanError(error.summary) from None
    try:
        return make_plan(table, wanted, seed)
    except ValueError as error:
        raise PlanError(f"{file}: {error}") from None


def bins_of_targets(targets: pd.DataFrame, wanted: PlanParams) -> Bins:
    """The bins that a plan was made for: of its parameters, or those that its targets lie in."""
    if wanted.histogram is None:
        return Bins.regular(wanted.low, wanted.high, wanted.bin_width)
    edges = targets[["low", "high"]].drop_duplicates().sort_values("low")
    return Bins(edges["low"].to_numpy(), edges["high"].to_numpy())


def raise_lowest(
    have: ArrayLike, room: ArrayLike, total: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """How many of `total` clips each bin gets so that the emptiest are filled first: (B,).

    have (B,): clips already there; room (B,): the most that may be added. Bins that are equally
    empty take turns in random order. Fewer than `total` are given where the room ends.
    """
    left = np.array(room, np.int64)
    given = np.zeros_like(left)
    heap = [(int(h), rng.random(), i) for i, h in enumerate(np.asarray(have)) if left[i] > 0]
    heapq.heapify(heap)
    for _ in range(min(total, int(left.sum()))):
        count, _, i = heapq.heappop(heap)
        given[i] += 1
        if given[i] < left[i]:
            heapq.heappush(heap, (count + 1, rng.random(), i))
    return given


def read_targets(path: Path) -> pd.DataFrame:
    """The targets of a plan file, checked: COLUMNS.

    Raises:
        PlanError: naming the file, the row or the column.
    """
    if not path.is_file():
        raise PlanError(f"{path}: there is no such plan")
    try:
        table = pd.read_csv(path, dtype={"anatomy": str}, keep_default_na=False)
    except ValueError as error:
        raise PlanError(f"{path}: not a CSV table: {str(error).splitlines()[0]}") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise PlanError(
            f"{path}: column {missing[0]!r} is missing (found {', '.join(map(str, table))})"
        )
    if table.empty:
        raise PlanError(f"{path}: no row below the header")
    for column in ("lvef_requested", "low", "high", "anatomy_lvef"):
        values = pd.to_numeric(table[column], errors="coerce")
        bad = np.flatnonzero(~values.between(0, 100))
        if len(bad):
            found = table[column].iloc[bad[0]]
            raise PlanError(
                f"{path} row {bad[0] + 2}: {column} {found!r}, 0 to 100 percent is allowed"
            )
        table[column] = values.astype(float)
    if list(table["target"]) != list(range(len(table))):
        raise PlanError(f"{path}: target must count the rows from 0")
    return table[list(COLUMNS)]


def _target(wanted: PlanParams, lvef: NDArray[np.float64]) -> tuple[Bins, NDArray[np.int64]]:
    """Bins, and how many clips each is to hold."""
    if wanted.histogram is not None:
        return _read_histogram(Path(wanted.histogram))
    bins = Bins.regular(wanted.low, wanted.high, wanted.bin_width)
    height = bins.count(lvef).max() if wanted.per_bin == "uniform" else wanted.per_bin
    return bins, np.full(len(bins), height, np.int64)


def _read_histogram(path: Path) -> tuple[Bins, NDArray[np.int64]]:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: cannot be read as a histogram: {error}") from None
    missing = [name for name in ("low", "high", "count") if name not in table]
    if missing or table.empty:
        raise PlanError(f"{path}: a histogram has columns low, high, count, and a row a bin")
    cells = table[["low", "high", "count"]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    low, high, count = cells.T
    follows = np.r_[True, low[1:] >= high[:-1]]
    good = (low >= 0) & (low < high) & (high <= 100) & (count >= 0) & (count % 1 == 0) & follows
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise PlanError(
            f"{path} row {row + 2}: a bin needs 0 <= low < high <= 100, a whole count of 0 or more,"
            " and to begin where the one before has ended or later"
        )
    return Bins(low, high), count.astype(np.int64)


def _requests(bins: Bins, generate: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """An LVEF for each clip, uniform in its bin; in random order, so that any part is a sample."""
    drawn = [
        low + (high - low) * numpy_generator(seed, "rebalancing plan", i).random(n)
        for i, (low, high, n) in enumerate(zip(bins.low, bins.high, generate, strict=True))
    ]
    cut = np.floor(np.concatenate(drawn) * 10**DECIMALS) / 10**DECIMALS
    lows = np.repeat(bins.low, generate)
    requests = np.maximum(cut, lows)
    return numpy_generator(seed, "rebalancing plan shuffle").permutation(requests)
