"""A real Slurm on this machine: controller, munge, and a daemon and two fake GPUs for each node.

Everything lives in one folder and listens on the loopback only. Needs root, and Debian's packages
slurmctld, slurmd, slurm-client and munge.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")

# a job's own srun looks here: the workflow's executor hides SLURM_CONF from it
FIXED = tuple(Path("/etc/slurm") / name for name in ("slurm.conf", "gres.conf"))

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=3
CredType=cred/munge
MpiDefault=none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=30
InactiveLimit=0
MinJobAge=3600
SlurmctldPort=16817
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP \
PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=10 \
PreemptMode=OFF
"""
NODE = """\
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} Boards=1 \
SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={memory} Gres=gpu:2 \
State=UNKNOWN
"""
FIRST_PORT = 16818  # of the nodes; the controller has the one before

# a workflow profile for it; a test adds the threads of its rules
PROFILE = """\
executor: slurm
jobs: 8
retries: 5
rerun-triggers: [params, mtime, input]
rerun-incomplete: true
nolock: true
latency-wait: 30
slurm-no-account: true
slurm-init-seconds-before-status-checks: 2
seconds-between-status-checks: 2
slurm-status-command: squeue
default-resources:
  slurm_partition: main
  runtime: 60
  mem_mb: 3000
  slurm_extra: "'--signal=USR1@60 --requeue'"
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return (
            f"Slurm is not installed ({', '.join(absent)}); Debian: apt install slurmctld slurmd "
            "slurm-client munge"
        )
    if os.geteuid() != 0:
        return "Slurm's daemons need root here"
    own = [str(path) for path in FIXED if path.exists()]  # a dangling link is a killed test's
    return f"this machine has a Slurm of its own ({', '.join(own)})" if own else None


class Cluster:
    """Start with `start`, and end with `stop` whatever happened.

    nodes: more than one share this machine, each with so many `cores`, under names of their own.
    """

    def __init__(self, folder: Path, cores: int, nodes: int = 1) -> None:
        self.folder, self.cores = folder, cores
        host = socket.gethostname().partition(".")[0]
        self.nodes = [host] if nodes == 1 else [f"{host}-{i}" for i in range(nodes)]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        for name in ("ctld", "run", "log", "munge", *(f"d-{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(self._configuration())
        devices = "".join(
            f"NodeName={node} Name=gpu File=/dev/{d}\n"
            for node in self.nodes
            for d in ("null", "zero")
        )
        (self.folder / "gres.conf").write_text(devices)
        for path in FIXED:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.folder / path.name)
        self._start_munge()
        self.start_controller()
        for node in self.nodes:
            subprocess.run(
                ["slurmd", "-f", self.environment["SLURM_CONF"], "-N", node],
                env=self.environment, check=True,
            )  # fmt: skip
        self._wait_until_idle()

    def _configuration(self) -> str:
        host = socket.gethostname().partition(".")[0]
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = int(0.8 * pages / 2**20 / len(self.nodes))
        nodes = [
            NODE.format(name=name, host=host, port=port, cores=self.cores, memory=memory)
            for port, name in enumerate(self.nodes, FIRST_PORT)
        ]
        return CONFIGURATION.format(host=host, folder=self.folder) + "".join(nodes)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        for parent in folder.parents:  # munge's own user must reach its socket
            if (
                parent.stat().st_uid == 0
                and parent.is_relative_to("/tmp")
                and parent != Path("/tmp")
            ):
                parent.chmod(0o755)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid",
                 "log-file": "munged.log", "seed-file": "munged.seed"}  # fmt: skip
        subprocess.run(
            ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "--force",
             *(f"--{option}={folder / name}" for option, name in files.items())],
            check=True,
        )  # fmt: skip

    def start_controller(self) -> None:
        subprocess.run(
            ["slurmctld", "-f", self.environment["SLURM_CONF"]], env=self.environment, check=True
        )

    def stop_controller(self) -> None:
        self._end(self.folder / "run" / "slurmctld.pid")

    def stop(self) -> None:
        """End all jobs and daemons."""
        subprocess.run(["scancel", "--user=root"], env=self.environment, check=False)
        time.sleep(1)
        daemons = ("slurmctld", *(f"slurmd-{node}" for node in self.nodes))
        for pid_file in (*(f"run/{daemon}.pid" for daemon in daemons), "munge/munged.pid"):
            self._end(self.folder / pid_file)
        for path in FIXED:
            path.unlink(missing_ok=True)

    def _end(self, pid_file: Path) -> None:
        if not pid_file.is_file():
            return
        pid = int(pid_file.read_text())
        try:
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _wait_until_idle(self, patience_s: float = 30.0) -> None:
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            states = self.ask("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T")
            if states.split() == ["idle"] * len(self.nodes):
                return
            time.sleep(0.2)
        raise RuntimeError(f"nodes not idle after {patience_s:g} s: {self.ask('sinfo')}")

    def ask(self, *command: str) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def jobs(self, state: str = "RUNNING") -> dict[str, str]:
        """Comment (the workflow's rule) by job number, of the jobs in a state."""
        lines = self.ask("squeue", "--noheader", f"--states={state}", "--format=%A|%k").splitlines()
        return dict(line.split("|", 1) for line in lines if "|" in line)
