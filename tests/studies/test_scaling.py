"""Scale on paper: closed forms, limits, and the page that states what the command prints."""

import itertools
import json
import re
from dataclasses import fields, replace

import pytest
from typer.testing import CliRunner

from echocascade.cascade.cost import example_inputs, flop_counter, sampling_cost
from echocascade.cascade.stage import Stage
from echocascade.cli import app
from echocascade.commands.scaling import PAGE, page_text
from echocascade.params import ParamsError, TrainingParams, load_params
from echocascade.report.paper import TABLE_1
from echocascade.studies.scaling.chunks import Chunks, clips_work, evaluation_work
from echocascade.studies.scaling.machine import SOURCES, Machine
from echocascade.studies.scaling.prediction import PLAN_ROW_BYTES, predict
from echocascade.studies.scaling.tables import page
from echocascade.studies.scaling.training import (
    StageWork,
    all_reduce_bytes,
    all_reduce_s,
    cascade_seconds,
    split,
    training_work,
)

MACHINE = Machine()
GPUS = (1, 2, 3, 8, 9, 16, 63, 64, 65, 512)


def work(batch=64, device_batch=8, machine=MACHINE, name="base", **changes) -> StageWork:
    training = TrainingParams(
        steps=1000, batch_size=batch, device_batch=device_batch, **{"workers": 2, **changes}
    )
    return StageWork(name, 20_000_000, 7 * 10**11, 200_000, training, 8, machine)


def chunks(videos=1000, chunk=4, machine=MACHINE) -> Chunks:
    return Chunks(videos, chunk, 5 * 10**14, 3, 2, machine)


@pytest.fixture(scope="module")
def two(root):
    return predict(load_params(root / "params" / "2scm.yaml"))


def test_one_gpu_is_computing_alone():
    step = work().step(1)
    assert step.all_reduce_s == 0
    parts = 8
    assert step.compute_s == pytest.approx(64 * 7e11 / 4e12 + parts * MACHINE.launch_s)
    assert step.seconds == step.compute_s


@pytest.mark.parametrize(("gpus", "times"), [(1, 0.0), (2, 1.0), (4, 1.5), (64, 126 / 64)])
def test_a_ring_sends_nearly_twice_the_gradients(gpus, times):
    assert all_reduce_bytes(1000, gpus) == pytest.approx(1000 * times)


def test_all_reduce_is_bytes_and_latency_of_the_slowest_link():
    n_bytes = 80_000_000  # a bucket of 1 MiB and four of up to 25 MiB, and three small messages
    within, between = (all_reduce_s(MACHINE, n_bytes, n) for n in (8, 16))
    assert within == pytest.approx(1.75 * n_bytes / 200e9 + 2 * 7 * 8 * 5e-6)
    lap = 2 * 20e-6 + 14 * 5e-6  # two of sixteen links leave their node
    assert between == pytest.approx(1.875 * n_bytes / 20e9 + 1.875 * 8 * lap)


def test_the_bytes_do_not_depend_on_the_batch():
    assert work(64).step(8).all_reduce_s == work(32).step(8).all_reduce_s


@pytest.mark.parametrize("job", [work(), work(48, None), work(7, 2), chunks(), chunks(10, 4)])
def test_more_gpus_are_never_slower_by_much_and_never_better_than_in_proportion(job):
    seconds = [job.seconds(n) for n in GPUS]
    looks = getattr(job, "looks", 0) * getattr(job, "n_chunks", 0)
    looking = MACHINE.looks_s(looks, 512)  # the one thing that grows with the number of GPUs
    assert all(later <= before + looking for before, later in itertools.pairwise(seconds))
    assert all(0 < job.efficiency(n) <= 1 + 1e-12 for n in GPUS)


def test_a_stage_gains_nothing_beyond_its_batch():
    stage = work()
    assert stage.seconds(65) == stage.seconds(512) == stage.seconds(64)
    assert stage.best(512).gpus == 64
    assert (stage.limit(8), stage.limit(64), stage.limit(512)) == ("compute", "batch", "batch")
    assert stage.efficiency(512) == pytest.approx(stage.efficiency(64) / 8)


def test_a_number_that_does_not_divide_the_batch_leaves_gpus_idle():
    assert work().best(63).gpus == 32
    with pytest.raises(ParamsError, match="cannot be shared by 63"):
        work().step(63)


def test_a_slow_network_makes_fewer_gpus_the_best():
    stage = work(machine=replace(MACHINE, net_bytes_per_s=1e7))
    assert stage.best(64).gpus == 8
    assert stage.limit(64) == "all-reduce"


def test_a_slow_disk_is_hidden_only_by_workers_and_only_as_long_as_a_step():
    slow = replace(MACHINE, client_bytes_per_s=1e7, disk_bytes_per_s=1e7)
    ahead, between = work(machine=slow).step(1), work(machine=slow, workers=0).step(1)
    assert ahead.seconds == ahead.compute_s
    assert between.seconds == pytest.approx(between.compute_s + between.read_s)
    assert work(machine=slow).limit(64) == "reading"


def test_hours_become_steps_on_the_runs_own_devices():
    stage = work(max_hours=0.1)
    assert stage.steps == int(360 / stage.step(8).seconds)
    assert work(max_hours=1000.0).steps == 1000


def test_a_split_gives_all_it_can_to_the_slowest():
    slow, fast = work(max_hours=0.2), replace(work(name="other"), sample_flops=10**11)
    assert split((slow, fast), 1) == {}
    given = split((slow, fast), 64)
    assert sum(given.values()) <= 64
    assert given["base"] > given["other"]
    assert split((slow, fast), 1000)["base"] == 64
    seconds = [cascade_seconds((slow, fast), n)[0] for n in GPUS]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] == slow.seconds(1) + fast.seconds(1)


