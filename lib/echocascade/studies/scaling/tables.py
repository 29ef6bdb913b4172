"""The predictions as Markdown tables: those of the command and those of the page."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial

from echocascade.params import ParamsError
from echocascade.studies.scaling.machine import SOURCES, Machine
from echocascade.studies.scaling.prediction import ECHONET_FRAMES, Prediction

HOUR = 3600.0
MARKED = re.compile(r"(<!-- scale ([^\n]*): begin -->\n).*?(\n<!-- end -->)", re.DOTALL)


def together_table(p: Prediction) -> str:
    """All three jobs for each number of GPUs."""
    head = ["GPUs", "training, h", "GPUs of each stage", "used", "evaluation, h", "used",
            f"{p.n_clips:,} clips, h", "used"]  # fmt: skip
    rows = []
    for row in map(p.together, p.gpus):
        given = ", ".join(f"{name} {n}" for name, n in row["devices"].items())
        rows.append([
            str(row["gpus"]), number(row["training_s"] / HOUR), given or "all, in turn",
            share(row["training_efficiency"]), number(row["evaluation_s"] / HOUR),
            share(row["evaluation_efficiency"]), number(row["clips_s"] / HOUR),
            share(row["clips_efficiency"]),
        ])  # fmt: skip
    return table(head, rows)


def stages_table(p: Prediction) -> str:
    """One stage alone on each number of GPUs."""
    head = ["stage", "GPUs", "at work", "computing, s", "all-reduce, s", "reading, s",
            "run, h", "used", "limit"]  # fmt: skip
    rows = []
    for stage in p.stages:
        for n in p.gpus:
            s = stage.best(n)
            times = [number(t) for t in (s.compute_s, s.all_reduce_s, s.read_s)]
            run = number(stage.seconds(n) / HOUR)
            used = share(stage.efficiency(n))
            rows.append([stage.name, str(n), str(s.gpus), *times, run, used, stage.limit(n)])
    return table(head, rows)


def bytes_table(p: Prediction) -> str:
    """FLOPs and bytes that the predictions start from."""
    rows = []
    for s in p.stages:
        rows += [
            [f"{s.name}: parameters", f"{s.parameters / 1e6:.1f} M"],
            [f"{s.name}: training, a sample", f"{number(s.sample_flops / 1e12)} TFLOP"],
            [f"{s.name}: steps of the run", f"{s.steps:,} of {s.training.batch_size} samples"],
            [f"{s.name}: gradients, a step", f"{number(s.gradient_bytes / 1e6)} MB"],
            [f"{s.name}: a checkpoint", f"{number(s.checkpoint_bytes / 1e6)} MB"],
        ]
    avi, stored = p.frame_bytes
    frames = p.params.cascade.stages[-1].n_frames * p.n_clips
    store = ECHONET_FRAMES * p.params.data.channels * p.params.store_size**2
    rows += [
        ["sampling, a video", f"{number(p.video_flops / 1e12)} TFLOP"],
        ["evaluation: videos, chunks", f"{p.evaluation.videos:,}, {p.evaluation.n_chunks:,}"],
        ["EchoNet-Dynamic as a store, 32 frames/s", f"{number(store / 1e9)} GB"],
        [f"{p.n_clips:,} clips as AVI", f"{number(frames * avi / 1e9)} GB"],
        [f"{p.n_clips:,} clips as a store", f"{number(frames * stored / 1e9)} GB"],
    ]
    return table(["what", "how much"], rows)


def blocks_table(p: Prediction) -> str:
    """The large synthesis by the size of a block, on the largest number of GPUs."""
    head = ["block", "blocks", "files, sharded", "files, one a clip", "lost by a kill, h",
            "plan.csv read, GB", "looking for blocks, s", f"used, {max(p.gpus)} GPUs"]  # fmt: skip
    rows = [
        [str(b["block"]), f"{b['blocks']:,}", f"{b['files_sharded']:,}", f"{b['files_single']:,}",
         number(b["lost_s"] / HOUR), number(b["plan_bytes"] / 1e9), number(b["looks_s"]),
         share(b["efficiency"])]
        for b in map(p.block, p.blocks)
    ]  # fmt: skip
    return table(head, rows)


def machine_table(machine: Machine) -> str:
    """The declared rates, each with its source."""
    rows = [[f"`{key}`", f"{value:g}", SOURCES[key]] for key, value in asdict(machine).items()]
    return table(["rate", "value", "where it is from"], rows)


TABLES = {
    "together": together_table,
    "stages": stages_table,
    "bytes": bytes_table,
    "blocks": blocks_table,
}


def describe(p: Prediction) -> str:
    """What the command prints."""
    lines = [f"{p.params.name}, {p.machine.flop_per_s / 1e12:g} TFLOP/s a GPU; predicted", ""]
    return "\n".join([*lines, "\n\n".join(make(p) for make in TABLES.values())])


def page(text: str, predictions: Iterable[Prediction]) -> str:
    """A page with its marked tables written anew: "2scm stages", "2scm 40 together", "machine".

    Raises:
        ParamsError: a mark names a prediction or table that there is none of.
    """
    makers: dict[str, Callable[[], str]] = {
        f"{p.params.name}{_rate(p)} {name}": partial(make, p)
        for p in predictions
        for name, make in TABLES.items()
    }
    makers["machine"] = partial(machine_table, Machine())

    def written(mark: re.Match[str]) -> str:
        if mark[2] not in makers:
            raise ParamsError(f"the page asks for {mark[2]!r}; there are {', '.join(makers)}")
        return f"{mark[1]}{makers[mark[2]]()}{mark[3]}"

    return MARKED.sub(written, text)


def _rate(p: Prediction) -> str:
    own = p.machine.flop_per_s
    return "" if own == Machine().flop_per_s else f" {own / 1e12:g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits: "0.00123", "12.3", "39,500"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float) -> str:
    """A share in percent: "97 %", "0.4 %"."""
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"
