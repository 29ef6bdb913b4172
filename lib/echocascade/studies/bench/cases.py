"""What is measured: a list of cases, each run by a process of its own.

Nothing heavy is imported here: the process that starts the others stays small.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

PEERS = {"imagen-pytorch": "1.21.6"}


@dataclass(frozen=True)
class Size:
    """One of the authors' networks: parameters file, stage, pixels, frames (FACTS Sec. 3)."""

    params_file: str
    stage: str
    size: int
    n_frames: int


SIZES = {
    "1scm_base": Size("1scm.yaml", "base", 112, 16),
    "2scm_base": Size("2scm.yaml", "base", 56, 16),
    "2scm_tssr": Size("2scm.yaml", "tssr", 112, 64),
    "4scm_ssr": Size("4scm.yaml", "ssr", 112, 64),
}
TRAINED = "2scm_base"  # the one whose training step a small machine holds


@dataclass(frozen=True)
class Case:
    """One measurement.

    name: `kind/what/how`; dtype: fp32, tf32, bf16 or uint8; batch: samples at a time; peer: the
    package that runs it instead of ours; allocator: `own` or `default`, what C's malloc does with
    freed memory (`runtime.keep_freed_memory`).
    """

    name: str
    dtype: str
    batch: int
    peer: str | None = None
    allocator: str = "own"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def label(self) -> str:
        whose = "" if self.peer is None else f" ({self.peer})"
        return f"{self.name} {self.dtype}, batch {self.batch}{whose}"


@dataclass(frozen=True)
class Plan:
    """What to measure and how.

    sizes: keys of SIZES; dtypes: of our networks; runs: measured ones after `warmup`, their median
    counts; compiled: torch.compile; graphs: CUDA graphs; peer: measure it too; threads: of PyTorch,
    all cores by default; params_file: the cascade whose sampler is measured.
    """

    device: str = "cpu"
    sizes: tuple[str, ...] = ("1scm_base", "2scm_base", "2scm_tssr")
    dtypes: tuple[str, ...] = ("fp32", "bf16")
    batches: tuple[int, ...] = (1, 2)
    runs: int = 5
    warmup: int = 1
    compiled: bool = False
    graphs: bool = False
    peer: str | None = None
    threads: int | None = None
    params_file: str = "params/quick.yaml"
    only: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Plan":
        """From what JSON or a command line has: lists where a plan has tuples."""
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
        }
        return Plan(**given)

    def __post_init__(self) -> None:
        _allowed("device", (self.device,), ("cpu", "cuda"))
        _allowed("size", self.sizes, tuple(SIZES))
        _allowed("dtype", self.dtypes, ("fp32", "tf32", "bf16"))
        if self.peer is not None:
            _allowed("peer", (self.peer,), tuple(PEERS))
        if self.device == "cpu" and (self.graphs or "tf32" in self.dtypes):
            what = "CUDA graphs need" if self.graphs else "dtype tf32 needs"
            raise ValueError(f"{what} --device cuda")
        if self.runs < 1 or self.warmup < 0 or min(self.batches, default=0) < 1:
            raise ValueError(
                f"runs {self.runs}, warm-up {self.warmup}, batches {self.batches}; "
                "allowed: at least 1, 0 and 1"
            )

    def cases(self) -> list[Case]:
        """All cases in the order they run: a peer's right after ours of the same shape."""
        found = [*self._networks(), *self._rest()]
        if self.only:
            found = [c for c in found if any(c.name.startswith(o) for o in self.only)]
        if not found:
            raise ValueError(f"--only {' '.join(self.only)} leaves nothing to measure")
        return found

    def _networks(self) -> list[Case]:
        found: list[Case] = []
        steps = [(f"network/{size}/forward", b) for size in self.sizes for b in self.batches]
        if TRAINED in self.sizes:
            steps.append((f"network/{TRAINED}/training_step", 1))
        for name, batch in steps:
            found += [Case(name, dtype, batch) for dtype in self.dtypes]
            if self.peer is not None:
                theirs = Case(name, "fp32", batch, self.peer, "default")
                found.append(theirs)
                if self.device == "cpu" and TRAINED in name:
                    # how much of the difference is the allocator's; keeping what it frees, the
                    # peer's largest network takes more memory than a small machine has
                    found.append(replace(theirs, allocator="own"))
        return found

    def _rest(self) -> list[Case]:
        own = self.dtypes[-1]
        return [
            Case("sampler/one video", own, 1),
            Case("sampler/batch", own, 8),
            Case("data/read batch", "uint8", 16),
            Case("data/decode and resample", "uint8", 1),
            Case("data/decode and zoom", "uint8", 1),
            Case("phantom/clip", "uint8", 1),
            *(Case(f"regressor/{what}/predict", own, 1) for what in ("small", "r2plus1d_18")),
            Case("regressor/small/training_step", own, 16),
        ]


def _allowed(what: str, found: Sequence[str], allowed: Sequence[str]) -> None:
    wrong = [f for f in found if f not in allowed]
    if wrong or not found:
        raise ValueError(f"{what} {', '.join(wrong) or 'missing'}; allowed: {', '.join(allowed)}")