def test_chunks_are_whole_rounds():
    assert chunks().n_chunks == 250
    assert [chunks().rounds(n) for n in (1, 8, 249, 250, 512)] == [250, 32, 2, 1, 1]
    quiet = replace(MACHINE, start_s=0.0, client_looks_per_s=1e30, looks_per_s=1e30)
    assert chunks(machine=quiet).seconds(1) == pytest.approx(1000 * 5e14 / 4e12)
    assert chunks(machine=quiet).seconds(512) == pytest.approx(4 * 5e14 / 4e12)


def test_a_million_clips_are_shards_or_files(two):
    sharded, single = (
        clips_work(two.params, MACHINE, 10**14, 1_000_000, 100, shards) for shards in (True, False)
    )
    assert sharded.n_chunks == single.n_chunks == 10_000
    assert sharded.files * sharded.n_chunks == 30_000
    assert single.files * single.n_chunks == 1_020_000


def test_a_slow_metadata_server_bounds_files_before_shards(two):
    slow = replace(MACHINE, changes_per_s=1.0, start_s=0.0, looks_per_s=1e30)
    sharded, single = (
        clips_work(two.params, slow, 10**12, 10_000, 100, shards) for shards in (True, False)
    )
    assert single.seconds(64) == pytest.approx(2 * 10_200, rel=0.01)
    assert sharded.seconds(64) < single.seconds(64) / 10


def test_the_protocol_has_a_chunk_a_batch_of_each_draw_and_task(two):
    found = evaluation_work(two.params, MACHINE, 1)
    assert (found.videos, found.n_chunks) == (1288 * 3 * 2, 322 * 3 * 2)


def test_training_is_counted_as_three_forward_passes(tiny_params):
    for index, found in enumerate(training_work(tiny_params, MACHINE)):
        stage = Stage.of(tiny_params, index)
        p, denoiser = stage.params, stage.build()
        with flop_counter() as counter:
            denoiser(*example_inputs(stage, 1, p.size, p.n_frames)).mean().backward()
        assert found.sample_flops == 3 * sampling_cost(stage).flops
        # the first layers need no gradient by their input, so it is a little less
        assert counter.get_total_flops() == pytest.approx(found.sample_flops, rel=0.05)


def test_the_rate_is_what_the_papers_seconds_come_to(root, two):
    seconds = {row.model: row.seconds for row in TABLE_1}
    for name in ("1SCM", "2SCM", "4SCM"):
        same = name == "2SCM"
        found = two if same else predict(load_params(root / "params" / f"{name.lower()}.yaml"))
        assert 3.8e12 < found.video_flops / seconds[name] < 4.7e12


def test_the_papers_run_is_48_hours_of_eight_gpus(two):
    for stage in two.stages:
        assert stage.seconds(8) / 3600 == pytest.approx(48, rel=1e-3)
        assert stage.limit(512) == "batch"


def test_every_rate_has_a_source():
    assert list(SOURCES) == [field.name for field in fields(Machine)]


def test_a_row_of_a_plan_is_as_long_as_said():
    row = "123456,12.3456,12.0,13.0,0X1A2B3C4D5E6F7A8B,55.38290123456789\n"
    assert len(row) == pytest.approx(PLAN_ROW_BYTES, abs=10)


def test_frames_and_bytes_are_those_of_the_real_data(shared_dir):
    import numpy as np
    import pandas as pd

    from echocascade.studies.scaling.prediction import AVI_FRAME_BYTES, ECHONET_FRAMES

    folder = shared_dir / "echonet-sample"
    table = pd.read_csv(folder / "FileList.full.csv")
    frames = np.floor((table["NumberOfFrames"] - 1) * 32 / table["FPS"] + 1e-6) + 1
    assert int(frames.sum()) == ECHONET_FRAMES
    sizes = [path.stat().st_size / 16 for path in (folder / "Videos").glob("*.avi")]
    assert np.mean(sizes) == pytest.approx(AVI_FRAME_BYTES, abs=1)


def test_the_page_states_what_the_command_prints(root):
    text = (root / PAGE).read_text(encoding="utf-8")
    assert text == page_text(root)
    done = CliRunner().invoke(app, ["scale", str(root / "params" / "2scm.yaml")])
    assert done.exit_code == 0
    for name in ("together", "stages", "bytes", "blocks"):
        found = re.search(rf"<!-- scale 2scm {name}: begin -->\n(.*?)\n<!-- end -->", text, re.S)
        assert found is not None
        assert found[1] in done.stdout


def test_a_mark_without_a_table_is_an_error():
    with pytest.raises(ParamsError, match="asks for '3scm stages'"):
        page("<!-- scale 3scm stages: begin -->\n\n<!-- end -->\n", [])


def test_json_is_one_object(root):
    arguments = ["scale", str(root / "params" / "ci.yaml"), "--gpus", "2,4", "--json"]
    content = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert [row["gpus"] for row in content["together"]] == [2, 4]
    assert content["machine"]["flop_per_s"] == 4e12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpus", "8,many"], "gpus is '8,many'"),
        (["--gpus", "0"], "gpus is 0"),
        (["--tflops", "0"], "tflops is 0"),
        (["--clips", "-1"], "clips is -1"),
        (["params/no-such.yaml"], "no parameters file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(arguments, words):
    done = CliRunner().invoke(app, ["scale", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
