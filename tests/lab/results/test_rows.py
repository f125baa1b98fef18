"""Ours beside the paper's: arithmetic over seeds, what may stand in a mean, and the marks in every output."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from dept.basics.files import read_json, write_json
from lab.cli import main
from lab.paper import numbers as paper
from lab.results.paper_figures import figures, learning_rates, missing, score_over_length, score_over_parameters
from lab.results.render import as_csv, as_html, as_latex, as_markdown, split_and_rates
from lab.results.rows import Results, read_results
from tests.lab.made_runs import made_run

GLUE = paper.benchmarks()["glue"]


def one_row(results: Results) -> Any:
    assert len(results.rows) == 1
    return results.rows[0]


def glue(folder: Path, *, seed: int = 42, shift: float = 0.0, **settings: Any) -> None:
    """All GLUE tasks; test scores 80, 81, ... 87 and the shift."""
    for index, task in enumerate(GLUE):
        made_run(folder / f"{task}-{seed}", task, seed=seed, test=80.0 + index + shift, **settings)


def test_seeds_of_one_setting_make_one_row(tmp_path: Path) -> None:
    for seed, test in ((1, 78.0), (2, 80.0), (3, 82.0)):
        made_run(tmp_path / f"s{seed}", seed=seed, test=test)
    made_run(tmp_path / "s2-again", seed=2, test=99.0)
    made_run(tmp_path / "s4", seed=4, status="failed", error="RunError: the loss became nan", steps=12)
    made_run(tmp_path / "s5", seed=5, status="stopped", steps=13)
    results = read_results(tmp_path)
    row = one_row(results)
    assert row.seeds == (1, 2, 3)
    assert (row.test.mean, row.test.deviation) == (80.0, 2.0)
    assert row.paper.value == 79.1
    assert row.difference == pytest.approx(0.9)
    assert row.reproduces
    reasons = {Path(one.what).name: one.reason for one in results.left_out if "mean over" not in one.what}
    assert "the same run" in reasons["s2-again"]
    assert "the loss became nan" in reasons["s4"]
    assert reasons["s5"].startswith("stopped at step 13")


def test_other_settings_are_rows_of_their_own(tmp_path: Path) -> None:
    made_run(tmp_path / "a")
    made_run(tmp_path / "b", prompt_lr=0.4)
    made_run(tmp_path / "c", data="sample")
    made_run(tmp_path / "d", method="prompt_tuning")
    results = read_results(tmp_path)
    assert [(row.method, row.result["config"]["prompt_lr"], row.marks) for row in results.rows] == [
        ("prompt_tuning", 0.3, ()),
        ("dept", 0.3, ()),
        ("dept", 0.4, ()),
        ("dept", 0.3, ("sample data",)),
    ]


def test_samples_drawn_by_the_seed_are_one_setting(tmp_path: Path) -> None:
    for seed in (1, 2):
        made_run(tmp_path / f"s{seed}", data="sample", seed=seed)
    assert one_row(read_results(tmp_path)).seeds == (1, 2)


def test_a_mean_over_a_whole_benchmark_stands_beside_the_papers(tmp_path: Path) -> None:
    glue(tmp_path, seed=1)
    glue(tmp_path, seed=2, shift=2.0)
    (mean,) = read_results(tmp_path).means
    assert mean.reproduces
    assert mean.seeds == (1, 2)
    assert mean.test.values == (83.5, 85.5)
    assert mean.test.deviation == pytest.approx(2**0.5)
    assert mean.paper is not None
    assert mean.difference == pytest.approx(84.5 - 85.9)


def test_table_3_stands_beside_ours_with_the_image_encoder_told_and_marked(tmp_path: Path) -> None:
    for task, score in (("vqa", 58.0), ("coco_captions", 101.5)):
        path = made_run(tmp_path / task, task, "dept", test=score)
        result = read_json(path / "result.json")
        tower = {"name": "clip-vit-base-patch32", "source": "hub"}
        write_json(path / "result.json", {**result, "vision_backbone": tower})
    results = read_results(tmp_path)
    vqa, captions = results.rows
    assert (vqa.tower, vqa.marks, vqa.reproduces) == ("clip-vit-base-patch32", ("other tower",), False)
    assert vqa.paper is not None and captions.paper is not None
    assert (vqa.paper.value, captions.paper.value) == (59.8, 113.7)
    assert (vqa.difference, captions.difference) == (pytest.approx(-1.8), pytest.approx(-12.2))
    assert results.means == () and results.left_out == (), "accuracy and CIDEr have no mean, and the paper prints none"
    shown = as_markdown(results)
    assert "## Vision and language" in shown and "t5-base with clip-vit-base-patch32, m = 40" in shown
    assert "59.8 ± 0.4 | (-1.8) | other tower" in shown and "113.7 ± 0.3 | (-12.2)" in shown
    assert "clip-vit-base-patch32" in as_csv(results)


def test_no_mean_without_all_tasks_and_none_that_mixes_in_a_marked_run(tmp_path: Path) -> None:
    glue(tmp_path)
    made_run(tmp_path / "sample", "cola", data="sample", seed=42, test=99.0)
    assert [mean.marks for mean in read_results(tmp_path).means] == [()]
    (tmp_path / "cola-42" / "result.json").unlink()
    (tmp_path / "cola-42" / "state.json").unlink()
    results = read_results(tmp_path)
    assert results.means == ()
    reasons = [one.reason for one in results.left_out if one.what.startswith("mean over glue")]
    assert "not formed: no test score for cola" in reasons
    assert sum(len(row.marks) > 0 for row in results.rows) == 1


def test_a_mean_of_marked_runs_says_so_and_claims_nothing(tmp_path: Path) -> None:
    glue(tmp_path, data="sample", steps=10)
    (mean,) = read_results(tmp_path).means
    assert mean.marks == ("sample data", "fewer steps")
    assert not mean.reproduces


def test_the_grid_is_chosen_by_validation_not_by_test(tmp_path: Path) -> None:
    glue(tmp_path / "a", validation=70.0, shift=5.0)
    glue(tmp_path / "b", validation=75.0, prompt_lr=0.5)
    (mean,) = read_results(tmp_path).means
    assert {row.result["config"]["prompt_lr"] for row in mean.rows} == {0.5}
    assert mean.test.mean == 83.5


def test_different_seeds_give_a_mean_without_a_deviation(tmp_path: Path) -> None:
    glue(tmp_path, seed=1)
    made_run(tmp_path / "more", "mnli", seed=2, test=90.0)
    (mean,) = read_results(tmp_path).means
    assert (mean.seeds, mean.test.deviation) == ((), None)
    assert mean.test.mean == pytest.approx((85.0 + sum(range(81, 88))) / 8)


def test_a_run_without_a_test_score_has_validation_alone(tmp_path: Path) -> None:
    made_run(tmp_path / "a", test=None, validation=71.0)
    row = one_row(read_results(tmp_path))
    assert (row.test, row.difference, row.reproduces) == (None, None, False)
    assert row.validation.mean == 71.0


def test_every_output_carries_marks_numbers_and_what_is_left_out(tmp_path: Path) -> None:
    made_run(tmp_path / "good", test=79.26, seed=1)
    made_run(tmp_path / "good2", test=80.26, seed=2)
    made_run(tmp_path / "odd", "sst2", data="sample", backbone="random:a_b&<i>", backbone_source="random", test=60.0)
    made_run(tmp_path / "gone", "cola", status="failed", error="RunError: out of luck")
    results = read_results(tmp_path)
    html, markdown, latex = as_html(results), as_markdown(results), as_latex(results)
    for text in (html, markdown, latex):
        assert "sample data, random backbone" in text or "sample data</span>" in text
        assert "random backbone" in text
        assert "(-34.2)" in text.replace("$-$", "-"), "the difference of a marked row stands in parentheses"
        assert "+0.7" in text and "(+0.7)" not in text  # 79.76 - 79.1
    assert "79.8 ± 0.7" in html
    assert "79.8 ± 0.7" in markdown
    assert r"79.8 $\pm$ 0.7" in latex
    assert "out of luck" in html and "out of luck" in markdown
    assert "<i>" not in html and "a_b&amp;&lt;i&gt;" in html
    assert r"a\_b\&" in latex
    lines = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert [(line["task"], line["reproduces"], line["marks"], line["paper"]) for line in lines] == [
        ("sst2", "False", "sample data, random backbone", "94.2"),
        ("rte", "True", "", "79.1"),
    ]
    assert lines[1]["seeds"] == "1 2"
    assert float(lines[1]["test_mean"]) == pytest.approx(79.76)
    assert float(lines[1]["difference"]) == pytest.approx(0.66)
    assert lines[0]["backbone_source"] == "random"


def test_figure_3_holds_the_runs_own_numbers(tmp_path: Path) -> None:
    glue(tmp_path / "m20", num_virtual_tokens=20, rank=60)
    glue(tmp_path / "m60", num_virtual_tokens=60, rank=30, shift=1.0)
    glue(tmp_path / "pt", method="prompt_tuning", shift=-1.0)
    ((heading, figure),) = score_over_length(read_results(tmp_path))
    assert "hub data" in heading
    traces = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert traces["GLUE mean, DePT, ours"] == ([20, 60], [83.5, 84.5])
    assert traces["GLUE mean, PT, ours"] == ([100], [82.5])
    assert traces["cola"] == ([20, 60], [87.0, 88.0])
    assert traces["GLUE mean, PT, the paper's (Table 1)"] == ([100], [84.8])


def test_figure_3_has_no_mean_where_a_task_is_missing(tmp_path: Path) -> None:
    for m in (20, 60):
        made_run(tmp_path / f"m{m}", num_virtual_tokens=m, data="sample")
    ((_, figure),) = score_over_length(read_results(tmp_path))
    assert [trace.name for trace in figure.data if "ours" in trace.name] == []
    assert "sample data" in figure.layout.title.text


def test_figure_5_sets_one_rate_beside_two(tmp_path: Path) -> None:
    glue(tmp_path / "one", prompt_lr=0.3, low_rank_lr=0.3, shift=-40.0)
    glue(tmp_path / "small", prompt_lr=5e-4, low_rank_lr=5e-4, shift=-30.0)
    glue(tmp_path / "two")
    ((_, figure),) = learning_rates(read_results(tmp_path))
    bars = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.type == "bar"}
    assert {name: bar["mean"] for name, bar in bars.items()} == {
        "one rate, 3e-1, ours": 43.5,
        "one rate, 5e-4, ours": 53.5,
        "two rates, ours": 83.5,
    }
    marks = {trace.name: trace.y[0] for trace in figure.data if trace.type == "scatter"}
    assert marks == {f"{name}, the paper's (section 3.4)": number.value for name, number in paper.FIGURE_5.items()}


def test_figure_6_has_table_1_and_our_means(tmp_path: Path) -> None:
    glue(tmp_path, data="sample")
    ((_, figure),) = score_over_parameters(read_results(tmp_path))
    printed, ours = figure.data
    points = dict(zip(printed.text, zip(printed.x, printed.y, strict=True), strict=True))
    assert len(points) == 17
    assert points["DePT"] == (76_800, 85.9)
    assert points["LoRA"] == (3_800_000, 85.3)
    assert (list(ours.x), list(ours.y)) == ([76_800], [83.5])
    assert "sample data" in ours.name
    assert ours.marker.symbol == "circle-open"


def test_figures_that_cannot_be_drawn_are_named(tmp_path: Path) -> None:
    made_run(tmp_path / "a")
    results = read_results(tmp_path)
    assert figures(results) == []
    assert len(missing(results)) == 3


def test_the_command_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    glue(runs, data="sample")
    (runs / "bench").mkdir()
    (runs / "bench" / "bench.json").write_text('{"schema_version": 1}')
    assert main(["results", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "sample data" in out
    assert "bench.json" in out
    written = sorted(path.name for path in (runs / "results").iterdir())
    assert written == ["results.csv", "results.html", "results.md", "results.tex"]
    page = (runs / "results" / "results.html").read_text()
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page, "it must open without a network"
    assert main(["results", str(tmp_path / "nowhere")]) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["results", str(empty)]) == 2
    assert not (empty / "results").exists()
    assert capsys.readouterr().err.count("\n") == 2


def test_a_real_benchmark_is_read_back_as_it_was(tmp_path: Path) -> None:
    from dept.basics.files import write_json
    from lab.bench.config import BenchConfig, Group
    from lab.bench.plan import MeasuredPair, Measurement, Pair
    from lab.bench.read import find_benches
    from lab.bench.run import Bench
    from lab.bench.variant import variant_of

    pair = Pair(
        Group("train", "random:t5-small", "padded:256"),
        variant_of("prompt_tuning", {"num_virtual_tokens": 100}),
        variant_of("dept", {"num_virtual_tokens": 20, "rank": 53}),
    )
    side = Measurement(fits=True, pass_seconds=(2.0, 1.0), samples=16, steps=1, peak_bytes=100, threads=1)
    bench = Bench(BenchConfig(), [MeasuredPair(pair, 0, side, None)], [pair], status="stopped")
    write_json(tmp_path / "bench.json", bench.to_dict())
    ((file, read),), damaged = find_benches(tmp_path)
    assert (file, damaged) == (tmp_path / "bench.json", [])
    assert read == bench


def test_other_peoples_methods_have_their_own_columns(tmp_path: Path) -> None:
    for method in ("dept", "bitfit", "lora", "adept"):
        made_run(tmp_path / method, method=method)
    made_run(tmp_path / "lora2", method="lora", lora_rank=8, lora_lr=1e-3)
    results = read_results(tmp_path)
    lines = list(csv.DictReader(io.StringIO(as_csv(results))))
    by_run = {Path(line["runs"]).name: line for line in lines}
    assert list(lines[0])[26] == "runs", "new columns come last"
    assert by_run["bitfit"]["bias_lr"] == "0.0003" and by_run["bitfit"]["lora_lr"] == by_run["dept"]["bias_lr"] == ""
    assert (by_run["lora"]["lora_lr"], by_run["lora"]["lora_rank"], by_run["lora"]["rank"]) == ("0.0003", "32", "0")
    own = by_run["dept"]
    assert (own["prompt_lr"], own["low_rank_lr"], own["rank"]) == ("0.3", "0.0005", "45")
    said = {row.runs[0].path.name: split_and_rates(row, results.rows) for row in results.rows}
    assert said["bitfit"] == "-" and said["dept"] == "m = 40, r = 45"
    assert (said["lora"], said["lora2"]) == ("r = 32, rate 0.0003", "r = 8, rate 0.001")
    assert {row.runs[0].path.name: row.marks for row in results.rows}["bitfit"] == (), "no marks of a budget"
