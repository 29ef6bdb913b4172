"""The benchmark's page: every number, no network."""

import json
import re

import pytest

from echocascade.report.bench_page import UNRUN_GPU, render_bench, where_figure, write_bench
from echocascade.report.bench_record import BEGIN, END, bench_table, bench_tables, record_bench
from echocascade.report.html import find_external
from echocascade.report.runs import RunError


def result(name, dtype, seconds, batch=1, **more):
    return {
        "name": name, "dtype": dtype, "batch": batch, "median_s": seconds, "gflop": 240.0,
        "gflop_per_s": 240 / seconds, "share_of_peak": 0.5, "peak_rss_mb": 900.0,
        "floor_s": {"arithmetic": 0.2, "memory": 0.1}, **more,
    }  # fmt: skip


@pytest.fixture
def bench():
    where = {"convolution": 0.3, "matrix product": 0.1, "copies": 0.1}
    forward = "network/2scm_base/forward"
    peer = {
        "name": forward, "dtype": "bf16", "batch": 1, "median_s": 3.3, "ratio": 6.6,
        "peer": "imagen-pytorch 1.21.6", "peer_dtype": "fp32", "peer_allocator": "default",
        "peer_gflop_per_s": 80.0, "parameters_share": 1.08, "gflop_share": 0.9,
    }  # fmt: skip
    reading = {"name": "data/read batch", "dtype": "uint8", "batch": 16, "median_s": 4.0,
               "ratio": 400.0, "peer": "decode and zoom"}  # fmt: skip
    rates = {"matmul_gflop_per_s": 220.0, "convolution_gflop_per_s": 500.0}
    return {
        "machine": {
            "device": "cpu", "processor": "<b>A processor</b>", "cores": 2, "threads": 2,
            "torch": "2.14", "python": "3.11", "peaks": {"fp32": rates, "bf16": rates},
            "bandwidth_gb_per_s": 20.0,
        },
        "results": [
            result(forward, "fp32", 1.0, where_s=where), result(forward, "bf16", 0.5),
            {"name": "phantom/clip", "dtype": "uint8", "batch": 1, "median_s": 0.05, "gflop": None,
             "gflop_per_s": None, "share_of_peak": None, "peak_rss_mb": 300.0},
        ],
        "peers": [peer, {**peer, "peer_allocator": "own", "ratio": 5.0}, reading],
        "left_out": [{"reason": "network/large could not be measured: it was <killed>"}],
    }  # fmt: skip


def test_every_measurement_is_on_the_page(bench):
    page = render_bench(bench)
    for text in ("6.6 ×", "400 ×", "108%", "90%", "50 ms", "as it comes", "decode and zoom"):
        assert text in page
    assert page.count("<tr>") == 1 + 3 + 1 + 3 + 1 + 2
    assert "Left out: network/large could not be measured: it was &lt;killed&gt;." in page
    assert "<b>A processor" not in page and "&lt;b&gt;A processor" in page


def test_the_page_needs_no_network(bench, tmp_path):
    page = write_bench(bench, tmp_path)
    assert find_external(page.read_text(encoding="utf-8")) == []
    assert (page.parent / "assets" / "plotly.min.js").stat().st_size > 10**6
    assert (tmp_path / "results.json").is_file()


def test_shares_of_the_time_add_up_to_one(bench):
    figure = where_figure(bench["results"][:1])
    assert sum(bar.y[0] for bar in figure.data) == pytest.approx(1)


def test_a_gpus_page_says_that_its_code_was_not_tried_on_one(bench):
    assert UNRUN_GPU not in render_bench(bench)
    bench["machine"]["device"] = "Some GPU"
    assert UNRUN_GPU in render_bench(bench)


@pytest.mark.browser
def test_both_figures_are_drawn(bench, tmp_path, browser):
    tab = browser.new_page()
    tab.goto(write_bench(bench, tmp_path).as_uri())
    tab.wait_for_selector(".figure .main-svg")
    assert tab.locator(".figure .barlayer .trace").count() == 3 + 3
    title = tab.locator("h1").inner_text()
    assert re.match("How fast", title)
    tab.close()


def test_the_table_of_readme_has_a_row_for_every_shape(bench):
    (head, _, row) = bench_table(bench).splitlines()
    assert head == "| | batch | imagen-pytorch 1.21.6, fp32 | ours, bf16 |"
    assert row == (
        "| 2SCM base, forward | 1 | 3.30 s | 0.50 s: 6.6 times as fast, 50 % of the peak |"
    )


def test_the_benchmarks_of_every_machine_are_kept_and_told_in_readme(bench, tmp_path):
    write_bench(bench, tmp_path / "outputs" / "bench")
    (tmp_path / "README.md").write_text(f"before {BEGIN} old {END} after", encoding="utf-8")
    kept = record_bench(tmp_path / "outputs" / "bench", tmp_path)
    assert json.loads(kept.read_text())["machine"]["cores"] == 2
    other = {**bench, "machine": {**bench["machine"], "processor": "Intel(R) Xeon(R) Processor"}}
    write_bench(other, tmp_path / "outputs" / "bench")
    second = record_bench(tmp_path / "outputs" / "bench", tmp_path)
    assert second.name == "intel-xeon-processor.json"
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == f"before {BEGIN}\n{bench_tables([bench, other])}\n{END} after"
    assert text.count("500 (fp32) and 500 (bf16) GFLOP/s") == 2
    assert text.count("takes 400 times as long as reading one from the store") == 2
    with pytest.raises(RunError, match="no results; `make bench-peer`"):
        record_bench(tmp_path / "outputs" / "nowhere", tmp_path)
