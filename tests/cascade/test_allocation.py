"""Several nodes: the command that Slurm is given, and what is said where it cannot be."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from echocascade.cascade.claim import Owner
from echocascade.cascade.launch import Job, launch_command, train_on_devices
from echocascade.cascade.nodes import Allocation, allocation
from echocascade.cascade.signals import Interrupted
from echocascade.params import Params, ParamsError, load_params

TWO = Allocation(123456, ("gpu07", "gpu08"), "10.0.0.7")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of two nodes; `scontrol` and `squeue` answer as Slurm's do."""
    answers = {
        "squeue": 'echo "gpu[07-08]"',
        "scontrol": """\
case "$*" in
"show hostnames gpu[07-08]") printf 'gpu07\\ngpu08\\n';;
"show hostnames gpu07") echo gpu07;;
"show node gpu07") printf 'NodeName=gpu07\\n   NodeAddr=10.0.0.7 NodeHostName=gpu07\\n';;
*) echo "scontrol: what is $*" >&2; exit 1;;
esac""",
    }
    for name, answer in answers.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[07-08]")
    return tmp_path


def test_the_nodes_and_the_first_ones_address_are_those_of_the_job(slurm):
    assert allocation(2) == TWO


def test_they_are_asked_for_where_the_job_only_knows_its_number(slurm, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_NODELIST")
    assert allocation(2) == TWO


def test_outside_of_slurm_several_nodes_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ParamsError, match=r"not in a Slurm job; run with PROFILE=slurm") as error:
        allocation(2)
    assert "sbatch --nodes=2" in str(error.value) and "\n" not in str(error.value)


def test_a_job_of_another_number_of_nodes_is_refused(slurm, monkeypatch):
    with pytest.raises(ParamsError, match=r"nodes: 4 are asked for, and Slurm job 123456 has 2"):
        allocation(4)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu07")
    with pytest.raises(ParamsError, match=r"has 1 \(gpu07\)"):
        allocation(2)


def test_slurm_that_does_not_answer_is_said_in_one_line(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "elsewhere")
    with pytest.raises(ParamsError, match=r"scontrol: scontrol: what is show hostnames elsewhere"):
        allocation(2)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ParamsError, match="scontrol: No such file"):
        allocation(2)


def test_the_port_is_the_jobs_own_and_no_port_that_systems_give_out():
    ports = [Allocation(job, ("a", "b"), "a").port for job in range(99_990, 100_010)]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32_768 for port in ports)


def test_the_command_starts_one_launcher_a_node_that_meet_at_the_first():
    store = Path("store")
    command = launch_command(16, Path("p.yaml"), "base", Path("run"), store, TWO)
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    step, accelerate = command[: command.index("sh")], command[command.index(sys.executable) :]
    assert "--kill-on-bad-exit=1" in step and "--overlap" in step
    for option, value in {
        "--num_processes": "16", "--num_machines": "2", "--rdzv_backend": "static",
        "--main_process_ip": "10.0.0.7", "--main_process_port": "23456", "--processes": "16",
    }.items():  # fmt: skip
        assert accelerate[accelerate.index(option) + 1] == value
    assert accelerate.index("--main_process_port") < accelerate.index("-m")


def test_each_node_tells_the_launcher_its_number_and_leaves_signals_to_the_trainers(tmp_path):
    """The shell line of a node, with a launcher that shows what it is given."""
    said = tmp_path / "python"
    said.write_text(
        f"#!{sys.executable}\n"
        "import os, signal, sys\n"
        "ignored = [signal.getsignal(s) is signal.SIG_IGN for s in (signal.SIGUSR1, 15)]\n"
        "print(*sys.argv[1:], *ignored, os.environ['PET_SIGNALS_TO_HANDLE'])\n"
    )
    said.chmod(0o755)
    step = TWO.step()
    shell = [*step[step.index("sh") : -1], str(said), "--multi_gpu"]
    done = subprocess.run(
        shell, env={**os.environ, "SLURM_NODEID": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        *("-m", "accelerate.commands.launch", "--machine_rank", "1", "--multi_gpu"),
        *("True", "True", "SIGINT,SIGHUP,SIGQUIT"),
    ]


def test_one_machine_is_started_without_slurm():
    command = launch_command(2, Path("p.yaml"), "base", Path("run"), Path("store"), None)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[command.index("--num_machines") + 1] == "1"
    assert command[command.index("--main_process_port") + 1] == "0"


def with_nodes(params: Params, devices: int, nodes: int) -> Params:
    return Params.model_validate({**params.model_dump(), "devices": devices, "nodes": nodes})


def test_a_node_with_fewer_gpus_than_its_share_is_refused(
    slurm, tiny_params, tiny_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ParamsError, match="2 are asked for on each of 2 nodes, this machine has 1"):
        train_on_devices(with_nodes(tiny_params, 4, 2), 0, tiny_store, tmp_path)


def test_training_outside_of_slurm_starts_nothing(tiny_params, tiny_store, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ParamsError, match="not in a Slurm job"):
        train_on_devices(with_nodes(tiny_params, 2, 2), 0, tiny_store, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_devices_that_nodes_cannot_share_evenly_are_refused(root):
    with pytest.raises(ParamsError, match=r"devices \(6\) are shared evenly by nodes \(4\)") as e:
        load_params(root / "params" / "2scm.yaml", ["devices=6", "nodes=4"])
    assert len(str(e.value).splitlines()) == 1


def test_a_trainer_on_another_node_is_stopped_through_srun(tmp_path, monkeypatch):
    """SIGUSR1, which srun passes on; of SIGTERM it kills what it has started."""
    owner = Owner(1, socket.gethostname() + "-other", "now")
    monkeypatch.setattr("echocascade.cascade.launch.owner_of", lambda directory: owner)
    job = Job([], tmp_path, tmp_path / "log", by_srun=True)
    code = (
        "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda n, f: sys.exit(7)); "
        "print(flush=True); time.sleep(30)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        job.stop(child)
        assert child.wait(20) == 7


def test_a_training_that_only_the_scheduler_stopped_is_no_failure(tmp_path):
    code = "print('echocascade: stage base stopped at step 3, saved')"
    job = Job([sys.executable, "-c", code], tmp_path / "base", tmp_path / "log", by_srun=True)
    with pytest.raises(Interrupted, match="stopped at step 3, saved"):
        job.train(None)
