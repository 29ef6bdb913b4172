"""C01 to C05, C07, C13: nothing that was saved is lost, and nothing damaged is loaded."""

import errno
import itertools
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    KILLED,
    checkpoint_folders,
    content,
    damage,
    flip,
    hidden,
    renew_sums,
    save,
    two_steps,
)
from safetensors.torch import load_file

from echocascade.cascade import saving
from echocascade.cascade.checkpoint import (
    FILES,
    SUMS,
    CheckpointError,
    latest_checkpoint,
    sha256,
)
from echocascade.cascade.claim import claimed
from echocascade.cascade.training import main, train_stage

EVERY_FILE = (*FILES, SUMS)
SYNCS = 7  # of one save: four files, the sums, the new folder, the folder it is in


# C01 ---------------------------------------------------------------------------------------------


def test_c01_a_kill_at_any_instant_of_saving_loses_nothing_that_was_saved(
    tmp_path, in_process, tally
):
    """SIGKILL, 20 times, to a process that saves 100 MB over and over."""
    directory, log = tmp_path / "stage", tmp_path / "log"
    floats, rng = 100 * 2**20 // 16, np.random.default_rng(1)

    def save_for_ever() -> None:
        found, _ = latest_checkpoint(directory)
        for step in itertools.count(found.step + 1 if found else 1):
            save(directory, step, floats)
            with log.open("a") as file:
                file.write(f"{step}\n")

    started = time.monotonic()
    save(directory, 1, floats)
    one_save = time.monotonic() - started
    seen_partial = 0
    for _ in range(20):
        process = in_process(save_for_ever)
        time.sleep(rng.uniform(0, 1.5 * one_save + 0.1))
        process.kill()
        process.join()
        assert process.exitcode == KILLED
        tally["kills"] += 1
        logged = int(log.read_text().split()[-1]) if log.exists() else 1
        seen_partial += any(name.startswith(".writing") for name in hidden(directory))
        checkpoint, damaged = latest_checkpoint(directory)
        assert checkpoint.step >= logged and damaged == []
        assert checkpoint.weights("ema")["w"][[0, -1]].tolist() == [checkpoint.step] * 2
        with claimed(directory) as found:
            assert all("removed" in line for line in found)
            assert hidden(directory) == []
    assert seen_partial > 0, "no kill fell into a save: the test tests nothing"


# C02, C13 ----------------------------------------------------------------------------------------


def killed_after(number: int, directory: Path, step: int, value: float) -> None:
    """Save, and end like by SIGKILL right after the `number`-th flush to disk."""
    count, real = itertools.count(1), saving.sync

    def sync(path: Path) -> None:
        real(path)
        if next(count) == number:
            os.kill(os.getpid(), 9)

    saving.sync = sync
    save(directory, step, value=value)


@pytest.mark.parametrize("number", range(1, SYNCS + 1))
def test_c02_a_kill_between_two_files_leaves_the_step_before(tmp_path, in_process, tally, number):
    two_steps(tmp_path)
    process = in_process(killed_after, number, tmp_path, 3, 3.0)
    process.join()
    assert process.exitcode == KILLED
    tally["kills"] += 1
    checkpoint, damaged = latest_checkpoint(tmp_path)
    complete = number == SYNCS  # the rename came before the last flush
    assert checkpoint.step == (3 if complete else 2) and damaged == []
    assert content(checkpoint) == {checkpoint.step}
    with claimed(tmp_path) as found:
        assert any("unfinished checkpoint" in line for line in found) is not complete
        assert hidden(tmp_path) == []


@pytest.mark.parametrize("number", range(1, SYNCS + 1))
def test_c13_a_step_that_is_saved_again_is_never_missing(tmp_path, in_process, tally, number):
    save(tmp_path, 1, value=10)
    process = in_process(killed_after, number, tmp_path, 1, 20.0)
    process.join()
    tally["kills"] += 1
    checkpoint, _ = latest_checkpoint(tmp_path)
    assert checkpoint.step == 1
    assert content(checkpoint) == ({20.0} if number == SYNCS else {10.0})


def test_c13_the_newest_is_the_highest_step_whatever_the_clock_says(tmp_path, tally):
    two_steps(tmp_path)
    os.utime(tmp_path / "step-00000001", (4e9, 4e9))
    os.utime(tmp_path / "step-00000002", (0, 0))
    tally["clock jumps"] += 1
    assert latest_checkpoint(tmp_path)[0].step == 2


def test_c13_saved_again_the_new_one_takes_the_old_ones_place(tmp_path):
    for value in (1, 2, 3):
        save(tmp_path, 5, value=value)
    assert content(latest_checkpoint(tmp_path)[0]) == {3}
    assert len(checkpoint_folders(tmp_path)) == 1


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000):
        save(tmp_path, step)
    assert latest_checkpoint(tmp_path)[0].step == 100_000_000


# C03 ---------------------------------------------------------------------------------------------


def test_c03_too_little_room_is_seen_before_anything_is_written(small_disk, tally):
    disk = small_disk(16 * 2**20)
    save(disk, 1, floats=600_000)
    tally["full disks"] += 1
    with pytest.raises(CheckpointError) as error:
        save(disk, 2, floats=600_000)
    assert str(disk) in str(error.value) and "bytes are free" in str(error.value)
    assert latest_checkpoint(disk)[0].step == 1 and hidden(disk) == []


