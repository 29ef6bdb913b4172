"""Several nodes, one training: the Slurm job that it is in, and the step that starts it on each.

`srun` starts one `accelerate launch` a node. They meet at an address and a port that follow from
the job, so nothing has to be told to them by hand (torchrun's static rendezvous: the first node of
the job has the first process, which writes the checkpoints).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from echocascade.params import ParamsError

# SIGTERM and SIGUSR1 are for the processes that train: Slurm sends them to these, too, and they
# save and end. A launcher that heeded SIGTERM would kill them after 30 seconds.
_ON_EACH_NODE = (
    "trap '' USR1 TERM; export PET_SIGNALS_TO_HANDLE=SIGINT,SIGHUP,SIGQUIT; python=$1; shift; "
    'exec "$python" -m accelerate.commands.launch --machine_rank "$SLURM_NODEID" "$@"'
)
_FIRST_PORT, _PORTS = 20_000, 10_000  # below those that systems give out by themselves
_PATIENCE_S = 120


@dataclass(frozen=True)
class Allocation:
    """The nodes of a Slurm job; address: where the others reach the first."""

    job: int
    nodes: tuple[str, ...]
    address: str

    @property
    def port(self) -> int:
        """Another one for every job, so that two on a node do not meet."""
        return _FIRST_PORT + self.job % _PORTS

    def rendezvous(self) -> list[str]:
        """What `accelerate launch` is told on every node, beside the node's own number."""
        return [
            *("--num_machines", str(len(self.nodes)), "--rdzv_backend", "static"),
            *("--same_network", "--main_process_ip", self.address),
            *("--main_process_port", str(self.port)),
        ]

    def step(self) -> list[str]:
        """One task a node, with all that the job has there, beside what runs in the job already.

        The arguments of `accelerate launch` follow.
        """
        count = str(len(self.nodes))
        return [
            *("srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1"),
            *("--overlap", "--mem=0", "--cpu-bind=none", "--input=none", "--kill-on-bad-exit=1"),
            *("sh", "-c", _ON_EACH_NODE, "sh", sys.executable),
        ]


def allocation(nodes: int) -> Allocation:
    """The Slurm job that this process is in.

    Raises:
        ParamsError: it is in none, or in one of another number of nodes than `nodes`.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal():
        raise ParamsError(
            f"nodes: {nodes} are asked for, and this is not in a Slurm job; run with "
            f"PROFILE=slurm, start it in a job (sbatch --nodes={nodes}), or set nodes=1"
        )
    # a workflow's job has been left with little more than its number
    names = os.environ.get("SLURM_JOB_NODELIST") or _ask(
        "squeue", "--noheader", f"--jobs={job}", "--format=%N"
    )
    hosts = tuple(_ask("scontrol", "show", "hostnames", names).split())
    if len(hosts) != nodes:
        raise ParamsError(
            f"nodes: {nodes} are asked for, and Slurm job {job} has {len(hosts)} ({names}); "
            "ask Slurm for as many, or set nodes to what it has"
        )
    address = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "show", "node", hosts[0]))
    return Allocation(int(job), hosts, address[1] if address else hosts[0])


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
        )
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout).strip() or f"exit status {error.returncode}"
    except subprocess.TimeoutExpired:
        why = f"no answer in {_PATIENCE_S} s"
    except OSError as error:
        why = error.strerror or str(error)
    else:
        return done.stdout.strip()
    raise ParamsError(f"nodes: Slurm does not say which ones this job has ({command[0]}: {why})")
