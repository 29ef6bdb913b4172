"""README says what is there: its numbers are a recorded run's, its files exist."""

import json
import re

from echocascade.report import bench_record
from echocascade.report.record import BEGIN, END, readme_table


def test_the_numbers_are_those_of_the_recorded_run(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    block = text.split(BEGIN)[1].split(END)[0].strip()
    results = json.loads((root / "outputs/recorded/quick/results.json").read_text())
    assert block == readme_table(results)
    assert "not computed" not in block


def test_the_numbers_on_all_test_clips_are_the_recorded_ones(root):
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    recorded = json.loads((root / "outputs/recorded/quick/all_test_clips.json").read_text())
    regressor, stick = recorded["scores"]["regressor"], recorded["scores"]["stick"]

    def stated(scores):
        low, high = scores["R2_interval"]
        return f"R2 {scores['R2']:.2f} ({low:.2f} to {high:.2f})"

    assert regressor["N"] == stick["N"] == 187
    assert f"{stated(regressor)}, slope {regressor['slope']:.2f} and r {regressor['r']:.2f}" in text
    assert f"{stated(stick)} by segmentation" in text


def test_the_benchmarks_are_the_recorded_ones(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    block = text.split(bench_record.BEGIN)[1].split(bench_record.END)[0].strip()
    recorded = bench_record.recorded_benches(root)
    assert recorded and block == bench_record.bench_tables(recorded)
    assert [content["machine"]["dirty"] for content in recorded] == [False] * len(recorded)


def test_every_file_and_notebook_that_is_named_exists(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:params|notebooks|lib|data)/[\w./-]+)`", text)
    notebooks = [f"notebooks/{name}.ipynb" for name in re.findall(r"`(\d\d_\w+)`", text)]
    missing = [p for p in links + named + notebooks if not (root / p).exists()]
    assert missing == []
    assert len(notebooks) == len(list((root / "notebooks").glob("*.ipynb")))


def test_every_make_target_that_is_named_exists(root):
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", (root / "README.md").read_text()))
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []
