"""lambda_c as a vector: normalised by declared ranges, and changed by a declared rule."""

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.cascade.scalars import Scalars
from echocascade.data.echonet import DatasetError
from echocascade.data.prepare import prepare_data
from echocascade.params import Params, ParamsError, ScalarParams

TABLE = pd.DataFrame(
    {"FileName": ["a", "b"], "EF": [50.0, 60.0], "ESV": [50.0, 80.0], "EDV": [100.0, 200.0],
     "HR": [60.0, 120.0]}
)  # fmt: skip
HR = {"column": "HR", "range": [40, 140]}


def scalars(tiny_params, *entries) -> Scalars:
    return Scalars.of(conditioned(tiny_params, *entries))


def conditioned(params: Params, *entries, **changes) -> Params:
    tree = params.model_dump() | {"conditioning": {"scalars": list(entries)}}
    tree["data"].update(changes)
    return Params.model_validate(tree)


def test_one_scalar_is_the_lvef_as_a_fraction(tiny_params):
    assert torch.equal(Scalars.of(tiny_params).of_clips(TABLE), torch.tensor([[0.5], [0.6]]))


def test_every_column_is_brought_to_zero_one_by_its_range_in_order(tiny_params):
    lambda_c = scalars(tiny_params, HR, "EF", "EDV").of_clips(TABLE)
    expected = torch.tensor([[0.2, 0.5, 100 / 700], [0.8, 0.6, 200 / 700]])
    torch.testing.assert_close(lambda_c, expected)


def test_another_lvef_keeps_the_edv_and_what_else_is_known_and_moves_the_esv(tiny_params):
    chosen = scalars(tiny_params, "EF", "ESV", "EDV", HR)
    own, asked = chosen.of_clips(TABLE), chosen.asked(TABLE, np.array([20.0, 60.0]))
    torch.testing.assert_close(asked[0], torch.tensor([0.2, 80 / 650, 100 / 700, 0.2]))
    assert torch.equal(asked[1], own[1])  # its own LVEF: nothing moves, not even by rounding


def test_volumes_alone_tell_the_lvef(tiny_params):
    asked = scalars(tiny_params, "ESV", "EDV").asked(TABLE, np.array([20.0, 60.0]))
    torch.testing.assert_close(asked[0], torch.tensor([80 / 650, 100 / 700]))


def test_an_esv_outside_its_range_is_held_at_its_end(tiny_params):
    narrow = scalars(tiny_params, {"column": "ESV", "range": [0, 60]}, "EDV")
    assert narrow.asked(TABLE.iloc[:1], np.array([10.0]))[0, 0] == 1


def test_a_request_without_a_clip_names_what_it_lacks(tiny_params):
    chosen = scalars(tiny_params, "EF", "ESV", "EDV")
    full = chosen.of_values({"EF": 20, "EDV": 100})
    torch.testing.assert_close(full, torch.tensor([[0.2, 80 / 650, 100 / 700]]))
    with pytest.raises(ValueError, match="conditioned on EF, ESV, EDV; ESV, EDV are missing"):
        chosen.of_values({"EF": 20})
    with pytest.raises(ValueError, match="EF is 120; allowed are 0 to 100"):
        chosen.of_values({"EF": 120, "EDV": 100})


def test_a_value_outside_the_declared_range_names_the_clip():
    narrow = Scalars((ScalarParams(column="EDV", range=(0, 150)),))
    with pytest.raises(ParamsError, match="EDV of 1 clips lies outside") as error:
        narrow.of_clips(TABLE)
    assert "0 to 150, e.g. b with 200" in str(error.value)


def test_a_column_that_the_clips_lack_names_those_they_have():
    with pytest.raises(ParamsError, match="no column 'Age'; the clips have EF, ESV, EDV, HR"):
        Scalars((ScalarParams(column="Age", range=(0, 100)),)).of_clips(TABLE)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["Age", "EF"], "column 'Age' has no known range"),
        (["EDV"], "EF must be among them, or both ESV and EDV"),
        (["EF", "EF"], "scalars must differ"),
        (["EF", {"column": "Split", "range": [0, 1]}], "Split of FileList.csv holds no numbers"),
        (["EF", {"column": "HR", "range": [5, 5]}], "the first must be less"),
    ],
)
def test_scalars_that_cannot_be_used_are_refused(tiny_params, entries, words):
    with pytest.raises(ValueError, match=words):
        conditioned(tiny_params, *entries)


def copied_with(folder, tmp_path, column: str, values: list[str]):
    """The rings with one column more in their table."""
    table = pd.read_csv(folder / "FileList.csv", dtype=str)
    table[column] = np.resize(values, len(table))
    root = tmp_path / "rings"
    root.mkdir()
    (root / "Videos").symlink_to(folder / "Videos")
    table.to_csv(root / "FileList.csv", index=False)
    return root


def test_the_store_keeps_a_column_of_the_users_own(tiny_params, pulsating_folder, tmp_path):
    root = copied_with(pulsating_folder, tmp_path, "HR", ["60", "120.5"])
    params = conditioned(tiny_params, "EF", HR, root=str(root))
    store = prepare_data(params, tmp_path / "data")
    assert store.table["HR"].tolist()[:3] == [60, 120.5, 60]
    assert Scalars.of(params).of_clips(store.table)[1, 1] == pytest.approx(0.805)


def test_a_cell_of_such_a_column_that_is_no_number_is_named_by_row(
    tiny_params, pulsating_folder, tmp_path
):
    root = copied_with(pulsating_folder, tmp_path, "HR", ["60"] * 29 + ["n/a"])
    params = conditioned(tiny_params, "EF", HR, root=str(root))
    with pytest.raises(DatasetError, match=r"31.*HR 'n/a' is not a number"):
        prepare_data(params, tmp_path / "data")
    missing = conditioned(tiny_params, "EF", {"column": "Age", "range": [0, 99]}, root=str(root))
    with pytest.raises(DatasetError, match="column 'Age' is missing"):
        prepare_data(missing, tmp_path / "data")