def test_c03_a_disk_that_fills_up_while_saving_costs_only_that_save(small_disk, monkeypatch, tally):
    monkeypatch.setattr(saving, "require_space", lambda directory, tensors: None)
    disk = small_disk(16 * 2**20)
    save(disk, 1, floats=300_000)
    for size in (4_000_000, 2_000_000, 1_400_000, 800_000):  # full in the 1st, 2nd, 3rd file
        tally["full disks"] += 1
        with pytest.raises(CheckpointError, match=os.strerror(errno.ENOSPC)) as error:
            save(disk, 2, floats=size)
        assert str(disk) in str(error.value) and "bytes were free" in str(error.value)
        assert latest_checkpoint(disk)[0].step == 1 and hidden(disk) == []
        assert content(latest_checkpoint(disk)[0]) == {1}


def test_c03_a_file_size_limit_is_like_a_full_disk(tmp_path, in_process, tally):
    save(tmp_path / "stage", 1)

    def save_limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save(tmp_path / "stage", 2, floats=100_000)
        except CheckpointError as error:
            os.write(2, str(error).encode())
            (tmp_path / "said").write_text(str(error))
            raise SystemExit(2) from None

    process = in_process(save_limited)
    process.join()
    tally["full disks"] += 1
    assert process.exitcode == 2
    assert os.strerror(errno.EFBIG) in (tmp_path / "said").read_text()
    assert latest_checkpoint(tmp_path / "stage")[0].step == 1 and hidden(tmp_path / "stage") == []


def test_c03_a_training_without_room_ends_at_once_with_one_line_and_status_2(
    tiny_params, tiny_store, tmp_path, small_disk, capsys, tally
):
    disk = small_disk(300_000)
    (tmp_path / "params.yaml").write_text(tiny_params.dump_yaml())
    place = ["--run", str(disk), "--store", str(tiny_store.directory)]
    tally["full disks"] += 1
    assert main([str(tmp_path / "params.yaml"), "--stage", "base", *place]) == 2
    said = capsys.readouterr()
    assert "bytes are free" in said.err and len(said.err.strip().splitlines()) == 1
    assert "step" not in said.out


# C04, C05, C07 -----------------------------------------------------------------------------------


HOW = ("to nothing", "in half", "by 100 bytes", "flip", "delete")
DAMAGES = [(name, how) for name in EVERY_FILE for how in HOW]


@pytest.mark.parametrize(("name", "how"), DAMAGES)
def test_c04_c05_c07_a_damaged_file_falls_back_to_the_step_before_and_says_so(
    tmp_path, tally, name, how
):
    two_steps(tmp_path)
    damage(tmp_path / "step-00000002" / name, how)
    tally["damaged files"] += 1
    checkpoint, damaged = latest_checkpoint(tmp_path)
    assert checkpoint.step == 1 and content(checkpoint) == {1}
    assert len(damaged) == 1 and "step-00000002" in damaged[0]


@pytest.mark.parametrize(("name", "how"), DAMAGES)
def test_c04_c05_c07_without_a_good_checkpoint_there_is_an_error_and_no_fresh_start(
    tiny_params, tiny_store, tmp_path, tally, name, how
):
    directory = tmp_path / "base"
    save(directory, 1)
    damage(directory / "step-00000001" / name, how)
    tally["damaged files"] += 1
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        train_stage(tiny_params, 0, tiny_store, directory)
    assert [folder.name for folder in checkpoint_folders(directory)] == ["step-00000001"]


def test_c05_neither_safetensors_nor_torch_sees_a_flipped_bit(tmp_path):
    """Why the sums are needed: the bit that the tests above flip is loaded without a word."""
    save(tmp_path, 1, floats=3000)
    weights = tmp_path / "step-00000001" / "model.safetensors"
    flip(weights)
    assert load_file(weights)["w"].unique().numel() == 2


def test_c07_a_training_state_that_lacks_a_part_is_named(tmp_path, tally):
    folder = save(tmp_path, 1).directory
    torch.save({"optimizer": {}}, folder / "training.pt")
    renew_sums(folder)
    tally["missing states"] += 1
    with pytest.raises(CheckpointError, match=r"training\.pt: recent is missing"):
        latest_checkpoint(tmp_path)[0].training_state()


def test_the_sums_are_those_that_sha256sum_checks(tmp_path):
    folder = save(tmp_path, 1).directory
    lines = [line.split() for line in (folder / SUMS).read_text().splitlines()]
    assert {name: digest for digest, name in lines} == {n: sha256(folder / n) for n in FILES}


def test_an_old_checkpoint_is_deleted_only_when_newer_ones_verify(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    flip(tmp_path / "step-00000002" / "ema.safetensors")
    save(tmp_path, 3)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == [
        "step-00000003", "step-00000002", "step-00000001"
    ]  # fmt: skip
    save(tmp_path, 4)
    assert latest_checkpoint(tmp_path)[0].step == 4
    assert "step-00000001" not in {folder.name for folder in checkpoint_folders(tmp_path)}
