"""`dept-lab reproduce`: what is planned, a batch of two tasks through their notebooks, a kill in the middle of one."""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dept.errors import ConfigError, DataError, DeptError
from dept.methods.registry import method_names
from dept.runs.settings import TrainConfig
from dept.tasks.registry import TASK_NAMES
from lab.cli import main
from lab.jobs.job import is_executed
from lab.jobs.notebook import declared
from lab.reproduce.plan import NOTEBOOK, SMALL_TOWER, Request, config_of, notebook_file, parameters, plan
from lab.reproduce.preset import Preset, preset, preset_names
from tests.lab.reproduce.helpers import Command, left_over, marked

STEPS = 60  # enough to be killed among them
FIELDS = TrainConfig().to_dict()


# The plan


def test_all_the_papers_tasks_are_planned_pt_first(tmp_path: Path) -> None:
    planned = plan(Request(), tmp_path)
    assert len(planned.jobs) == 46
    assert [job.config.method for job in planned.jobs] == ["prompt_tuning"] * 23 + ["dept"] * 23
    assert {job.config.task for job in planned.jobs} == set(TASK_NAMES) - {"squad", "record"}
    assert planned.left_out == ()
    assert {job.config.vision_backbone for job in planned.jobs} == {None}, "mini-t5 has its own"
    others = plan(Request(backbone="random:t5-small"), tmp_path).jobs
    towers = {job.config.task: job.config.vision_backbone for job in others if job.config.vision_backbone}
    assert towers == dict.fromkeys(("vqa", "coco_captions"), SMALL_TOWER), "image tasks alone have an image encoder"
    assert len({job.key for job in planned.jobs}) == len({job.folder for job in planned.jobs}) == 46
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


def test_the_paper_preset_has_table_8s_settings() -> None:
    request = Request(preset="paper")
    for task, m in (("cola", 80), ("sst2", 60), ("boolq", 40), ("rte", 40), ("nq", 60)):
        config = config_of(request, task, "dept", 1)
        assert (config.num_virtual_tokens, config.rank, config.preset) == (m, "auto", "paper")
        assert (config.data, config.backbone, config.batch_size) == ("hub", "t5-base", 16)
    assert config_of(request, "rte", "prompt_tuning", 1).num_virtual_tokens is None
    assert config_of(request, "vqa", "dept", 1).vision_backbone is None, "the default one"
    chosen = Request(preset="paper", settings={"vision_backbone": "clip-vit-large-patch14"})
    assert config_of(chosen, "vqa", "dept", 1).vision_backbone == "clip-vit-large-patch14"
    assert config_of(chosen, "rte", "dept", 1).vision_backbone is None


def test_every_preset_is_read_and_checked() -> None:
    assert preset_names() == ("smoke", "sample", "paper")
    for name in preset_names():
        assert preset(name).settings["data"] in ("sample", "hub")
    of_methods = {"dept": {"tasks": {"rte": {"num_virtual_tokens": 20}}}}
    made = Preset.from_dict({"settings": {"max_steps": 5}, "methods": of_methods})
    assert made.of("dept+lora", "rte") == {"max_steps": 5, "num_virtual_tokens": 20}
    assert made.of("lora", "rte") == made.of("dept", "cb") == {"max_steps": 5}
    for values, message in (
        ({"settings": {"max_step": 5}}, "unknown setting 'max_step'"),
        ({"settings": {"seed": 5}}, "seed is no setting of a preset"),
        ({"settings": {}, "methods": {"lorra": {}}}, "method must be one of"),
        ({"settings": {}, "methods": {"dept": {"tasks": {"rtee": {}}}}}, "unknown task 'rtee'"),
        ({"settings": {}, "methods": {"dept": {"settings": {"lora_rank": 4}}}}, "lora_rank belongs to LoRA"),
        ({"setting": {}}, "a preset has settings and methods"),
    ):
        with pytest.raises(DeptError, match=message):
            Preset.from_dict(values)


