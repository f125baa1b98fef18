"""The demo on a tiny backbone: both methods at the same parameters, a table, a report; it goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dept.errors import RunError
from lab.cli import main
from lab.demo import exact_prompt_length
from lab.runs.compare import COLUMNS, comparison, provenance
from lab.runs.figures import curves, running_mean
from lab.runs.read import Run, read_run


@pytest.mark.parametrize(("hidden_size", "expected"), [(768, 20), (576, 22), (512, 19), (32, 19)])
def test_the_demo_spends_the_same_parameters(hidden_size: int, expected: int) -> None:
    m = exact_prompt_length(hidden_size, 256)
    rank = (100 - m) * hidden_size // (256 + hidden_size)
    assert m == expected
    assert m * hidden_size + (256 + hidden_size) * rank == 100 * hidden_size


@pytest.fixture(scope="module")
def demo(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    output = tmp_path_factory.mktemp("lab") / "demo"
    command = ["demo", "--data", "sample", "--backbone", str(tiny_t5), "--steps", "4", "--output-dir", str(output)]
    assert main(command) == 0
    return output, command


@pytest.fixture
def runs(demo: tuple[Path, list[str]]) -> list[Run]:
    folders = {path.name.partition("-")[0]: path for path in demo[0].iterdir() if path.is_dir()}
    return [read_run(folders[method]) for method in ("prompt_tuning", "dept")]


def test_both_methods_at_the_same_budget(runs: list[Run]) -> None:
    results = [run.result for run in runs]
    assert all(result is not None and result["status"] == "completed" for result in results)
    assert len({result["trainable_parameters"] for result in results if result}) == 1
    assert [run.name for run in runs] == ["PT", "DePT"]
    lengths = [result["input_length"] for result in results if result]
    assert lengths[1] < lengths[0]


def test_the_table_and_the_report_say_where_the_numbers_come_from(
    runs: list[Run], demo: tuple[Path, list[str]]
) -> None:
    for run, row in zip(runs, comparison(runs), strict=True):
        assert tuple(row) == COLUMNS
        assert run.result is not None
        assert row["test"] == f"{run.result['metrics']['test']['accuracy']:.1f}"
        assert row["untrained validation"] == f"{run.result['metrics']['untrained_validation']['accuracy']:.1f}"
        assert "not the benchmark" in provenance(run.result)
    page = (demo[0] / "report.html").read_text()
    assert "not the benchmark" in page
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page, "the report must open without a network"


def test_figures_hold_the_runs_own_numbers(runs: list[Run]) -> None:
    figure = curves(runs, "train", "loss", "Loss", "nats")
    assert [trace.name for trace in figure.data] == ["PT", "DePT"]
    for trace, run in zip(figure.data, runs, strict=True):
        assert list(trace.x) == [1, 2, 3, 4]
        assert list(trace.y) == [line["loss"] for line in run.metrics if line["split"] == "train"]
    assert running_mean([1.0, 3.0, 5.0], 2) == [1.0, 2.0, 4.0]


def test_a_finished_demo_is_shown_again_and_another_one_runs_beside_it(
    demo: tuple[Path, list[str]], runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    output, command = demo
    before = {path: path.read_bytes() for path in output.glob("*/result.json")}
    assert len(before) == 2
    assert main(command) == 0
    assert "DePT" in capsys.readouterr().out
    assert main([*command[:-4], "--steps", "2", "--output-dir", str(output)]) == 0
    assert all(path.read_bytes() == content for path, content in before.items()), "nothing is trained or lost twice"
    steps = sorted(json.loads(path.read_text())["steps"] for path in output.glob("*/result.json"))
    assert steps == [2, 2, 4, 4]


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="config.json"):
        read_run(tmp_path)
