"""What two runs of the same parameters must have in common, whatever befell one of them."""

import json
from pathlib import Path

import pandas as pd

# times, and how often a training had to say that it found a trace of what befell it
OWN = ("second", "duration", "started", "warnings")


def _in_common(name: str) -> bool:
    return not any(word in name for word in OWN)


def numbers(run: Path) -> dict[str, object]:
    """The run's results, without those that are its own."""
    results = json.loads((run / "results.json").read_text())
    return {key: value for key, value in results.items() if _in_common(key)}


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Every table of the run by its path, without columns that are its own."""
    found = {}
    for path in sorted((run / "tables").rglob("*.csv")):
        table = pd.read_csv(path)
        found[str(path.relative_to(run))] = table[[c for c in table if _in_common(str(c))]]
    return found


def assert_same_results(run: Path, undisturbed: Path) -> None:
    assert numbers(run) == numbers(undisturbed)
    ours, theirs = tables(run), tables(undisturbed)
    assert sorted(ours) == sorted(theirs)
    assert "tables/scores.csv" in ours
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], obj=name)
