"""Results on disk: flat, plain, whole."""

import json
import math

import numpy as np
import pytest
import torch

from echocascade.report.files import flatten, read_json, write_json


def test_nested_results_become_dotted_keys_of_plain_numbers():
    nested = {"loss": {"train": np.float32(0.5), "steps": np.int64(3)}, "r": torch.tensor(0.25)}
    flat = flatten(nested, "train.base")
    assert flat == {"train.base.loss.train": 0.5, "train.base.loss.steps": 3, "train.base.r": 0.25}
    assert [type(value) for value in flat.values()] == [float, int, float]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("nan")])
def test_a_number_without_value_is_null(value):
    assert flatten({"x": value}) == {"x": None}


def test_intervals_stay_lists():
    assert flatten({"R2_interval": (0.1, np.float64(0.2))}) == {"R2_interval": [0.1, 0.2]}


@pytest.mark.parametrize("value", [np.zeros(3), object(), torch.zeros(2)])
def test_what_is_not_a_number_is_refused_with_its_key(value):
    with pytest.raises(ValueError, match=r"result a\.b"):
        flatten({"a": {"b": value}})


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "results.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(file, {"a": math.nan})
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["", "[1]", '{"a": '])
def test_a_damaged_file_is_named(tmp_path, text):
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"results\.json"):
        read_json(file)
