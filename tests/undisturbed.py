"""What two runs of the same parameters must have in common, whatever befell one of them."""

import json
from pathlib import Path

import pandas as pd

TIME = ("second", "duration", "started")


def _timeless(name: str) -> bool:
    return not any(word in name for word in TIME)


def numbers(run: Path) -> dict[str, object]:
    """The run's results, without those that are times."""
    results = json.loads((run / "results.json").read_text())
    return {key: value for key, value in results.items() if _timeless(key)}


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Every table of the run by its path, without columns that are times."""
    found = {}
    for path in sorted((run / "tables").rglob("*.csv")):
        table = pd.read_csv(path)
        found[str(path.relative_to(run))] = table[[c for c in table if _timeless(str(c))]]
    return found


def assert_same_results(run: Path, undisturbed: Path) -> None:
    assert numbers(run) == numbers(undisturbed)
    ours, theirs = tables(run), tables(undisturbed)
    assert sorted(ours) == sorted(theirs)
    assert "tables/scores.csv" in ours
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], obj=name)
