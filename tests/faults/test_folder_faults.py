"""C06, C09 to C12: hostile files, other parameters, and folders that cannot be had."""

import ast
import contextlib
import errno
import json
import os
import pickle
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
import torch
from checkpoint_files import (
    checkpoint_folders,
    content,
    renew_sums,
    two_steps,
)
from safetensors.torch import load_file, save_file

from echocascade.cascade import claim
from echocascade.cascade.checkpoint import (
    CheckpointError,
    latest_checkpoint,
)
from echocascade.cascade.claim import claimed
from echocascade.cascade.training import train_stage
from echocascade.params import Params

# C06 ---------------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it touches a file: what a malicious checkpoint would do with less modesty."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_c06_a_malicious_pickle_is_refused_and_nothing_in_it_runs(
    tiny_params, tiny_store, tmp_path, tally
):
    directory, touched = tmp_path / "base", tmp_path / "touched"
    train_stage(tiny_params, 0, tiny_store, directory)
    (folder,) = checkpoint_folders(directory)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"finished": False, "step": 3}))
    torch.save({"optimizer": Bomb(touched), "recent": []}, folder / "training.pt")
    renew_sums(folder)
    tally["malicious pickles"] += 1
    with pytest.raises(CheckpointError, match=r"training\.pt: refused, nothing in it was run"):
        train_stage(tiny_params, 0, tiny_store, directory)
    assert not touched.exists()
    torch.load(folder / "training.pt", weights_only=False)  # it was live
    assert touched.exists()


def test_c06_files_that_other_libraries_would_unpickle_are_not_opened(
    tiny_params, tiny_store, tmp_path, tally
):
    """accelerate loads custom_checkpoint_0.pkl, and torch's DCP .metadata, by unpickling."""
    directory, touched = tmp_path / "base", tmp_path / "touched"
    train_stage(tiny_params, 0, tiny_store, directory)
    (folder,) = checkpoint_folders(directory)
    bomb = pickle.dumps(Bomb(touched))
    names = ("custom_checkpoint_0.pkl", ".metadata", "random_states_0.pkl", "optimizer.bin")
    for name in names:
        (folder / name).write_bytes(bomb)
        (directory / name).write_bytes(bomb)
        tally["malicious pickles"] += 1
    assert train_stage(tiny_params, 0, tiny_store, directory).step == 6
    latest_checkpoint(directory)[0].training_state()
    assert not touched.exists()


