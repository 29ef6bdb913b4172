"""Random numbers are addressed, never global."""

import torch

from echocascade.rng import SampleNoise, derive_seed, numpy_generator, torch_generator


def test_the_seed_of_an_address_never_changes():
    # A change here changes every published number: it must be deliberate.
    assert derive_seed(0, "latents", 17) == 7660541695708843366


def test_neighbouring_addresses_give_unrelated_streams():
    draws = torch.stack(
        [torch.randn(4096, generator=torch_generator(0, "noise", i)) for i in range(8)]
    )
    correlation = torch.corrcoef(draws) - torch.eye(8)
    assert correlation.abs().max() < 5 / 4096**0.5


def test_purpose_seed_and_index_all_matter():
    addresses = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 1, 0)]
    assert len({derive_seed(*a) for a in addresses}) == len(addresses)
    assert numpy_generator(0, "a", 1).random() == numpy_generator(0, "a", 1).random()


def test_sample_noise_is_the_same_alone_and_in_a_batch():
    together, alone = SampleNoise(0, "x", [5, 17]), SampleNoise(0, "x", [17])
    for _ in range(3):
        assert torch.equal(together(torch.empty(2, 3, 4))[1:], alone(torch.empty(1, 3, 4)))
