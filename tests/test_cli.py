"""The command line: quick to help, plain in its answers, clear about mistakes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest


def echocascade(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "echocascade.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, echocascade.cli;"
        "print([n for n in ('torch', 'pandas', 'plotly', 'snakemake') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command():
    said = echocascade("--help").stdout
    for command in ("run", "report", "train", "evaluate", "score", "data"):
        assert f" {command} " in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "nowhere.csv"),
        ("report", "no-such-run"),
        ("evaluate", "no-such-run"),
        ("data", "check", "nowhere"),
        ("run", "params/nothing.yaml"),
        ("train", "params/ci.yaml", "--stage", "bass"),
        ("study", "analyse", "nowhere"),
        ("study", "create", "no-such-run"),
    ],
)
def test_bad_input_is_one_line_and_status_2(root, monkeypatch, arguments):
    monkeypatch.chdir(root)
    done = echocascade(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_bad_usage_is_status_2():
    assert echocascade("score").returncode == 2
    assert echocascade("no-such-command").returncode == 2


def test_score_prints_one_json_object(tmp_path):
    rng = np.random.default_rng(0)
    requested = rng.uniform(15, 85, 40)
    table = pd.DataFrame(
        {
            "FileName": [f"clip{i // 2}" for i in range(40)],
            "lvef_requested": requested,
            "lvef_measured": np.clip(requested + rng.normal(0, 3, 40), 0, 100),
        }
    )
    table.to_csv(tmp_path / "scores.csv", index=False)
    done = echocascade("score", str(tmp_path / "scores.csv"), "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["n_patients"] == 20 and scores["n_draws"] == 2
    assert scores["rules"]["single"]["R2"] > 0.9
    plain = echocascade("score", str(tmp_path / "scores.csv"))
    assert plain.stdout.startswith("20 patients, 2 draws each")


def test_the_authors_scores_give_the_papers_row(shared_dir):
    """Reynaud23 Table 1, 1SCM reconstruction, from the scores that its authors published."""
    file = shared_dir / "reference" / "scores_1scm_reconstruction.csv"
    done = echocascade("score", str(file), "--json")
    paper = json.loads(done.stdout)["rules"]["paper"]
    expected = {"R2": 0.7563, "MAE": 4.5143, "RMSE": 6.0742, "SSIM": 0.5291, "LPIPS": 0.2132}
    for name, value in expected.items():
        assert paper[name] == pytest.approx(value, abs=5e-5)


def test_phantom_and_check_work_together(tmp_path):
    made = echocascade("data", "phantom", str(tmp_path / "phantom"), "--clips", "6")
    assert made.returncode == 0, made.stderr
    done = echocascade("data", "check", str(tmp_path / "phantom"), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["ok"] is True and found["n_clips"] == 6
    (clip, *_) = sorted((tmp_path / "phantom/Videos").glob("*.avi"))
    clip.write_bytes(clip.read_bytes()[:2000])
    broken = echocascade("data", "check", str(tmp_path / "phantom"), "--json")
    assert broken.returncode == 2
    (problem,) = json.loads(broken.stdout)["problems"]
    assert clip.name in problem["file"] and problem["what"]
    assert "1 problem" in broken.stderr
