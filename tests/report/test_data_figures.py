"""Figures of notebook 01 show the numbers they are given."""

from shutil import copytree

import numpy as np
import pandas as pd
import pytest

from echocascade.data.echonet import check_dataset
from echocascade.report import data_figures
from echocascade.report.data_statistics import (
    BINS,
    REAL_CLIPS,
    comparison_table,
    dataset_statistics,
    image_statistics,
)


def noise_clip(seed, blur=0):
    """A clip of 112 pixels of grey noise that keeps still, its grain `blur` pixels wide."""
    noise = np.random.default_rng(seed).normal(size=(112, 112))
    for axis in (0, 1):
        noise = sum(np.roll(noise, shift, axis) for shift in range(-blur, blur + 1))
    grey = 128 + 40 * noise / noise.std()
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[None, ..., None], 8, axis=0)


def test_the_lvef_histogram_shares_add_up_in_each_split(tiny_store):
    figure = data_figures.lvef_figure(tiny_store.table)
    assert [sum(bar.y) for bar in figure.data] == pytest.approx([1, 1, 1])
    counts = [int(np.sum(bar.customdata)) for bar in figure.data]
    assert counts == [len(tiny_store.indices(split)) for split in ("TRAIN", "VAL", "TEST")]


def test_an_lvef_of_100_percent_is_in_the_last_bar():
    table = pd.DataFrame({"EF": [100.0, 3.0], "Split": ["TRAIN", "TRAIN"]})
    bars = data_figures.lvef_figure(table).data[0].customdata
    assert (bars[0], bars[-1]) == (1, 1)


def test_every_clip_is_in_the_rate_and_duration_histograms(tiny_store):
    figure = data_figures.rate_figure(tiny_store, window_s=2.0)
    assert [int(np.sum(bar.y)) for bar in figure.data] == [len(tiny_store)] * 2


def test_shown_clips_rise_in_lvef_from_near_the_lowest_to_near_the_highest(tiny_store):
    shown = data_figures.clips_over_lvef(tiny_store, 5)
    assert shown.EF.is_monotonic_increasing and len(shown) == 5
    assert shown.EF.iloc[0] <= tiny_store.table.EF.quantile(0.1)
    assert shown.EF.iloc[-1] >= tiny_store.table.EF.quantile(0.9)


def test_a_data_set_without_tracings_gets_a_figure_that_says_so(tiny_store, tmp_path):
    figure = data_figures.tracing_figure(tiny_store, tmp_path)
    assert "no VolumeTracings.csv" in figure.layout.annotations[-1].text


def test_the_larger_outline_is_end_diastole(tiny_store, pulsating_folder, tmp_path):
    (tmp_path / "Videos").symlink_to(pulsating_folder / "Videos")
    rows = ["FileName,X1,Y1,X2,Y2,Frame"]
    for frame, half in ((2, 3), (7, 6)):
        rows.append(f"ring03.avi,16,{16 - half},16,{16 + half},{frame}")
        rows += [f"ring03.avi,{16 - half},{y},{16 + half},{y},{frame}" for y in range(10, 22)]
    (tmp_path / "VolumeTracings.csv").write_text("\n".join(rows) + "\n")
    figure = data_figures.tracing_figure(tiny_store, tmp_path)
    outlines = [trace for trace in figure.data if trace.type == "scatter"]
    assert [max(line.x) for line in outlines] == [22, 19]
    assert "no VolumeTracings" not in str(figure.layout.annotations)


def test_the_check_table_lists_what_is_broken_by_file(pulsating_folder, tmp_path):
    copytree(pulsating_folder, tmp_path / "broken")
    path = tmp_path / "broken" / "Videos" / "ring07.avi"
    path.write_bytes(path.read_bytes()[:300])
    table = data_figures.check_table(check_dataset(tmp_path / "broken", workers=1))
    assert table.loc["problems"].item() == "1"
    assert any("ring07.avi" in row for row in table.index)
    assert table.loc["usable clips"].item() == "29"


def test_real_numbers_beside_themselves_differ_by_nothing():
    table = comparison_table(REAL_CLIPS, REAL_CLIPS)
    assert (table.iloc[:, -1] == 0).all()
    assert len(table) == len(REAL_CLIPS.numbers)


def test_recorded_densities_of_real_clips_integrate_to_one():
    # three digits were kept of each bin
    assert sum(REAL_CLIPS.histogram) * 256 / BINS == pytest.approx(1, abs=0.01)


def test_coarser_grain_has_wider_autocorrelation():
    fine, coarse = (image_statistics([noise_clip(0, blur)]) for blur in (0, 1))
    for name, curve in fine.correlation.items():
        assert curve[1] < coarse.correlation[name][1]


def test_the_real_sample_gives_the_recorded_numbers(shared_dir):
    from echocascade.data.echonet import read_file_list
    from echocascade.data.video import read_frames

    paths = read_file_list(shared_dir / "echonet-sample")["path"]
    found = image_statistics([read_frames(path, 1) for path in paths])
    assert found.n_clips == REAL_CLIPS.n_clips
    # four digits were kept
    for name, value in REAL_CLIPS.numbers.items():
        assert found.numbers[name] == pytest.approx(value, rel=1e-3), name


def test_statistics_of_a_store_take_the_number_of_clips_asked_for(tiny_store, pulsating_folder):
    assert dataset_statistics(tiny_store, pulsating_folder, n_clips=4).n_clips == 4
