"""What the project says of the stick's error is what ``echocascade stick-error`` measured."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from echocascade.cli import app
from echocascade.data.phantom import PHANTOM_VERSION
from echocascade.evaluation import stick
from echocascade.evaluation.stick_error import TUNING_SEEDS, phantom_error


@pytest.fixture(scope="module")
def recorded(root):
    return json.loads((root / "outputs/recorded/stick/stick_error.json").read_text())


def test_the_stated_error_is_the_recorded_one_on_phantoms_that_tuned_nothing(root, recorded):
    assert recorded["seed"] not in TUNING_SEEDS and recorded["n_clips"] == 300
    assert recorded["phantom_version"] == PHANTOM_VERSION
    mae = f"{recorded['MAE']:.1f}"
    assert f"MAE {mae} (95 %" in " ".join((stick.__doc__ or "").split())
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    assert f"it is {mae} points off" in readme


def test_the_first_recorded_clips_are_read_within_the_recorded_error(recorded):
    found = phantom_error(recorded["seed"], 12)
    assert np.isfinite(found.read).all()
    # twelve of the 300: two standard errors of their mean above the recorded one
    assert found.scores["MAE"] < recorded["MAE"] + 2 * recorded["RMSE"] / 12**0.5


def test_clips_as_drawn_are_read_too():
    found = phantom_error(77002, 4, view="drawn")
    assert found.scores["r"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--view", "painted"), "judged, drawn"), (("--clips", "2"), "at least 3")],
)
def test_what_cannot_be_measured_is_one_line_and_status_2(arguments, word):
    done = CliRunner().invoke(app, ["stick-error", *arguments])
    assert done.exit_code == 2 and word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
