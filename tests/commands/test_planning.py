"""`echocascade plan`: what will be taken, before it is taken."""

import json

import pytest
from typer.testing import CliRunner

from echocascade.cascade.training_plan import plan_training
from echocascade.cli import app
from echocascade.params import load_params

runner = CliRunner()


def test_a_parameters_file_is_planned(root):
    done = runner.invoke(app, ["plan", str(root / "params" / "quick.yaml"), "--tflops", "1"])
    assert done.exit_code == 0
    assert "1 video, 1 at a time" in done.stdout
    assert "28 x 28" in done.stdout


def test_a_run_is_planned_by_its_parameters(root, tmp_path):
    params = load_params(root / "params" / "quick.yaml", ["cascade.guidance.scale=3"])
    (tmp_path / "params.yaml").write_text(params.dump_yaml())
    arguments = [str(tmp_path), "--tflops", "1", "--videos", "6", "--batch", "2", "--json"]
    content = json.loads(runner.invoke(app, ["plan", *arguments]).stdout)
    assert (content["n_videos"], content["batch_size"], content["guidance_scale"]) == (6, 2, 3)
    assert content["total_seconds"] == pytest.approx(6 * content["total_flops"] / 1e12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["params/quick.yaml", "--batch", "0"], "batch_size is 0"),
        (["params/quick.yaml", "--tflops", "0"], "flop_per_s is 0"),
        (["params/no-such.yaml"], "no parameters file"),
        (["no-such-run"], "no run 'no-such-run'"),
        (["params/quick.yaml", "--set", "sed=1"], "did you mean 'seed'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(arguments, words):
    done = runner.invoke(app, ["plan", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_training_memory_is_planned_for_one_device(root):
    whole, shared = (
        plan_training(load_params(root / "params" / "ci.yaml", [f"devices={n}"])) for n in (1, 2)
    )
    assert [s.samples for s in whole.stages] == [2 * s.samples for s in shared.stages]
    for one, half in zip(whole.stages, shared.stages, strict=True):
        assert half.memory_bytes < one.memory_bytes
        assert one.checkpointed_bytes < one.memory_bytes


def test_the_plan_of_training_names_parts_and_what_was_chosen(root):
    change = {
        "cascade.stages.tssr.network.checkpoint_activations": True,
        "cascade.stages.tssr.training.device_batch": 2,
    }
    path = str(root / "params" / "ci.yaml")
    changes = [word for key, value in change.items() for word in ("--set", f"{key}={value}")]
    done = runner.invoke(app, ["plan", path, "--training", *changes])
    base, tssr = done.stdout.splitlines()[2:]
    assert "(chosen)" in tssr
    assert "(chosen)" not in base
    assert "2 x 2" in tssr
