"""The machine: what a precision means on which device."""

import pytest
import torch

from echocascade.runtime import float32_arithmetic, resolve_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def settings() -> list[str]:
    return [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]


@pytest.mark.parametrize(("precision", "setting"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_float32_on_a_gpu_is_what_was_asked_for_inside_the_block_alone(precision, setting):
    before = settings()
    with float32_arithmetic(precision, GPU):
        assert settings() == [setting, setting]
    assert settings() == before


@pytest.mark.parametrize(("precision", "device"), [("bf16", GPU), ("tf32", CPU), ("fp32", CPU)])
def test_nothing_is_set_where_it_would_mean_nothing(precision, device):
    before = settings()
    with float32_arithmetic(precision, device):
        assert settings() == before


def test_tf32_is_float32_where_there_is_no_gpu():
    assert resolve_precision("tf32", CPU) == "fp32"
    assert resolve_precision("tf32", GPU) == "tf32"
    assert resolve_precision("bf16", CPU) == "bf16"
