"""Where a run keeps its generated clips and its trainings, and a generated set in numbers."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from echocascade.studies.rebalancing.folder import MANIFEST, GenerationError


@dataclass(frozen=True)
class Places:
    """Folders below RUN/samples/rebalancing."""

    root: Path

    def clips(self, name: str) -> Path:
        """The generated data set of one plan and one set of weights, see `generation_name`."""
        return self.root / f"clips-{name}"

    @property
    def trainings(self) -> Path:
        return self.root / "trainings"

    @property
    def stores(self) -> Path:
        return self.root / "stores"

    def latest_clips(self) -> Path:
        """The data set that was begun last; GenerationError where there is none."""
        found = sorted(self.root.glob(f"clips-*/{MANIFEST}"), key=lambda p: p.stat().st_mtime)
        if not found:
            raise GenerationError(
                f"{self.root}: no generated clips there; run notebook 09, or rebalance generate"
                " and give its folder as --generated"
            )
        return found[-1].parent


def summary(provenance: pd.DataFrame) -> dict[str, object]:
    """Counts of a finished generated set: targets, draws, clips kept, draws refused and why."""
    kept = provenance["kept"]
    reasons = provenance.loc[~kept, "reason"].value_counts()
    error = (provenance["lvef_estimated"] - provenance["lvef_requested"]).abs()
    return {
        "n_targets": int(provenance["target"].nunique()),
        "n_draws": len(provenance),
        "n_kept": int(kept.sum()),
        "error_of_draws": float(error.mean()),
        "error_of_kept": float(error[kept].mean()),
        "refused": {str(reason).replace(" ", "_"): int(n) for reason, n in reasons.items()},
    }
