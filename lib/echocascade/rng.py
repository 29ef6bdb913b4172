"""Random numbers with an address: (seed, purpose, index ...), never a global state.

The generator of an address is the same in any batch, chunk, process or run, so sample 17 starts
from the same noise alone or in a batch, and training step k draws the same numbers whether the
run was interrupted before it or not.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed for the address (seed, purpose, index ...).

    SHA-256 of the address: nearby addresses give unrelated streams, and the value does not depend
    on the platform or on Python's hash randomisation.
    """
    address = "/".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator for the address; drawing on the CPU makes every device start alike."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *index))


def numpy_generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator for the address."""
    return np.random.default_rng(derive_seed(seed, purpose, *index))


class SampleNoise:
    """One independent noise stream per sample of a batch.

    Calling it with a tensor of shape (B, ...) returns float32 standard normal noise of the same
    shape and device, row b drawn from the stream of ``indices[b]`` alone. Passed to a sampler as
    ``randn_like`` it makes a sample independent of the batch it is drawn in.
    """

    def __init__(self, seed: int, purpose: str, indices: Sequence[int]) -> None:
        self._generators = [torch_generator(seed, purpose, i) for i in indices]

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        if like.shape[0] != len(self._generators):
            raise ValueError(
                f"this noise is for {len(self._generators)} samples, "
                f"found a batch of {like.shape[0]}"
            )
        rows = [torch.randn(like.shape[1:], generator=g) for g in self._generators]
        noise = torch.stack(rows)
        if like.is_cuda:  # from pinned memory the copy waits for nothing that still runs there
            return noise.pin_memory().to(like.device, like.dtype, non_blocking=True)
        return noise.to(like.device, like.dtype)