def calls(tree: ast.AST):
    """(dotted name, keyword arguments) of every call in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            yield ast.unparse(node.func), keywords


def test_c06_no_code_in_the_library_unpickles(root):
    unsafe = []
    for path in sorted((root / "lib").rglob("*.py")):
        for name, keywords in calls(ast.parse(path.read_text(encoding="utf-8"))):
            last = name.rpartition(".")[2]
            if (
                name in ("pickle.load", "pickle.loads", "yaml.load", "pd.read_pickle", "eval")
                or last in ("Unpickler", "unsafe_load", "read_pickle")
                or (name == "torch.load" and keywords.get("weights_only") is not True)
                or (name == "np.load" and keywords.get("allow_pickle") is not False)
            ):
                unsafe.append(f"{path.relative_to(root)}: {name}")
    assert unsafe == []


# C09 ---------------------------------------------------------------------------------------------


def changed(params: Params, **changes) -> Params:
    tree = params.model_dump()
    base = tree["cascade"]["stages"][0]
    base["network"].update(changes.pop("network", {}))
    base["training"].update(changes)
    return Params.model_validate(tree)


@pytest.fixture(scope="module")
def trained(tiny_params, tiny_store, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "base"
    train_stage(tiny_params, 0, tiny_store, directory)
    return directory


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "base"))


def test_c09_another_architecture_is_an_error_that_lists_the_keys(
    tiny_params, tiny_store, copied, tally
):
    params = changed(tiny_params, network={"base_channels": 16}, on_change="stop")
    tally["changed configurations"] += 1
    with pytest.raises(CheckpointError) as error:
        train_stage(params, 0, tiny_store, copied)
    assert "cascade.stages.base.network.base_channels 8 -> 16" in str(error.value)
    assert latest_checkpoint(copied)[0].step == 6


def test_c09_without_stop_the_old_ones_are_kept_aside_and_the_keys_are_listed(
    tiny_params, tiny_store, copied, tally
):
    tally["changed configurations"] += 1
    result = train_stage(changed(tiny_params, steps=2), 0, tiny_store, copied)
    assert "training.steps 6 -> 2" in result.warnings[0]
    (aside,) = copied.parent.glob("base.made-with-*")
    assert latest_checkpoint(aside)[0].step == 6 and latest_checkpoint(copied)[0].step == 2


def test_c09_a_weight_under_another_name_is_listed(tiny_params, tiny_store, copied, tally):
    (folder,) = checkpoint_folders(copied)
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    weights["renamed"] = weights.pop(name)
    save_file(weights, folder / "model.safetensors")
    renew_sums(folder)
    tally["changed configurations"] += 1
    with pytest.raises(CheckpointError) as error:
        train_stage(tiny_params, 0, tiny_store, copied)
    assert f"{name} is missing" in str(error.value) and "renamed is not in" in str(error.value)


# C10 ---------------------------------------------------------------------------------------------


def test_c10_a_second_training_in_the_folder_is_refused_and_a_stale_lock_is_not(
    tiny_params, tiny_store, copied, in_process, tally
):
    def hold() -> None:
        with claimed(copied):
            (copied.parent / "held").touch()
            time.sleep(60)

    first = in_process(hold)
    while not (copied.parent / "held").exists():
        time.sleep(0.01)
    tally["second runs in a folder"] += 1
    with pytest.raises(CheckpointError) as error:
        train_stage(tiny_params, 0, tiny_store, copied)
    assert f"process {first.pid} on {socket.gethostname()}" in str(error.value)
    first.kill()
    first.join()
    tally["kills"] += 1
    result = train_stage(tiny_params, 0, tiny_store, copied)
    assert f"process {first.pid} on" in result.warnings[0]
    assert train_stage(tiny_params, 0, tiny_store, copied).warnings == []


def test_c10_nor_does_a_process_train_twice_in_one_folder(tmp_path, in_process, tally):
    """Its own lock would let it, and a second one that ends would take the first one's with it."""
    with claimed(tmp_path / "base"):
        with (
            pytest.raises(CheckpointError, match="already being trained"),
            claimed(tmp_path / "base"),
        ):
            pass
        tally["second runs in a folder"] += 1

        def try_to_claim() -> None:
            claim._HELD.clear()  # as a process that is no fork of this one
            with contextlib.suppress(CheckpointError), claimed(tmp_path / "base"):
                raise SystemExit(3)

        other = in_process(try_to_claim)
        other.join()
        assert other.exitcode != 3


# C11, C12 ----------------------------------------------------------------------------------------


def refused_at_once(tiny_params, tiny_store, directory: Path) -> str:
    def no_step(done: int, total: int, note: str) -> None:
        raise AssertionError("a step was taken before the folder was tried")

    with pytest.raises(CheckpointError) as error:
        train_stage(tiny_params, 0, tiny_store, directory, no_step)
    return str(error.value)


def test_c11_a_file_in_the_folders_place_is_refused_at_once(
    tiny_params, tiny_store, tmp_path, tally
):
    (tmp_path / "checkpoints").write_text("not a folder")
    tally["unwritable folders"] += 1
    said = refused_at_once(tiny_params, tiny_store, tmp_path / "checkpoints" / "base")
    assert "no checkpoint could be written here" in said


def test_c11_a_read_only_disk_is_refused_at_once(tiny_params, tiny_store, small_disk, tally):
    disk = small_disk(2**20, read_only=True)
    tally["unwritable folders"] += 1
    said = refused_at_once(tiny_params, tiny_store, disk / "base")
    assert str(disk) in said and os.strerror(errno.EROFS) in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_c11_a_folder_without_permission_is_refused_at_once(tiny_params, tiny_store, tmp_path):
    (tmp_path / "base").mkdir(mode=0o555)
    assert os.strerror(errno.EACCES) in refused_at_once(tiny_params, tiny_store, tmp_path / "base")


def test_c12_a_temporary_folder_on_another_disk_is_not_used(
    small_disk, tmp_path, monkeypatch, tally
):
    """Half a checkpoint there could not be renamed into its place; here the disk is even full."""
    other = small_disk(2**16)
    with contextlib.suppress(OSError):
        (other / "filler").write_bytes(b"x" * 2**17)
    monkeypatch.setenv("TMPDIR", str(other))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() != str(tmp_path)
    assert other.stat().st_dev != tmp_path.stat().st_dev
    tally["temporary folders on another disk"] += 1
    two_steps(tmp_path / "stage")
    assert content(latest_checkpoint(tmp_path / "stage")[0]) == {2}
    assert [path.name for path in other.iterdir()] == ["filler"]
