"""What is said of a run's clips beside LVEF: published measures, echo domain, copies, the judge."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from echocascade.evaluation import weights
from echocascade.evaluation.weights import MANIFEST, Weights
from echocascade.studies import copies, echo, judging, quality
from echocascade.studies.chunks import Samples
from echocascade.studies.copies import closest_pairs, find_copies
from echocascade.studies.protocol import TASKS, read_samples


class Detector(torch.nn.Module):
    """The interface of the I3D file, in a few numbers."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool):
        return torch.stack([x.mean([1, 2, 3, 4]), x.amax([1, 2, 3, 4])], 1)


@pytest.fixture(scope="module")
def samples(tiny_trained, tmp_path_factory):
    made = Samples(tiny_trained, 1.5, tmp_path_factory.mktemp("samples"))
    made.make(made.units())
    return made


@pytest.fixture(scope="module")
def table(samples):
    return pd.concat([samples.table(task) for task in TASKS], ignore_index=True)


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))


def test_without_networks_every_number_is_its_file_and_source(samples, table, tmp_path):
    without = dataclasses.replace(samples, weights_dir=tmp_path)
    found = quality.image_quality(without, table, "generation")
    assert len(found) == 2 * 5 and found.value.isna().all()
    assert found.note.str.startswith("not computed: ").all()
    results = quality.task_results(found, "generation", tmp_path)
    vgg16 = MANIFEST["vgg16"]
    assert results["LPIPS"] == f"not computed: {vgg16.file}, {vgg16.source}"
    for mode in ("clean", "paper"):
        assert results[mode]["FVD"].startswith("not computed: i3d_torchscript.pt, https://")


def test_with_a_network_the_number_has_its_interval_and_n(samples, table, tmp_path, monkeypatch):
    torch.jit.script(Detector()).save(tmp_path / "i3d_torchscript.pt")
    local = {**MANIFEST, "i3d": Weights("i3d_torchscript.pt", "a test", "nowhere")}
    monkeypatch.setattr(quality, "MANIFEST", local)
    monkeypatch.setattr(quality, "CLIP_FRAMES", 8)
    monkeypatch.setattr("echocascade.evaluation.preparation.CLIP_FRAMES", 8)
    within = dataclasses.replace(samples, weights_dir=tmp_path)
    found = quality.image_quality(within, table, "generation")
    fvd = found[found.score == "FVD"].set_index("mode")
    assert (fvd.value > 0).all() and (fvd.clips == 4).all() and (fvd.note == "").all()
    assert fvd.value["clean"] != fvd.value["paper"]
    results = quality.task_results(found, "generation", tmp_path)
    assert results["paper"]["FVD"] == fvd.value["paper"] and results["paper"]["FVD_N"] == 4


def test_clips_too_short_for_fvd_say_so(samples, table, tmp_path, monkeypatch):
    torch.jit.script(Detector()).save(tmp_path / "i3d_torchscript.pt")
    local = {**MANIFEST, "i3d": Weights("i3d_torchscript.pt", "a test", "nowhere")}
    monkeypatch.setattr(quality, "MANIFEST", local)
    within = dataclasses.replace(samples, weights_dir=tmp_path)
    notes = quality.image_quality(within, table, "generation").set_index("score").note
    assert set(notes["FVD"]) == {"not computed: clips of 8 frames, 16 are needed"}


def test_lpips_enters_the_table_where_its_network_is_there(tiny_trained, tmp_path, monkeypatch):
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = vgg16().state_dict()
    state = {name: torch.zeros(()).expand(v.shape) for name, v in shapes.items()}
    torch.save(state, tmp_path / "vgg16-397923af.pth")
    local = {**MANIFEST, "vgg16": Weights("vgg16-397923af.pth", "a test", "nowhere")}
    monkeypatch.setattr("echocascade.studies.chunks.MANIFEST", local)
    evaluation = tiny_trained.params.evaluation.model_copy(update={"clips": 2, "draws": 1})
    params = tiny_trained.params.model_copy(update={"evaluation": evaluation})
    trained = dataclasses.replace(tiny_trained, params=params)
    without = Samples(trained, 1.5, tmp_path / "samples")
    within = dataclasses.replace(without, weights_dir=tmp_path)
    assert within.folder == without.folder and within.measured != without.measured
    within.make(within.units(("generation",)))
    assert (within.table("generation").LPIPS == 0).all()  # a network that sees nothing


