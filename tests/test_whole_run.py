"""Every notebook, executed for real at `ci` size, and the report that comes out of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from echocascade.report.runs import PHANTOM_BANNER

pytestmark = pytest.mark.notebooks

# What each notebook must leave; further keys are free to come and go.
KEYS = [
    "data.splits.TRAIN",
    "theory.order.heun",
    "regressor.test.MAE",
    "train.base.validation_loss",
    "train.tssr.validation_loss",
    "counterfactual.generation.regressor.single.MAE",
    "counterfactual.reconstruction.regressor.single.MAE",
    "study.simulated.pooled.accuracy",
    "rebalancing.plan.n_generate",
    "rebalancing.size_all.real.MAE",
]


class WholeRun:
    """`echocascade run` with its outputs in a folder of the test's."""

    def __init__(self, outputs: Path, name: str, *arguments: str) -> None:
        self.directory = outputs / name
        self.arguments = ["run", "params/ci.yaml", "--name", name, *arguments]
        self.environment = {**os.environ, "ECHOCASCADE_OUTPUTS": str(outputs)}

    def start(self, root: Path, *more: str) -> str:
        command = [sys.executable, "-m", "echocascade.cli", *self.arguments, *more]
        done = subprocess.run(
            command, cwd=root, env=self.environment, text=True, timeout=1500,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def executed_at(self) -> dict[str, int]:
        return {p.stem: p.stat().st_mtime_ns for p in self.directory.glob("notebooks/*.ipynb")}

    @property
    def results(self) -> dict[str, object]:
        return json.loads((self.directory / "results.json").read_text())


@pytest.fixture(scope="module")
def phantom_run(root, tmp_path_factory):
    run = WholeRun(tmp_path_factory.mktemp("outputs"), "ci")
    run.printed = run.start(root)
    return run


@pytest.fixture(scope="module")
def real_run(root, shared_dir, tmp_path_factory):
    data = shared_dir / "echonet-sample"
    run = WholeRun(tmp_path_factory.mktemp("outputs"), "real", "--data", str(data))
    run.start(root)
    return run


def test_all_notebooks_run_and_leave_their_numbers(root, phantom_run):
    written = {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    executed = {name.removesuffix("_tssr") for name in phantom_run.executed_at()}
    assert executed == written
    missing = [key for key in KEYS if not isinstance(phantom_run.results.get(key), int | float)]
    assert missing == []
    assert "report/index.html" in phantom_run.printed


def test_the_theory_holds(phantom_run):
    assert phantom_run.results["theory.order.heun"] == pytest.approx(2, abs=0.2)


def test_a_finished_run_does_nothing_and_a_change_runs_what_depends_on_it(root, phantom_run):
    before = phantom_run.executed_at()
    phantom_run.start(root)
    assert phantom_run.executed_at() == before
    phantom_run.start(root, "--set", "evaluation.bootstrap=300")
    after = phantom_run.executed_at()
    assert {n for n in after if after[n] != before[n]} == {
        "00_overview",
        "07_counterfactual_evaluation",
        "08_expert_study",
    }


@pytest.mark.browser
@pytest.mark.parametrize("which", ["phantom_run", "real_run"])
def test_every_figure_shows_and_every_clip_plays_without_network(which, request, browser):
    report = request.getfixturevalue(which).directory / "report"
    pages = sorted(report.glob("*.html"))
    assert len(pages) == len(request.getfixturevalue(which).executed_at()) + 1
    for path in pages:
        check_page(browser, path)


def check_page(browser, path: Path) -> None:
    context = browser.new_context(offline=True)
    tab = context.new_page()
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(path.as_uri())
    # Figures are drawn and clips start when they come into view.
    tab.evaluate(
        "async () => { for (let y = 0; y < document.body.scrollHeight; y += 400) {"
        " window.scrollTo(0, y); await new Promise(r => setTimeout(r, 60)); } }"
    )
    tab.wait_for_function(
        "[...document.querySelectorAll('.figure')].every(f => f.querySelector('.main-svg'))"
    )
    tab.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)"
    assert tab.evaluate(broken) == []
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    if path.stem in {"index", "06_sampling", "07_counterfactual_evaluation"}:
        assert tab.locator("video").count() > 0, path.name
    context.close()


def test_a_report_says_what_its_numbers_stand_on(root, phantom_run, real_run):
    def index(run: WholeRun) -> str:
        return (run.directory / "report" / "index.html").read_text()

    said = PHANTOM_BANNER.split(":")[0]
    assert said in index(phantom_run)
    assert said not in index(real_run)
    assert str(real_run.results["data.n_clips"]) == "50"
    assert "50" in index(real_run)