def test_every_method_has_its_own_part_of_the_settings(tmp_path: Path) -> None:
    peft = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})
    settings = {"lora_rank": 4, "lora_lr": 1e-3, "num_virtual_tokens": 4, "peft_config": peft}
    methods = (*method_names(), "dept+lora")
    planned = plan(Request(tasks=("rte",), methods=methods, settings=settings), tmp_path)
    configs = {job.config.method: job.config for job in planned.jobs}
    assert list(configs)[0] == "prompt_tuning" and set(configs) == set(methods)
    assert {method for method, config in configs.items() if config.lora_rank == 4} == {"lora", "dept+lora"}
    assert {method for method, config in configs.items() if config.num_virtual_tokens == 4} == {
        "dept", "prompt_tuning", "adept", "lopt", "dept+lora"
    }  # fmt: skip
    assert len({job.folder for job in planned.jobs}) == len(methods)
    names = declared(notebook_file(NOTEBOOK))
    for config in configs.values():
        given = parameters(config, names)
        others = given.pop("settings")
        assert TrainConfig.from_dict({**given, **others}) == config
    with pytest.raises(ConfigError, match="lora_rank belongs to LoRA: add it to --methods"):
        Request(methods=("dept", "bitfit"), settings={"lora_rank": 4})


def test_settings_reach_the_notebook_by_name_or_among_the_others() -> None:
    names = declared(notebook_file(NOTEBOOK))
    assert set(names) - {"settings", "track"} < set(FIELDS)
    config = config_of(Request(settings={"dtype": "bfloat16"}), "rte", "dept", 3)
    given = parameters(config, names)
    assert given["settings"] == {
        name: value for name, value in config.to_dict().items() if name not in names and value != FIELDS[name]
    }
    assert given["settings"]["dtype"] == "bfloat16"
    settings = given.pop("settings")
    assert TrainConfig.from_dict({**given, **settings}) == config, "the notebook's run is the planned one"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "tiny"], "--preset: 'tiny' is none of smoke, sample, paper"),
        (["--methods", "loria"], "--methods: method must be one of dept, prompt_tuning, bitfit"),
        (["--methods", "dept,peft"], "method peft needs --peft-config FILE"),
        (["--methods", "dept+prompt_tuning"], "--methods: method dept+prompt_tuning: both parts train prompt"),
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--tasks", "rte2"], "unknown task 'rte2'"),
        (["--engine", "slurm"], "engine must be 'local' or 'ray', not 'slurm'"),
        (["--address", "here:1"], "add --engine ray"),
        (["--track", "paper"], "track must be 'trackio' or 'tensorboard' or 'wandb'"),
        (["--address", "here", "--engine", "ray"], "--address is HOST:PORT, ray://HOST:PORT or auto, not 'here'"),
        (["--address", "127.0.0.1:9", "--engine", "ray"], "no Ray cluster answers at 127.0.0.1:9"),
        (["--gpus-per-job", "1"], "add --engine ray"),
        (["--gpus-per-job", "1.5", "--engine", "ray"], "a part of one GPU or whole ones, not 1.5"),
        (["--timeout", "0"], "--timeout must be above 0, not 0"),
        (["--timeout", "nan"], "timeout must be a finite number or null, not nan"),
        (["--tasks", ","], "--tasks is empty"),
        (["--data", "./nowhere"], "--data ./nowhere: no such file or folder; hub, sample, easy-vqa or a data folder"),
        (["--data", "easy-vqa"], "--tasks: rte is without rows: easy-vqa is for vqa"),
        (["--backbone", "./nowhere"], "there is no folder"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "ray" in flags:
        pytest.importorskip("ray", reason="needs Ray: pip install 'dept-lab[ray]'")
    output, backbone = tmp_path / "batch", "random:t5-small"
    assert main(["reproduce", "--tasks", "rte", "--backbone", backbone, *flags, "--output-dir", str(output)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ") and complaint.count("\n") <= 2
    assert message in complaint
    assert not output.exists(), "nothing is written for bad input"


def test_settings_of_single_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="use --tasks"):
        Request(settings={"seed": 1})
    with pytest.raises(ConfigError, match="unknown setting 'max_step'"):
        config_of(Request(settings={"max_step": 1}), "rte", "dept", 1)


def test_a_folder_runs_the_tasks_that_it_has_rows_of(tmp_path: Path) -> None:
    (tmp_path / "data" / "rte").mkdir(parents=True)
    row = {"sentence1": "a", "sentence2": "b", "label": 0}
    (tmp_path / "data" / "rte" / "train.jsonl").write_text(f"{json.dumps(row)}\n")
    data = str(tmp_path / "data")
    planned = plan(Request(data=data), tmp_path / "batch")
    assert [job.config.task for job in planned.jobs] == ["rte", "rte"]
    assert dict(planned.left_out)["cola"] == f"without rows: no cola/train.jsonl (or .parquet) in {data}"
    with pytest.raises(ConfigError, match="cola is without rows"):
        plan(Request(data=data, tasks=("rte", "cola")), tmp_path / "batch")


def test_easy_vqa_is_for_vqa_and_has_to_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dept.data.easy_vqa.folder", lambda: tmp_path)
    request = Request(data="easy-vqa", methods=("dept",))
    planned = plan(request, tmp_path)
    assert [(job.config.task, job.config.data) for job in planned.jobs] == [("vqa", "easy-vqa")]
    assert dict(planned.left_out)["coco_captions"] == "without rows: easy-vqa is for vqa"
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install"):
        plan(request, tmp_path)


# The notebook


def test_the_notebook_holds_no_logic() -> None:
    book = nbformat.read(notebook_file(NOTEBOOK), as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    assert [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])] == [book.cells[1]]
    for cell in book.cells:
        if cell.cell_type == "code":
            kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
            assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.If}
            assert not cell.outputs and cell.execution_count is None, "stripped in git"


