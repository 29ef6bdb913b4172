"""The machine: what a precision means on which device."""

import subprocess
import sys

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


def test_the_peak_of_a_process_is_its_own_and_not_that_of_who_started_it():
    held = bytearray(400 * 2**20)  # this process's mark is above that from here on
    held[::4096] = b"x" * len(held[::4096])
    code = (
        "from echocascade.runtime import peak_resident_bytes as peak; before = peak();"
        "held = bytearray(10**8); held[::4096] = b'x' * len(held[::4096]); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(1e8, rel=0.1)
