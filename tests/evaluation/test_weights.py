"""The weights of others: found, missing, or another file under their name."""

import hashlib

import pytest
import torch

from echocascade.evaluation.weights import (
    MANIFEST,
    NEEDS,
    Weights,
    check_weights,
    find,
    not_computed,
    sha256_of,
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path):
    """No file that this machine may have downloaded."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def test_a_missing_file_says_its_name_and_its_source(tmp_path):
    for score, name in NEEDS.items():
        reason = not_computed(score, tmp_path)
        assert reason == f"not computed: {MANIFEST[name].file}, {MANIFEST[name].source}"
    assert not_computed("FVD", None) == not_computed("FVD", tmp_path)


def test_a_file_is_found_in_the_folder_and_in_the_librarys_own_cache(tmp_path, empty_cache):
    small = Weights("small.pt", "a test", "nowhere", hashlib.sha256(b"weights").hexdigest())
    assert find(small, tmp_path).state == "missing"
    empty_cache.mkdir(parents=True)
    (empty_cache / "small.pt").write_bytes(b"weights")
    assert find(small, tmp_path).usable == empty_cache / "small.pt"
    (tmp_path / "small.pt").write_bytes(b"weights")
    found = find(small, tmp_path)
    assert found.usable == tmp_path / "small.pt" and found.reason == ""


def test_another_file_of_that_name_is_not_used(tmp_path):
    small = Weights("small.pt", "a test", "nowhere", hashlib.sha256(b"weights").hexdigest())
    (tmp_path / "small.pt").write_bytes(b"other")
    found = find(small, tmp_path)
    assert found.usable is None and found.state == "different"
    assert (
        "small.pt, nowhere" in found.reason
        and sha256_of(tmp_path / "small.pt")[:12] in found.reason
    )
    unknown = Weights("small.pt", "a test", "nowhere")
    assert find(unknown, tmp_path).usable == tmp_path / "small.pt"


def test_a_changed_file_gets_a_new_digest(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = sha256_of(path)
    path.write_bytes(b"three")
    assert first == hashlib.sha256(b"one").hexdigest() != sha256_of(path)


def test_every_number_has_its_file_and_published_names_carry_their_digest(tmp_path):
    assert set(NEEDS.values()) <= MANIFEST.keys()
    assert set(check_weights(tmp_path)) == set(MANIFEST)
    for weights in MANIFEST.values():
        assert weights.source.startswith("https://") and weights.purpose
        assert len(weights.sha256) in (0, 64)
        if "-" in weights.file and weights.sha256:  # PyTorch's convention: the digest's beginning
            assert weights.sha256.startswith(weights.file.rpartition("-")[2].partition(".")[0])
