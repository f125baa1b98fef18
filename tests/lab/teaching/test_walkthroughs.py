"""The numbered notebooks: clean and plain in git, and what their texts claim holds when they are executed."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dept.backbones.known import default_backbone, registry
from dept.backbones.load import backbone_info
from dept.backbones.shape import shape_of
from dept.basics.files import read_json
from dept.costs.trade_off import trade_off
from dept.methods.budget import rank_for, split_of
from lab.paper import numbers as paper
from lab.runs.read import Run, find_runs
from lab.teaching.docs import NOTEBOOKS, between_pages, walkthroughs
from lab.teaching.tables import Table
from lab.teaching.task_notebook import configure
from tests.dept.vision_helpers import save_tower
from tests.notebooks import execute

ALL = walkthroughs()
NAMES = [notebook.stem for notebook in ALL]
PAGES = NOTEBOOKS.parent / "docs" / "notebooks"


def cells(notebook: Any, kind: str) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def text_of(name: str) -> str:
    return "\n".join(cells(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), "markdown"))


def test_there_are_seven_in_an_order_of_reading() -> None:
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06", "07"]
    for name, after in zip(NAMES, NAMES[1:], strict=False):
        assert f"]({after}.ipynb)" in text_of(name)


@pytest.mark.parametrize("notebook", ALL, ids=NAMES)
def test_it_is_clean_and_holds_no_logic(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert content.metadata.kernelspec.name == "python3"
    assert [cell.metadata.get("tags") for cell in content.cells].count(["parameters"]) == 1
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in content.cells)
    tree = ast.parse("\n".join(cells(content, "code")))
    kinds = {type(node) for node in ast.walk(tree)}
    assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Try, ast.If, ast.While}
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {str(module).partition(".")[0] for module in modules} <= {"dept", "lab", "datetime", "pathlib"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(cells(content, "markdown"))):
        assert link.startswith("https://arxiv.org/") or (NOTEBOOKS / link).is_file(), link


def test_their_backbones_are_to_be_had() -> None:
    """A notebook that names none takes the one at hand (`dept.backbones.known.default_backbone`)."""
    for notebook in [*ALL, NOTEBOOKS / "task.ipynb"]:
        parameters = next(cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")
        values = [ast.literal_eval(line.value) for line in ast.parse(parameters.source).body
                  if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "backbone"]  # fmt: skip
        assert len(values) == 1
        assert values[0] is None or backbone_info(values[0])
    assert configure(task="rte", backbone=None).backbone == default_backbone()


def test_an_empty_table_says_so() -> None:
    assert repr(Table([])) == "(none)"


def test_nbstripout_has_nothing_to_do() -> None:
    command = [sys.executable, "-m", "nbstripout", "--verify", *map(str, ALL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_papers_numbers_in_the_texts_are_the_papers() -> None:
    printed = re.findall(r"^\| (.*?) \| ([\d.]+) \|$", text_of("04_two_learning_rates"), re.MULTILINE)
    assert [float(value) for _, value in printed] == [number.value for number in paper.FIGURE_5.values()]
    first, third = text_of("01_decomposition"), text_of("03_dept_beside_pt")
    assert f"about {paper.FIGURE_3_SAVING.value:g}% less" in first
    assert f"more than {paper.OVERALL_SAVING.value:g}% overall" in first
    for backbone, words in (("t5-small", r"([\d.]+)% more samples"), ("t5-large", r"([\d.]+)% for T5-large")):
        dept, pt = (
            next(one.samples_per_s.value for one in paper.FIGURE_4 if (one.backbone, one.method) == (backbone, method))
            for method in ("dept", "prompt_tuning")
        )
        (gain,) = re.findall(words, first)
        assert float(gain) == pytest.approx(100 * (dept / pt - 1), abs=0.1)
    for method, name in (("dept", "DePT"), ("prompt_tuning", "PT")):
        mean = paper.mean(method, "glue")
        assert mean is not None and f"{mean.value} for {name}" in third


@pytest.mark.parametrize("notebook", ALL, ids=NAMES)
def test_the_page_in_the_docs_is_of_this_notebook(notebook: Path) -> None:
    """`python -m lab.teaching.docs` writes the pages; a changed notebook needs it again."""
    if not PAGES.is_dir():
        pytest.skip("the pages are not built: python -m lab.teaching.docs")
    page = (PAGES / f"{notebook.stem}.md").read_text(encoding="utf-8")
    content = nbformat.read(notebook, as_version=4)
    for source in cells(content, "markdown"):
        assert between_pages(source) in page
    for source in cells(content, "code"):
        assert source in page
    for image in re.findall(r"!\[\w*\]\(([^)]+)\)", page):
        assert (PAGES / image).is_file(), image


# Executed: small parameters, the same claims.


@pytest.fixture(scope="module")
def backbone(tiny_t5: Path) -> str:
    """mini-t5 where this checkout has it."""
    return "mini-t5" if "mini-t5" in registry() else str(tiny_t5)


def executed(name: str, folder: Path, **parameters: Any) -> Any:
    return execute(NOTEBOOKS / f"{name}.ipynb", folder / f"{name}.ipynb", parameters)


def outputs(notebook: Any, mime: str) -> list[Any]:
    """What cells show as this type, in order."""
    found = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    return [data[mime] for data in found if mime in data]


def tables(notebook: Any) -> list[list[dict[str, str]]]:
    """The Markdown tables that cells show, as rows."""
    found = []
    for text in outputs(notebook, "text/markdown"):
        lines = [[cell.strip() for cell in line.strip("|").split(" |")] for line in text.splitlines()]
        if len(lines) > 2 and set(lines[1]) == {"---"}:
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


def figures(notebook: Any) -> list[dict[str, Any]]:
    """The plotly figures, as data; no script is fetched for them."""
    assert not outputs(notebook, "text/html") or "http" not in "".join(outputs(notebook, "text/html"))
    return outputs(notebook, "application/vnd.plotly.v1+json")


def runs_of(folder: Path) -> list[Run]:
    runs, damaged = find_runs(folder)
    assert not damaged
    assert all(run.result is not None and run.result["status"] == "completed" for run in runs)
    return runs


@pytest.mark.slow
def test_01_the_parameters_stay_and_the_input_shrinks(backbone: str, tmp_path: Path) -> None:
    notebook = executed("01_decomposition", tmp_path, backbone=backbone)
    trained, budget, cost = tables(notebook)
    assert [row["in the paper"] for row in trained] == ["P_s", "A", "B"]
    assert "0.0" in outputs(notebook, "text/plain"), "the update starts at zero"
    by_m = {int(row["m"]): row for row in budget}
    assert list(by_m) == [0, 20, 40, 60, 80, 100]
    assert (by_m[40]["rank r"], by_m[40]["trainable parameters"], by_m[40]["left over"]) == ("45", "76,800", "0")
    assert all(split_of(m, rank_for(m, 768), 768).input_length == int(by_m[m]["positions read"]) for m in by_m)
    for name in list(cost[0])[2:]:
        shares = [float(re.findall(r"\((.*)%\)", row[name])[0]) for row in cost]
        assert shares == sorted(shares) and shares[0] < 80 and shares[-1] == 100, name
    assert len(figures(notebook)) == 2
    assert len(outputs(notebook, "application/vnd.jupyter.widget-view+json")) == 1


@pytest.mark.slow
def test_02_one_run_and_its_use(backbone: str, tmp_path: Path) -> None:
    notebook = executed(
        "02_train_one_task", tmp_path, backbone=backbone, max_steps=24, runs_dir=str(tmp_path / "runs")
    )
    (run,) = runs_of(tmp_path / "runs")
    assert run.result is not None and run.result["data"]["source"] == "sample"
    shown = next(rows for rows in tables(notebook) if "best, validation" in rows[0])
    assert shown[0]["test"] == f"{run.result['metrics']['test']['accuracy']:.1f}"
    assert len(figures(notebook)) == 3
    norms = figures(notebook)[-1]["data"][0]["y"]
    assert len(norms) == 256 and max(norms) > 0, "one length a row of the update"
    answers = next(rows for rows in tables(notebook) if "its probability" in rows[0])
    assert len(answers) == 6 and {row["answer"] for row in answers} <= {"0", "1"}
    assert any("not the benchmark" in cell_text for cell_text in streams(notebook))


def streams(notebook: Any) -> list[str]:
    return [output["text"] for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output]


@pytest.mark.slow
def test_03_the_same_parameters_and_a_shorter_input(backbone: str, tmp_path: Path) -> None:
    parameters = {"backbone": backbone, "max_steps": 12, "seeds": [0], "runs_dir": str(tmp_path / "runs")}
    notebook = executed("03_dept_beside_pt", tmp_path, **parameters)
    results = {run.name: run.result for run in runs_of(tmp_path / "runs") if run.result is not None}
    assert results["PT"]["trainable_parameters"] == results["DePT"]["trainable_parameters"]
    assert results["DePT"]["input_length"] < results["PT"]["input_length"]
    cost = tables(notebook)[-1]
    assert len(cost) == 2 and "(100.0%)" in cost[-1]["GFLOP, training step"]
    assert len(figures(notebook)) == 2


@pytest.mark.slow
def test_04_each_setting_has_its_rates(backbone: str, tmp_path: Path) -> None:
    parameters = {"backbone": backbone, "max_steps": 12, "runs_dir": str(tmp_path / "runs")}
    notebook = executed("04_two_learning_rates", tmp_path, **parameters)
    rates = {(run.config["prompt_lr"], run.config["low_rank_lr"]) for run in runs_of(tmp_path / "runs")}
    large, small = max(max(pair) for pair in rates), min(min(pair) for pair in rates)
    assert rates == {(large, large), (small, small), (large, small)} and large > small
    moved = next(rows for rows in tables(notebook) if "prompt vectors moved by" in rows[0])
    of_prompt = [float(row["prompt vectors moved by"]) for row in moved]
    of_update = [float(row["rows of AB are long"]) for row in moved]
    assert of_prompt[1] < min(of_prompt[0], of_prompt[2]), "a small rate does not carry the prompt far"
    assert of_update[0] > 2 * max(of_update[1:]), "a large rate blows the update up"


@pytest.mark.slow
def test_05_measured_beside_counted(backbone: str, tmp_path: Path) -> None:
    """An encoder-decoder here: one pair in place of six, each measurement a process."""
    parameters = {"backbone": backbone, "repeats": 1, "passes": 1, "threads": 1, "runs_dir": str(tmp_path)}
    notebook = executed("05_inference_speed", tmp_path, **parameters)
    (bench,) = (read_json(file) for file in tmp_path.glob("bench-*/bench.json"))
    assert bench["status"] == "completed"
    pt, dept = next(rows for rows in tables(notebook) if "by counted FLOPs" in rows[0])
    assert (pt["variant"], dept["variant"], dept["compared with"]) == ("PT", "DePT m=20", "PT")
    flops = {row["variant"]["method"]: row["flops"] for row in bench["summary"]}
    assert float(dept["by counted FLOPs"]) == pytest.approx(flops["prompt_tuning"] / flops["dept"], abs=0.006)
    assert float(dept["by counted FLOPs"]) > 1.3
    assert any("random token ids" in text for text in streams(notebook))
    assert len(figures(notebook)) == 1


def test_05_a_cached_prompt_leaves_little_to_save() -> None:
    costs = {
        cached: trade_off(shape_of("gpt2"), 100, 256, 64, 4, cached_prompt=cached, prompt_lengths=[20, 100])
        for cached in (False, True)
    }
    shares = {cached: dept.inference.flops / pt.inference.flops for cached, (dept, pt) in costs.items()}
    assert shares[False] < 0.55, "plain: 84 positions in place of 164"
    assert 0.95 < shares[True] < 1


@pytest.mark.slow
def test_06_marks_and_provenance(backbone: str, tmp_path: Path) -> None:
    parameters = {"backbone": backbone, "max_steps": 4, "seeds": [0, 1], "runs_dir": str(tmp_path / "runs")}
    notebook = executed("06_read_the_results", tmp_path, **parameters)
    assert len(runs_of(tmp_path / "runs")) == 4
    rows = next(rows for rows in tables(notebook) if "marks" in rows[0])
    assert {row["method"] for row in rows} == {"PT", "DePT"}
    assert all("sample data" in row["marks"] and "fewer steps" in row["marks"] for row in rows)
    assert all(row["seeds"] == "2" and "±" in row["test"] for row in rows)
    printed = next(rows for rows in tables(notebook) if "printed in" in rows[0])
    assert len(printed) >= 8


@pytest.mark.slow
def test_07_what_the_picture_adds(backbone: str, tmp_path: Path) -> None:
    parameters = {
        **{"backbone": backbone, "vision_backbone": str(save_tower(tmp_path / "clip")), "max_steps": 4},
        **{"batch_size": 4, "runs_dir": str(tmp_path / "runs")},
    }
    notebook = executed("07_vision_language", tmp_path, **parameters)
    results = {run.config["task"]: run.result for run in runs_of(tmp_path / "runs") if run.result is not None}
    assert set(results) == {"vqa", "coco_captions"}
    trained = next(rows for rows in tables(notebook) if "in the paper" in rows[0])
    assert [row["tensor"] for row in trained][-2:] == ["projection_weight", "projection_bias"]
    parameters_told = sum(int(row["parameters"].replace(",", "")) for row in trained)
    assert parameters_told == results["vqa"]["trainable_parameters"]
    seen = [rows for rows in tables(notebook) if "shown" in rows[0]]
    for rows, (task, metric) in zip(seen, (("vqa", "vqa_accuracy"), ("coco_captions", "cider")), strict=True):
        assert [row["shown"] for row in rows[:3]] == ["its own picture", "another row's", "a blank one"]
        assert rows[0][metric] == f"{results[task]['metrics']['test'][metric]:.1f}", "as the run was tested"
    pictured = [figure for figure in figures(notebook) if figure["data"][0]["type"] == "image"]
    assert [len(figure["data"]) for figure in pictured] == [4, 8, 8]
    questions = [note["text"] for note in pictured[1]["layout"]["annotations"]]
    assert all(text.startswith("question: ") and text.count("<b>") == 1 for text in questions)
    assert any("visual projection" in text for text in streams(notebook))
    printed = next(rows for rows in tables(notebook) if "printed in" in rows[0])
    assert len(printed) == 7 and {row["printed in"] for row in printed} == {"Table 3"}
