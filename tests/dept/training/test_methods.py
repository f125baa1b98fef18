"""Runs of methods beyond DePT and PT: trained, stopped, resumed bit for bit, evaluated, asked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dept import TrainConfig
from dept.cli import main
from dept.errors import ConfigError, RunError
from dept.runs.folder import RunFolder, read_metrics
from dept.training.loop import train
from tests.dept.training.test_loop import StopAt, adapter, last_tensors, same

pytestmark = pytest.mark.usefixtures("one_thread")

IA3 = {"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]}
SETTINGS: dict[str, dict[str, Any]] = {
    "bitfit": {"bias_lr": 0.02},
    "lora": {"lora_rank": 2, "lora_lr": 0.02},
    "peft": {"peft_config": json.dumps(IA3), "peft_lr": 0.02},
    "adept": {"num_virtual_tokens": 4, "budget_tokens": 20, "prompt_lr": 0.1, "network_lr": 0.01},
    "lopt": {"num_virtual_tokens": 6, "lopt_rank": 2, "factors_lr": 0.1},
    "prompt_tuning+lora": {"num_virtual_tokens": 4, "prompt_lr": 0.1, "lora_rank": 2, "lora_lr": 0.02},
    "dept+lora": {
        **{"num_virtual_tokens": 4, "budget_tokens": 20, "prompt_lr": 0.1, "low_rank_lr": 0.01},
        **{"lora_rank": 2, "lora_lr": 0.02},
    },
}


def config_of(method: str, backbone: Path, folder: Path) -> TrainConfig:
    return TrainConfig(
        task="sst2", method=method, backbone=str(backbone), data="sample", output_dir=str(folder), max_seq_length=64,
        max_steps=6, eval_every=3, batch_size=8, max_train_rows=24, max_validation_rows=8, max_test_rows=8, seed=3,
        **SETTINGS[method],
    )  # fmt: skip


@pytest.mark.parametrize("method", SETTINGS)
def test_a_stopped_run_resumes_exactly(method: str, tiny_t5: Path, tmp_path: Path) -> None:
    config = config_of(method, tiny_t5, tmp_path / "run")
    whole = dataclasses.replace(config, output_dir=str(tmp_path / "whole"))
    expected = train(whole)
    assert train(config, reporter=StopAt(2))["status"] == "stopped"
    result = train(config, resume=True)
    assert result["metrics"] == expected["metrics"] and result["key"] == expected["key"]
    assert same(last_tensors(config), last_tensors(whole)) and same(adapter(config), adapter(whole))
    train_lines = [
        line for line in read_metrics(RunFolder(config.output_dir).metrics_file) if line["split"] == "train"
    ]
    rates = {name for name in SETTINGS[method] if name.endswith("_lr")}
    assert all(line[name] is not None for line in train_lines[1:] for name in rates)
    assert {name for name in train_lines[-1] if name.endswith("_lr")} == {"prompt_lr", "low_rank_lr", *rates}
    assert sum(result["trainable_parts"].values()) == result["trainable_parameters"]
    assert isinstance(result["rank"], int) and isinstance(result["num_virtual_tokens"], int)
    assert result["over_budget"] is False


@pytest.mark.parametrize("method", ["bitfit", "lora", "peft", "dept+lora"])
@pytest.mark.parametrize("family", ["tiny_t5", "tiny_gpt2", "tiny_llama"])
def test_a_run_is_evaluated_and_asked(
    method: str, family: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(method, request.getfixturevalue(family), tmp_path / "run")
    if method == "peft":
        names = {"tiny_t5": ["q", "v"], "tiny_gpt2": ["c_attn"], "tiny_llama": ["q_proj", "v_proj"]}[family]
        text = json.dumps({"peft_type": "LORA", "r": 2, "target_modules": names})
        config = dataclasses.replace(config, peft_config=text)
    result = train(dataclasses.replace(config, max_steps=2, eval_every=1, decoding="label_scoring"))
    capsys.readouterr()
    assert main(["evaluate", config.output_dir, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["metrics"] == result["metrics"]["test"]
    assert main(["predict", config.output_dir, "--text", "a gorgeous film", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prediction"] in result_labels(result)


def result_labels(result: dict[str, Any]) -> tuple[str, ...]:
    from dept.tasks import load_task

    labels = load_task(result["task"]).verbalizer(result["verbalizer"])
    assert labels is not None
    return labels


def test_a_file_of_peft_s_is_remembered_by_its_content(tiny_t5: Path, tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(IA3, indent=2))
    config = dataclasses.replace(config_of("peft", tiny_t5, tmp_path / "run"), peft_config=str(file))
    result = train(config)
    assert json.loads(result["config"]["peft_config"]) == IA3
    file.unlink()
    settings = {**json.loads((tmp_path / "run" / "config.json").read_text())}
    settings.pop("fingerprints")
    assert train(TrainConfig.from_dict(settings), resume=True)["key"] == result["key"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "bitfit", "lora_rank": 4}, "lora_rank belongs to LoRA; the method here is BitFit"),
        ({"method": "lora", "rank": 4}, "rank belongs to DePT; the method here is LoRA"),
        ({"method": "bitfit", "prompt_lr": 0.3}, "prompt_lr belongs to PT and DePT and ADePT"),
        ({"method": "dept", "bias_lr": 0.3}, "bias_lr belongs to BitFit"),
        ({"method": "prompt_tuning", "rank": 4}, "rank 4 belongs to method dept"),
        ({"method": "dept+prompt_tuning"}, "both parts train prompt"),
        ({"method": "dept+"}, "method must be one of"),
        ({"method": "peft"}, "--peft-config"),
        ({"method": "peft", "peft_config": "{"}, "not JSON"),
        ({"method": "peft", "peft_config": "{}"}, "no peft_type"),
        ({"method": "peft", "peft_config": '{"peft_type": "PREFIX_TUNING"}'}, "PREFIX_TUNING is not taken"),
        ({"method": "peft", "peft_config": '{"peft_type": "VERA"}'}, "its layers share tensors"),
        ({"method": "peft", "peft_config": "/no/such/file.json"}, "cannot be read"),
        ({"method": "lora", "lora_targets": " , "}, "names no layer"),
    ],
)
def test_what_cannot_be_is_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(values)
    assert message in str(caught.value).replace("DePT and PT", "PT and DePT") and "\n" not in str(caught.value)


def test_layers_that_are_not_there_are_one_line(tiny_t5: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(config_of("lora", tiny_t5, tmp_path / "run"), lora_targets="q,nowhere")
    with pytest.raises(ConfigError, match="no layer 'nowhere'"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["bitfit", "dept+lora"])
def test_compiled_layers_would_pass_over_them(method: str, tiny_t5: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(config_of(method, tiny_t5, tmp_path / "run"), compile=True)
    with pytest.raises(ConfigError, match="acts inside the backbone's layers: leave out compile"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_yesterday_s_run_resumes_without_a_newer_setting(tiny_t5: Path, tmp_path: Path) -> None:
    """A config.json that lacks a setting of today: its default is meant, and another value is another run."""
    config = config_of("lora", tiny_t5, tmp_path / "run")
    plain = TrainConfig.from_dict(
        {name: value for name, value in config.to_dict().items() if not name.startswith("lora")} | {"method": "dept"}
    )
    stopped = train(plain, reporter=StopAt(2))
    assert stopped["status"] == "stopped"
    file = tmp_path / "run" / "config.json"
    saved = json.loads(file.read_text())
    older = {name: value for name, value in saved.items() if not name.startswith(("lora", "adept", "lopt", "peft"))}
    older.pop("bias_lr")
    file.write_text(json.dumps(older))
    with pytest.raises(RunError, match="batch_size was 8, now 4"):
        train(dataclasses.replace(plain, batch_size=4), resume=True)
    assert train(plain, resume=True)["status"] == "completed"
