"""The loop: what a run folder holds, stopping, resuming, the same seed, the same loss however a batch is cut."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dept import TrainConfig
from dept.data.own_task import new_task_yaml
from dept.errors import ConfigError, RunError
from dept.evaluation.load_run import load_run
from dept.runs.folder import RunFolder, read_metrics
from dept.training.loop import Silent, train
from dept.training.prepare import Prepared, prepare
from tests.support import without_dropout

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    """A longer run of another task."""
    return dataclasses.replace(
        config,
        task="sst2",
        max_steps=8,
        eval_every=4,
        batch_size=8,
        max_train_rows=40,
        max_validation_rows=16,
        max_test_rows=16,
        seed=3,
    )


def adapter(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(Path(config.output_dir) / "adapter" / "adapter_model.safetensors")


def last_tensors(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The tensors after the last step, from the checkpoint (the adapter is the best of validation)."""
    return load_file(RunFolder(config.output_dir).checkpoints()[-1] / "adapter.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_its_readers_need(config: TrainConfig) -> None:
    result = train(config)
    folder = RunFolder(config.output_dir)
    assert json.loads(folder.result_file.read_text()) == result
    assert json.loads(folder.state_file.read_text())["status"] == "completed"
    assert result["status"] == "completed"
    assert result["data"]["source"] == "sample"
    assert result["backbone"]["source"] == "folder"
    assert result["data"]["rows"] == {"train": 40, "validation": 16, "test": 16}
    assert result["trainable_parameters"] == 4 * 32 + (64 + 32) * result["rank"] <= 20 * 32
    assert result["metrics"]["test"].keys() == {"accuracy"}
    lines = read_metrics(folder.metrics_file)
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 9))
    assert [line["step"] for line in lines if line["split"] == "validation"] == [0, 4, 8]
    assert [path.name for path in folder.checkpoints()] == ["checkpoint-8"]
    assert not list(folder.path.glob(".dept-tmp-*")), "no temporary file stays"


def test_rates_warm_up_and_decay_apart(config: TrainConfig) -> None:
    train(dataclasses.replace(config, max_steps=10, warmup_proportion=0.2))
    lines = [line for line in read_metrics(RunFolder(config.output_dir).metrics_file) if line["split"] == "train"]
    assert [line["prompt_lr"] for line in lines] == pytest.approx(
        [0.0, 0.05, 0.1, *(0.1 * (10 - step) / 8 for step in range(3, 10))]
    )
    assert all(line["low_rank_lr"] == pytest.approx(line["prompt_lr"] / 10) for line in lines)


def test_the_backbone_stays_bit_identical_and_the_prompt_learns(config: TrainConfig) -> None:
    prepared = prepare(config)
    before = {name: tensor.clone() for name, tensor in prepared.model.backbone.state_dict().items()}
    start = {name: tensor.clone() for name, tensor in prepared.model.adapter_tensors().items()}
    seen: list[Prepared] = []

    class Watch(Silent):
        def started(self, prepared: Prepared, first_step: int) -> None:
            seen.append(prepared)

    train(config, reporter=Watch())
    after = seen[0].model.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    learnt = last_tensors(config)
    assert start.keys() == learnt.keys()
    assert not any(torch.equal(start[name], learnt[name]) for name in start)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(config: TrainConfig, tmp_path: Path) -> None:
    again = dataclasses.replace(config, output_dir=str(tmp_path / "again"))
    other = dataclasses.replace(config, output_dir=str(tmp_path / "other"), seed=4)
    for each in (config, again, other):
        train(each)
    assert same(last_tensors(config), last_tensors(again))
    assert same(adapter(config), adapter(again))
    assert not same(last_tensors(config), last_tensors(other))


