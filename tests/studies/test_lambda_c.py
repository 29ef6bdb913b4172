"""Counterfactuals of a cascade that is told more than the LVEF."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from echocascade.params import Params


@pytest.fixture
def told_volumes(tiny_trained):
    tree = tiny_trained.params.model_dump()
    tree["conditioning"]["scalars"] = ["EF", "ESV", "EDV"]
    return replace(tiny_trained, params=Params.model_validate(tree))


def test_a_patient_asked_for_another_lvef_keeps_its_edv_and_gets_the_esv_that_follows(
    told_volumes,
):
    rows = np.array([2, 5])
    lambda_c = told_volumes.lambda_c(np.array([30.0, 60.0]), rows)
    edv = told_volumes.store.table["EDV"].to_numpy()[rows]
    expected = np.stack([[0.3, 0.6], edv * [0.7, 0.4] / 650, edv / 700], axis=1)
    np.testing.assert_allclose(lambda_c.numpy(), expected, rtol=1e-6)


def test_without_a_patient_only_the_lvef_can_be_asked_for(tiny_trained, told_volumes):
    asked = np.array([30.0, 60.0])
    torch.testing.assert_close(tiny_trained.lambda_c(asked), torch.tensor([[0.3], [0.6]]))
    with pytest.raises(ValueError, match="told EF, ESV, EDV: say which clips' to keep"):
        told_volumes.lambda_c(asked)
