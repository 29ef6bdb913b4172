"""A real Slurm of one node on this machine: controller, node daemon and munge, two fake GPUs.

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
SlurmdPort=16818
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} \
ThreadsPerCore=1 RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP \
PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={host} MaxTime=INFINITE DefMemPerCPU=500 State=UP PriorityTier=10 \
PreemptMode=OFF
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
    """Start with `start`, and end with `stop` whatever happened."""

    def __init__(self, folder: Path, cores: int) -> None:
        self.folder, self.cores = folder, cores
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        for name in ("ctld", "d", "run", "log", "munge"):
            (self.folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts = {"host": host, "folder": self.folder, "cores": self.cores}
        text = CONFIGURATION.format(**facts, memory=int(0.8 * pages / 2**20))
        (self.folder / "slurm.conf").write_text(text)
        devices = "".join(f"NodeName={host} Name=gpu File=/dev/{d}\n" for d in ("null", "zero"))
        (self.folder / "gres.conf").write_text(devices)
        for path in FIXED:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.folder / path.name)
        self._start_munge()
        self.start_controller()
        subprocess.run(
            ["slurmd", "-f", self.environment["SLURM_CONF"]], env=self.environment, check=True
        )
        self._wait_until_idle()

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
        for pid_file in ("run/slurmctld.pid", "run/slurmd.pid", "munge/munged.pid"):
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
            if "idle" in self.ask("sinfo", "--noheader", "--format=%T"):
                return
            time.sleep(0.2)
        raise RuntimeError(f"no idle node after {patience_s:g} s: {self.ask('sinfo')}")

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
