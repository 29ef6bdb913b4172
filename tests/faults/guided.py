"""Fuzzing that is led by coverage (atheris): what reaches new code is kept and damaged further.

    .venv-fuzz/bin/python tests/faults/guided.py --seconds 120 --folder .fuzz [TARGET ...]

Every target runs in a process of its own; corpora grow in the folder from run to run, and an input
that broke a promise is kept under its `faults`. The last line of each target says what it did.
Coverage is counted in echocascade, pydicom and yaml; FFmpeg, pandas and the decoders of pictures
are machine code that is fuzzed without guidance, where a crash or a hang is found all the same.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENTED = ("echocascade", "pydicom", "yaml")
HANG_SECONDS = 120  # by the clock: on a busy machine a process may wait long for its turn
LONGEST_INPUT = 16384
RSS_MIB = 3584  # the second net, for memory that an input does not give back


def fuzz_here(name: str, furnished: Path, flags: list[str]) -> None:
    """Feed the target in this process until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        import targets
    warnings.simplefilter("ignore")
    target = targets.TARGETS[name]
    atheris.Setup(
        [sys.argv[0], *flags], lambda data: targets.feed(target, data, furnished) and None
    )
    atheris.Fuzz()


def fuzz(name: str, seconds: int, folder: Path, furnished: Path) -> dict[str, object]:
    """Feed the target for so long in a process of its own: what it did, and its last words."""
    import targets

    corpus, faults = folder / "corpus" / name, folder / "faults"
    faults.mkdir(parents=True, exist_ok=True)
    words = folder / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in targets.TARGETS[name].words))
    before = {*faults.iterdir()}
    flags = [
        f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={RSS_MIB}",
        f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={faults}/{name}-", f"-dict={words}",
        "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as here:
        place = shutil.copytree(furnished, Path(here) / "data")
        command = [sys.executable, __file__, "--here", str(place), name, "--", *flags]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            check=False,
        )  # fmt: skip
    (folder / f"{name}.log").write_text(done.stdout)
    executed = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stdout)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", done.stdout) or [(0, 0)]
    return {
        "target": name,
        "seconds": seconds,
        "inputs": int(executed[-1]) if executed else 0,
        "branches": int(reached[-1][0]),
        "features": int(reached[-1][1]),
        "corpus": len([*corpus.iterdir()]),
        "status": done.returncode,
        "faults": sorted(path.name for path in {*faults.iterdir()} - before),
        "words": "" if done.returncode == 0 else done.stdout[-3000:],
    }


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() or c in " _-.:/" else f"\\x{ord(c):02x}" for c in word)


def prepare(folder: Path) -> Path:
    """The data folder that the targets read in, and a first corpus of whole files for each."""
    from seeds import furnish, seeds

    furnished = folder / "data"
    shutil.rmtree(furnished, ignore_errors=True)
    furnish(furnished, ROOT / "params")
    for name, files in seeds(furnished).items():
        (folder / "corpus" / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / "corpus" / name / file).write_bytes(content)
    return furnished


def main() -> int:
    own, flags = sys.argv[1:], []
    if "--" in own:
        own, flags = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="corpora and faults")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args(own)
    if given.here:
        fuzz_here(given.targets[0], given.here, flags)
    from targets import TARGETS

    unknown = [name for name in given.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    furnished = prepare(given.folder)
    failed = False
    for name in given.targets or TARGETS:
        found = fuzz(name, given.seconds, given.folder, furnished)
        words = found.pop("words")
        failed |= found["status"] != 0
        print(*([words] if words else []), json.dumps(found), sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