def test_echo_distances_stand_beside_those_of_other_real_clips(samples, table):
    found = echo.EchoDomain(samples, table, "generation").distances()
    assert set(found.maker) == set(echo.MAKERS) and set(found.distance) == {"frechet", "kernel"}
    results = echo.results(found)
    assert results["regressor_frechet"]["generated"] > 0
    assert len(results["regressor_kernel"]["other_real_interval"]) == 2


def test_echo_estimates_have_intervals_readings_and_what_real_clips_give(samples, table):
    found = echo.EchoDomain(samples, table, "generation").estimates().set_index("measure")
    assert set(found.index) == set(echo.READINGS)
    share = found.loc["recognised"]
    assert 0 <= share.low <= share.value <= share.high <= 1 and 0 <= share.real <= 1
    assert found.loc["diversity of pictures"].value > 0 and (found.reading != "").all()
    results = echo.estimate_results(found.reset_index(), "generation")
    assert results["recognised"] == share.value and "diversity_of_motion_interval" in results


def test_every_clip_has_its_nearest_training_clip_and_real_ones_set_the_threshold(samples, table):
    found = find_copies(samples, table, "generation")
    train = set(samples.trained.store.table.FileName[samples.trained.store.indices("TRAIN")])
    assert set(found.table.nearest) <= train and set(found.table.by_features) <= train
    assert len(found.table) == 12 and (found.table.score <= 1).all()
    assert len(found.real_scores) == len(samples.trained.store.indices("VAL"))
    results = found.results()
    assert results["N"] == 12 and results["n_train"] == len(train)
    assert results["refused"] == (found.table.score > found.threshold).sum()


def test_the_closest_pairs_are_shown_with_the_training_clip_at_its_moment(samples, table):
    found = find_copies(samples, table, "generation")
    pairs, made, train = closest_pairs(samples, found, 2)
    assert list(pairs.score) == sorted(found.table.score, reverse=True)[:2]
    assert made.shape == train.shape == (2, 8, 16, 16, 1)
    np.testing.assert_array_equal(made, read_samples(pairs, samples.directory))
    store, row = samples.trained.store, pairs.iloc[0]
    place = store.table.FileName.tolist().index(row.nearest)
    stride = round(store.fps / samples.trained.last.fps)
    start = round(row.shift_s * store.fps)
    np.testing.assert_array_equal(train[0], store.window(place, 8, start, stride))
    assert copies.PAIRS >= 2


def test_the_judge_is_measured_on_real_clips_at_its_own_and_at_slower_rates(tiny_trained):
    calibration = judging.Calibration(tiny_trained)
    n = len(tiny_trained.store.indices("TEST"))
    bands, rates, averaging = calibration.bands(), calibration.rates(), calibration.averaging()
    assert bands.n.sum() == n
    assert rates.fps.tolist() == [4, 2, 1] and rates.met.tolist() == [True, True, False]
    assert (rates.n == n).all() and averaging.views.tolist() == list(judging.VIEWS)
    own = rates[rates.fps == 4].MAE.item()
    assert averaging[averaging.views == 1].MAE.item() == pytest.approx(own)
    results = judging.results(bands, rates, averaging)
    assert results["rates"]["4fps"]["MAE"] == own and len(results["bands"]) == len(bands)


def test_the_manifest_that_studies_use_is_the_one_of_the_library():
    assert quality.MANIFEST is weights.MANIFEST
