"""Several processes, one training: real processes under `accelerate launch`, gloo on the CPU."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from echocascade.cascade.checkpoint import latest_checkpoint
from echocascade.cascade.claim import owner_of
from echocascade.cascade.launch import Job, LaunchError, prepare_launcher, train_on_devices
from echocascade.cascade.signals import Interrupted
from echocascade.cascade.training import main, train_stage
from echocascade.params import Params, ParamsError

# Two processes add the same float32 numbers in another order: losses and weights agree to their
# last digits (measured: 2e-8 of a loss, 2e-7 in a weight). Only a bias that a group norm removes
# again has no gradient but rounding, which Adam divides by its own size: it may wander (measured:
# 5e-4, where eight steps could move it by 1.6e-2) and changes nothing that is computed.
LOSS_TOLERANCE, WEIGHT_TOLERANCE, BIAS_TOLERANCE = 1e-6, 2e-6, 5e-3
STEPS = 8


def with_training(params: Params, devices: int, **training) -> Params:
    """A base that notes and saves every step; half of its batches have no time-aware layer."""
    tree = params.model_dump()
    tree["devices"] = devices
    tree["cascade"]["stages"][0]["training"].update(
        steps=STEPS, validate_times=STEPS, image_only=0.5, checkpoint_minutes=1e-9,
        keep_checkpoints=STEPS, **training,
    )  # fmt: skip
    return Params.model_validate(tree)


@pytest.fixture(scope="module")
def alone(tiny_params, tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return train_stage(with_training(tiny_params, 1), 0, tiny_store, folder / "base")


@pytest.fixture(scope="module")
def together(tiny_params, tiny_store, tmp_path_factory):
    """Two processes, each adding up two parts of one sample: the same batch of four."""
    run = tmp_path_factory.mktemp("together")
    seen: list[tuple[int, int]] = []
    trained = train_on_devices(
        with_training(tiny_params, 2, device_batch=1), 0, tiny_store, run,
        lambda done, total, note: seen.append((done, total)),
    )  # fmt: skip
    return trained, seen


def losses(trained, what="training_loss"):
    return [entry[what] for entry in trained.history]


def test_two_processes_give_the_loss_curve_of_one(alone, together):
    trained, _ = together
    assert latest_checkpoint(trained.directory)[0].meta["processes"] == 2
    assert len(losses(trained)) == STEPS
    for what in ("training_loss", "validation_loss"):
        expected = pytest.approx(losses(alone, what), rel=LOSS_TOLERANCE)
        assert losses(trained, what) == expected


def test_two_processes_end_with_the_weights_of_one(alone, together):
    for kind in ("model", "ema"):
        one = latest_checkpoint(alone.directory)[0].weights(kind)
        two = latest_checkpoint(together[0].directory)[0].weights(kind)
        for name, value in one.items():
            removed = name.endswith(("conv_in.conv.bias", "conv_out.conv.bias"))
            tolerance = BIAS_TOLERANCE if removed else WEIGHT_TOLERANCE
            torch.testing.assert_close(two[name], value, atol=tolerance, rtol=0)


def test_the_launcher_reports_steps_and_leaves_model_and_log(together):
    trained, seen = together
    assert seen[-1] == (STEPS, STEPS)
    assert (trained.directory / "model" / "MODEL_CARD.md").is_file()
    log = (trained.directory.parents[1] / "logs" / "train_base.log").read_text()
    assert "finished at step 8" in log and "Traceback" not in log


def test_one_process_goes_on_where_two_stopped(tiny_params, tiny_store, alone, together, tmp_path):
    (tmp_path / "base").mkdir()
    name = "step-00000004"
    shutil.copytree(together[0].directory / name, tmp_path / "base" / name)
    resumed = train_stage(with_training(tiny_params, 1), 0, tiny_store, tmp_path / "base")
    assert resumed.warnings == []
    assert losses(resumed) == pytest.approx(losses(alone), rel=LOSS_TOLERANCE)


def test_a_signal_stops_all_processes_with_everything_saved(tiny_params, tiny_store, tmp_path):
    """SIGTERM here is passed to the first worker alone; the other hears of it from that one."""
    tree = with_training(tiny_params, 2).model_dump()
    tree["cascade"]["stages"][0]["training"].update(steps=100_000, keep_checkpoints=2)

    def interrupt(done, total, note):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"stopped at step \d+, saved") as stopped:
        train_on_devices(Params.model_validate(tree), 0, tiny_store, tmp_path, interrupt)
    step = int(re.search(r"step (\d+)", str(stopped.value))[1])
    directory = tmp_path / "checkpoints" / "base"
    checkpoint, _ = latest_checkpoint(directory)
    assert checkpoint.step == step and not checkpoint.finished
    assert owner_of(directory) is None


def job(tmp_path, code: str) -> Job:
    return Job([sys.executable, "-c", code], tmp_path / "base", tmp_path / "log")


def test_a_training_that_fails_says_its_last_words_and_where_its_log_is(tmp_path, capsys):
    said = "print('echocascade: the disk is full'); print('at large'); raise SystemExit(2)"
    with pytest.raises(LaunchError, match="the disk is full; its log is log in"):
        job(tmp_path, said).train(None)
    assert "at large" in capsys.readouterr().out
    assert (tmp_path / "log").read_text().count("\n") == 2


def test_p07_two_launches_at_once_do_not_meet_at_a_port(tiny_params, tiny_store, tmp_path):
    params = with_training(tiny_params, 2)
    with ThreadPoolExecutor(2) as at_once:
        started = [
            at_once.submit(train_on_devices, params, 0, tiny_store, tmp_path / name)
            for name in ("one", "other")
        ]
        one, other = (future.result() for future in started)
    assert one.step == other.step == STEPS
    assert losses(one) == losses(other)


def test_the_launcher_ends_with_the_kernel_that_started_it(tmp_path):
    """SIGKILL gives the kernel no time to stop anything; a GPU would stay occupied."""

    def kernel(send):
        child = subprocess.Popen(["sleep", "60"], preexec_fn=prepare_launcher)
        send.send(child.pid)
        child.wait()

    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe()
    process = context.Process(target=kernel, args=(send,))
    process.start()
    pid = receive.recv()
    process.kill()
    process.join()
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, "the launcher outlived its kernel"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_fewer_processes_than_asked_for_are_an_error(tiny_params, tiny_store, tmp_path, capsys):
    """`accelerate launch --cpu --num_processes 2` starts one process and says nothing."""
    params = tmp_path / "params.yaml"
    params.write_text(with_training(tiny_params, 2).dump_yaml())
    place = ["--run", str(tmp_path), "--store", str(tiny_store.directory)]
    assert main([str(params), "--stage", "base", *place]) == 2
    assert "2 are asked for and 1 train" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


def test_more_devices_than_the_machine_has_are_refused(
    tiny_params, tiny_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParamsError, match="2 are asked for, this machine has 1 GPUs"):
        train_on_devices(with_training(tiny_params, 2), 0, tiny_store, tmp_path)