@pytest.mark.parametrize("backbone", ["tiny_t5", "tiny_gpt2"])
def test_the_loss_does_not_depend_on_how_a_batch_is_cut(
    config: TrainConfig, tmp_path: Path, backbone: str, request: pytest.FixtureRequest
) -> None:
    """Dropout would draw other numbers, so it is off; the batch of 8 is cut into 3, 3 and 2 rows."""
    folder = request.getfixturevalue(backbone)
    runs = []
    for parts in (1, 3):
        backbone_folder = without_dropout(folder, tmp_path / f"backbone-{parts}")
        runs.append(
            dataclasses.replace(
                config,
                backbone=str(backbone_folder),
                verbalizer="words",
                gradient_accumulation=parts,
                output_dir=str(tmp_path / f"parts-{parts}"),
            )
        )
        train(runs[-1])
    losses = [
        [line["loss"] for line in read_metrics(RunFolder(run.output_dir).metrics_file) if line["split"] == "train"]
        for run in runs
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    first, second = (last_tensors(run) for run in runs)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


class StopAt(Silent):
    """Asks to stop at a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def stepped(self, line: dict[str, Any]) -> None:
        if line["step"] == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("stop_at", [1, 4, 6])
def test_a_stopped_run_resumes_exactly(config: TrainConfig, tmp_path: Path, stop_at: int) -> None:
    whole = dataclasses.replace(config, output_dir=str(tmp_path / "whole"))
    expected = train(whole)
    stopped = train(config, reporter=StopAt(stop_at))
    assert stopped["status"] == "stopped"
    assert json.loads(RunFolder(config.output_dir).state_file.read_text())["status"] == "stopped"
    result = train(config, resume=True)
    assert result["status"] == "completed"
    assert result["metrics"] == expected["metrics"]
    assert same(last_tensors(config), last_tensors(whole))
    assert same(adapter(config), adapter(whole))
    lines = [read_metrics(RunFolder(each.output_dir).metrics_file) for each in (config, whole)]
    steps = [[(line["split"], line["step"], line.get("loss")) for line in each] for each in lines]
    assert steps[0] == steps[1]


def test_a_folder_is_never_overwritten(config: TrainConfig) -> None:
    train(config)
    before = Path(config.output_dir, "result.json").read_bytes()
    with pytest.raises(RunError, match="already holds a completed run"):
        train(config)
    with pytest.raises(RunError, match="prompt_lr was 0.1, now 0.2"):
        train(dataclasses.replace(config, prompt_lr=0.2), resume=True)
    assert train(config, resume=True)["status"] == "completed"
    assert Path(config.output_dir, "result.json").read_bytes() == before


def test_nothing_runs_twice_in_one_folder(config: TrainConfig) -> None:
    with RunFolder(config.output_dir).lock(), pytest.raises(RunError, match="another process"):
        train(config)
    assert not Path(config.output_dir, "config.json").exists()


def test_resuming_nothing_says_so(config: TrainConfig) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        train(config, resume=True)
    assert not Path(config.output_dir).exists()


def test_a_loss_that_is_not_finite_stops_the_run(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dept.model.adapted.target_loss", lambda logits, targets, items: logits.sum() * float("nan"))
    with pytest.raises(RunError, match="loss became nan at step 1"):
        train(config)
    folder = RunFolder(config.output_dir)
    assert json.loads(folder.state_file.read_text())["status"] == "failed"
    result = json.loads(folder.result_file.read_text())
    assert result["status"] == "failed"
    assert "lower --prompt-lr" in result["error"]


def test_early_stopping(config: TrainConfig) -> None:
    frozen = dataclasses.replace(config, prompt_lr=0.0, low_rank_lr=0.0, max_steps=40, eval_every=2, early_stopping=3)
    result = train(frozen)
    assert result["status"] == "completed"
    assert (result["steps"], result["best_step"]) == (6, 6)


@pytest.mark.parametrize("values", [{"method": "prompt_tuning"}, {"num_virtual_tokens": 0}, {"rank": 0}])
def test_every_split_of_the_budget_trains(config: TrainConfig, values: dict[str, Any]) -> None:
    result = train(dataclasses.replace(config, max_steps=2, **values))
    expected = result["num_virtual_tokens"] * 32 + (64 + 32) * result["rank"]
    assert result["trainable_parameters"] == expected


def test_more_than_the_budget_is_recorded(config: TrainConfig) -> None:
    with pytest.warns(UserWarning, match="more than the budget"):
        result = train(dataclasses.replace(config, max_steps=1, rank=20))
    assert result["over_budget"]
    assert result["left_over"] == 20 * 32 - result["trainable_parameters"] < 0


def test_bfloat16_and_gradient_checkpointing(config: TrainConfig, tiny_llama: Path) -> None:
    small = dataclasses.replace(
        config, backbone=str(tiny_llama), dtype="bfloat16", gradient_checkpointing=True, max_steps=2
    )
    assert train(small)["status"] == "completed"
    assert all(tensor.dtype == torch.float32 for tensor in adapter(small).values())


def test_the_paper_preset(config: TrainConfig, tiny_gpt2: Path) -> None:
    paper = dataclasses.replace(
        config,
        backbone=str(tiny_gpt2),
        preset="paper",
        prompt_lr=None,
        low_rank_lr=None,
        max_steps=None,
        eval_every=None,
    )
    resolved = prepare(paper).config
    assert (resolved.verbalizer, resolved.prompt_lr, resolved.low_rank_lr) == ("digits", 0.3, 5e-4)
    assert (resolved.max_steps, resolved.eval_every) == (30_000, 1000)
    without = prepare(dataclasses.replace(paper, preset=None)).config
    assert without.verbalizer == "words"
    assert without.prompt_lr is not None and without.prompt_lr < 0.3


def test_what_a_task_does_not_have_is_refused_before_anything_is_written(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="no labels to score"):
        train(dataclasses.replace(config, task="squad", decoding="label_scoring", max_seq_length=128))
    assert not Path(config.output_dir).exists()


def test_a_run_that_stopped_early_is_not_trained_further(config: TrainConfig) -> None:
    """Killed while it was tested: the result is missing, the patience is used up."""
    frozen = dataclasses.replace(config, prompt_lr=0.0, low_rank_lr=0.0, max_steps=40, eval_every=2, early_stopping=3)
    result = train(frozen)
    folder = RunFolder(config.output_dir)
    folder.result_file.unlink()
    again = train(frozen, resume=True)
    assert (again["steps"], again["metrics"]) == (result["steps"], result["metrics"])
    assert [line["split"] for line in read_metrics(folder.metrics_file)].count("test") == 1


def test_a_changed_task_or_backbone_is_not_resumed(config: TrainConfig, tiny_t5: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    shutil.copytree(tiny_t5, tmp_path / "backbone")
    own = dataclasses.replace(config, backbone=str(tmp_path / "backbone"))
    train(own, reporter=StopAt(2))
    with torch.no_grad():
        backbone: Any = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "backbone")
        backbone.encoder.block[0].layer[1].DenseReluDense.wi.weight.mul_(2)
    backbone.save_pretrained(tmp_path / "backbone")
    with pytest.raises(RunError, match="fingerprints was"):
        train(own, resume=True)


def test_locking_a_folder_leaves_other_peoples_files(tmp_path: Path) -> None:
    (tmp_path / ".pre-commit-config.yaml").write_text("theirs")
    (tmp_path / ".oh-my-zsh").mkdir()
    (tmp_path / ".dept-tmp-1-state.json").write_text("half")
    with RunFolder(tmp_path).lock():
        names = {path.name for path in tmp_path.iterdir()}
    assert {".pre-commit-config.yaml", ".oh-my-zsh"} <= names
    assert not any(name.startswith(".dept-tmp-") for name in names)


def test_a_prompt_that_leaves_no_positions_is_refused_before_anything_is_written(
    config: TrainConfig, tiny_gpt2: Path
) -> None:
    long = dataclasses.replace(config, backbone=str(tiny_gpt2), num_virtual_tokens=509, rank=0, budget_tokens=600)
    with pytest.raises(ConfigError, match="more than the backbone's 512 positions"):
        train(long)
    assert not Path(config.output_dir).exists()


def test_a_label_is_never_cut(config: TrainConfig, tmp_path: Path) -> None:
    """Two labels that differ at their end only, longer than the task's max_target_length."""
    table = tmp_path / "codes.csv"
    table.write_text("text,code\n" + "".join(f"row {i},{'long label ' * 4}{'ab'[i % 2]}\n" for i in range(40)))
    task = tmp_path / "codes.yaml"
    task.write_text(new_task_yaml(table))
    targets = prepare(dataclasses.replace(config, task=str(task), data=str(table), verbalizer="words")).splits["train"]
    assert len({tuple(item["target_ids"]) for item in targets}) == 2
    assert targets.target_lengths.min() > 16


def test_a_run_is_found_from_any_folder(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(config.backbone).parent)
    result = train(dataclasses.replace(config, backbone=Path(config.backbone).name))
    assert result["config"]["backbone"] == config.backbone
    monkeypatch.chdir(tmp_path)
    assert load_run(config.output_dir).task.name == "sst2"
