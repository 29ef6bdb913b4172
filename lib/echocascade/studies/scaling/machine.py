"""A cluster by its rates, each with its source. No cluster was at hand: none was measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A cluster by its rates. `SOURCES` says where each number is from; most are assumptions.

    flop_per_s: what a GPU keeps up; launch_s: Python and kernel launches of one forward and
    backward pass; gpus_per_node; node_, net_bytes_per_s: of a ring all-reduce within a node and
    between nodes; node_, net_latency_s: of one of its messages; disk_, client_bytes_per_s: of the
    shared file system, all clients together and one; changes_per_s: files created or renamed, all
    together; looks_per_s, client_looks_per_s: files asked for or opened; start_s: of a process,
    until its first network evaluation.
    """

    flop_per_s: float = 4.0e12
    launch_s: float = 0.03
    gpus_per_node: int = 8
    node_bytes_per_s: float = 200e9
    net_bytes_per_s: float = 20e9
    node_latency_s: float = 5e-6
    net_latency_s: float = 20e-6
    disk_bytes_per_s: float = 5e9
    client_bytes_per_s: float = 1e9
    changes_per_s: float = 10e3
    looks_per_s: float = 100e3
    client_looks_per_s: float = 2e3
    start_s: float = 60.0

    def looks_s(self, files: int, processes: int) -> float:
        """Seconds until each of so many processes has asked for each of so many files."""
        return files / min(self.client_looks_per_s, self.looks_per_s / processes)


SOURCES = {
    "flop_per_s": "derived: the paper's 62, 146 and 279 s a video over the FLOPs counted here "
    "(3.9 to 4.6 TFLOP/s; full precision, card not stated, trained on A100)",
    "launch_s": "assumption",
    "gpus_per_node": "the paper's nodes: 8 A100",
    "node_bytes_per_s": "reported: 8 A100 with NVLink, NVIDIA/nccl-tests issue 149",
    "net_bytes_per_s": "assumption: one 200 Gbit/s port a node, four fifths of it used",
    "node_latency_s": "assumption",
    "net_latency_s": "assumption",
    "disk_bytes_per_s": "assumption",
    "client_bytes_per_s": "assumption",
    "changes_per_s": "assumption: below the 15,000 creates a second that Dell reports for Lustre "
    "2.5 under 240 threads",
    "looks_per_s": "assumption: a quarter of the 400,000 a second in the same report",
    "client_looks_per_s": "reported there for one thread",
    "start_s": "assumption",
}