# Batches


@pytest.fixture(scope="module")
def flags(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    longer = tmp_path_factory.mktemp("settings") / "longer.yaml"
    longer.write_text(f"max_steps: {STEPS}\neval_every: 10\n")
    where = ["--backbone", str(tiny_t5), "--config", str(longer)]
    return ["--tasks", "sst2,wsc", "--workers", "2", "--cpus-per-job", "1", *where]


@pytest.fixture(scope="module")
def batch(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, both methods, undisturbed."""
    output = tmp_path_factory.mktemp("reproduce") / "batch"
    command = Command("reproduce", *flags, "--output-dir", output)
    code, out, err = command.finish()
    assert code == 0, err
    assert "4 of 4 runs completed" in out
    assert left_over(command.mark) == []
    return output


def results(batch: Path) -> dict[str, Any]:
    """What must not depend on how often a batch was interrupted, by run."""
    found = {}
    for file in batch.glob("runs/*/result.json"):
        result = json.loads(file.read_text())
        assert result["status"] == "completed"
        adapter = (file.parent / "adapter" / "adapter_model.safetensors").read_bytes()
        found[file.parent.name] = (result["key"], result["metrics"], result["best_step"], result["steps"], adapter)
    return found


@pytest.mark.slow
def test_every_run_has_its_notebook_and_stands_in_the_index(batch: Path) -> None:
    runs = results(batch)
    assert sorted(name.rsplit("-", 1)[0] for name in runs) == sorted(
        f"{task}-{method}-seed42" for task in ("sst2", "wsc") for method in ("dept", "prompt_tuning")
    )
    record = json.loads((batch / "batch.json").read_text())
    assert record["status"] == "completed"
    assert {job["status"] for job in record["jobs"]} == {"completed"}
    index = (batch / "index.html").read_text()
    assert index.count(">sample data<") == 4, "every row says that it is no reproduction"
    assert "http" not in index, "it opens without a network"
    for name in runs:
        assert f'href="runs/{name}"' in index and f'href="notebooks/{name}.ipynb"' in index
        assert is_executed(batch / "notebooks" / f"{name}.ipynb")


@pytest.mark.slow
def test_the_executed_notebook_shows_the_run(batch: Path) -> None:
    [file] = batch.glob("notebooks/wsc-dept-*.ipynb")
    book = nbformat.read(file, as_version=4)
    nbformat.validate(book)
    text = file.read_text()
    assert "cdn" not in text.lower() and "https://" not in text.replace("https://arxiv", "")
    figures = [out for cell in book.cells for out in cell.get("outputs", [])
               if "application/vnd.plotly.v1+json" in out.get("data", {})]  # fmt: skip
    assert len(figures) == 4, "loss, metric, both learning rates"
    [run] = batch.glob("runs/wsc-dept-*")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    drawn = figures[0]["data"]["application/vnd.plotly.v1+json"]["data"][0]
    assert list(drawn["x"]) == list(range(1, STEPS + 1))
    assert drawn["y"][0] == pytest.approx(losses[0])
    assert drawn["y"][-1] == pytest.approx(sum(losses[-10:]) / 10)
    shown = [out["data"].get("text/markdown", "") for cell in book.cells for out in cell.get("outputs", [])
             if "data" in out]  # fmt: skip
    assert any("| PT |" in table or "PT |" in table for table in shown), "PT's run was there to compare with"
    assert any("Table 1" in table and "sample data" in table for table in shown), "the paper's row, marked"


@pytest.mark.slow
def test_a_finished_batch_starts_nothing(batch: Path, flags: list[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in batch.glob("[nr]*/**/*") if file.is_file()}
    began = time.monotonic()
    command = Command("reproduce", *flags, "--output-dir", batch)
    code, out, err = command.finish()
    assert code == 0, err
    assert "4 of 4 runs completed (4 of them before)" in out
    assert before == {file: file.stat().st_mtime_ns for file in batch.glob("[nr]*/**/*") if file.is_file()}
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_killed_in_the_middle_a_batch_ends_with_the_same_results(
    batch: Path, flags: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "batch"
    asked = ["reproduce", *flags, "--methods", "dept", "--output-dir", output]
    with Command(*asked) as command:
        wait_for(output, "batch.json", command)
        with Command(*asked) as second:
            wait_for(output, "runs/*/checkpoint-*", command)
            time.sleep(random.Random(7).uniform(0, 0.3))
            started = len(marked(command.mark))
            command.process.kill()
            command.process.communicate()
            code, _, err = second.finish()
    assert code == 2 and "another batch works in" in err, "one folder, one batch"
    assert started > 2, "a batch, its workers and their kernels"
    assert left_over(command.mark) == [], "no process outlives the batch"
    assert len(results(output)) < 2, "it was over before it could be killed"

    again = Command(*asked)
    code, _, err = again.finish()
    assert code == 0, err
    whole = {name: found for name, found in results(batch).items() if "-dept-" in name}
    assert results(output) == whole
    for file in output.glob("runs/*/metrics.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        steps = [line["step"] for line in lines if line["split"] == "train"]
        assert steps == list(range(1, STEPS + 1)), "no step is missing or there twice"
    assert left_over(again.mark) == []


def wait_for(folder: Path, pattern: str, command: Command) -> None:
    until = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert command.process.poll() is None, command.process.communicate()[1]
        assert time.monotonic() < until, f"no {pattern} within two minutes"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_lost_notebook_is_made_again_from_its_finished_run(batch: Path, flags: list[str], tmp_path: Path) -> None:
    output = tmp_path / "batch"
    shutil.copytree(batch, output)
    [book] = output.glob("notebooks/sst2-dept-*.ipynb")
    [run] = output.glob("runs/sst2-dept-*")
    book.unlink()
    trained = (run / "result.json").stat().st_mtime_ns
    code, out, err = Command("reproduce", *flags, "--output-dir", output).finish()
    assert code == 0, err
    assert "4 of 4 runs completed (3 of them before)" in out
    assert is_executed(book)
    assert (run / "result.json").stat().st_mtime_ns == trained, "the run is not repeated"


@pytest.mark.slow
def test_other_methods_are_reproduced(tiny_t5: Path, tmp_path: Path) -> None:
    output = tmp_path / "batch"
    asked = ["--tasks", "sst2", "--methods", "bitfit,lora", "--backbone", tiny_t5, "--workers", "1"]
    code, out, err = Command("reproduce", *asked, "--cpus-per-job", "1", "--output-dir", output).finish()
    assert code == 0, err
    assert "2 of 2 runs completed" in out
    assert sorted(name.rsplit("-", 1)[0] for name in results(output)) == ["sst2-bitfit-seed42", "sst2-lora-seed42"]
    index = (output / "index.html").read_text()
    assert ">BitFit<" in index and ">LoRA<" in index
