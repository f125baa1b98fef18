"""The registry and the declarations: names as in the paper's tables, fields described, counts from sizes alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dept.backbones.known import registry as known_backbones
from dept.basics.checked import Checked, setting, settings_of, without_new_defaults
from dept.cli import main
from dept.errors import ConfigError
from dept.methods.known_facts import known_facts
from dept.methods.registry import (
    declarations,
    groups,
    method_config,
    method_names,
    method_settings,
    owners,
    title_of,
)
from dept.model.count import counts_on_meta
from dept.runs.resolve import preset
from dept.runs.settings import TrainConfig, settings_of_method

ROOT = Path(__file__).resolve().parents[3]
TABLES: dict[str, Any] = yaml.safe_load((ROOT / "lab" / "paper" / "paper_tables.yaml").read_text(encoding="utf-8"))
# Of the paper's tables, and not here yet.
MISSING = {
    *("fine_tuning", "adapter", "adapter_drop", "lst", "p_tuning"),
    *("fine_tuning_m", "adapter_m", "hyperformer", "hyperdecoder"),
    *("spot", "attempt", "mpt", "attempt_m", "mpt_m"),
}


def test_ids_and_titles_are_the_paper_s() -> None:
    printed = TABLES["methods"]
    for name in method_names():
        if name in printed:
            assert title_of(name) == printed[name]["name"]
    assert set(printed) - set(method_names()) == MISSING


@pytest.mark.parametrize("name", method_names())
def test_every_declaration_says_what_it_is(name: str) -> None:
    declared = method_config(name)
    assert declared.name == name and declared.title and declared.groups
    assert "http" in declared.paper and declared.sentence.endswith(".")
    for one in settings_of(declared).values():
        assert one.help and one.label and one.of in ("method", "data")
    assert declared.setting_names() == (
        *settings_of(declared), *(group.setting_name for group in declared.groups)
    )  # fmt: skip


def test_methods_share_a_setting_only_if_it_is_the_same_thing() -> None:
    for name, one in method_settings().items():
        for declared in declarations():
            own = settings_of(declared).get(name)
            if own is not None:
                assert (own.kind, own.help, own.label, own.letter, own.of) == (
                    one.kind, one.help, one.label, one.letter, one.of
                )  # fmt: skip
    assert set(owners("num_virtual_tokens")) == {"DePT", "PT", "ADePT", "LoPT"}
    assert owners("lora_lr") == ("LoRA",)


def test_a_sum_is_its_members_together() -> None:
    both = method_config("dept+lora")
    assert both is method_config("dept+lora")
    assert both.title == "DePT + LoRA" and [group.name for group in both.groups] == ["prompt", "low_rank", "lora"]
    config = both.from_settings({"num_virtual_tokens": 3, "rank": 2, "lora_rank": 4})
    assert [type(one).__name__ for one in config.configs()] == ["DeptConfig", "LoraConfig"]  # type: ignore[attr-defined]
    assert config.summary() == "m = 3, r = 2; r = 4"
    assert both.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="rank must be between"):
        both.from_settings({"rank": -1})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("dept", 76_800), ("bitfit", 280_960), ("lora", 3_538_944), ("adept", 76_051), ("lopt", 8_680)],
)
def test_counts_on_t5_base(name: str, parameters: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", name, "--backbone", "t5-base", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["parameters"] == sum(row["by_group"].values()) == parameters
    assert {"name", "title", "paper", "groups", "needs"} <= row.keys()


@pytest.mark.parametrize("m", [20, 40, 60, 80])
@pytest.mark.parametrize("backbone", ["t5-small", "t5-base", "t5-large"])
def test_adept_spends_the_budget(m: int, backbone: str) -> None:
    rank = {20: 39, 40: 29, 60: 19, 80: 9}[m]
    facts = known_facts(backbone)
    config = method_config("adept").from_settings({"num_virtual_tokens": m}).resolved(facts)
    assert config.to_dict()["adept_rank"] == rank
    assert sum(config.counts(facts).values()) <= 100 * facts.hidden_size


@pytest.mark.parametrize("backbone", ["t5-small", "gpt2", "llama-2-7b", "smollm2-135m", "mini-t5"])
@pytest.mark.parametrize("name", ["bitfit", "lora", "dept"])
def test_counts_from_sizes_are_those_of_the_model(name: str, backbone: str) -> None:
    assert backbone in known_backbones()
    facts = known_facts(backbone)
    config = method_config(name)().resolved(facts)
    assert counts_on_meta(config, backbone) == config.counts(facts)


def test_listing_methods_needs_no_torch() -> None:
    code = (
        "import sys; from dept.cli import main; assert main(['methods']) == 0; "
        "assert not {'torch', 'transformers', 'peft'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.slow
def test_peft_is_counted_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(
        json.dumps({"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]})
    )
    assert main(["methods", "peft", "--backbone", "t5-base", "--peft-config", str(file), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["parameters"] == 129_024  # the paper's IA3 on T5-base
    file.write_text(json.dumps({"peft_type": "IA3", "target_modules": ["nowhere"], "feedforward_modules": []}))
    assert main(["methods", "peft", "--backbone", "t5-base", "--peft-config", str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_paper_s_preset_is_its_table_8() -> None:
    table, values = TABLES["settings"], preset("paper")
    for name in ("max_steps", "eval_every", "large_data_rows", "max_steps_large_data", "max_steps_of"):
        assert values[name] == table[name], name
    assert values["rates"]["prompt"] in table["prompt_lr"] and values["rates"]["low_rank"] in table["low_rank_lr"]
    assert values["rates"].keys() <= groups().keys()


def test_settings_of_a_batch_as_one_method_s() -> None:
    values = {"rank": 4, "lora_rank": 8, "prompt_lr": 0.3, "max_steps": 10, "budget_tokens": 20, "lora_lr": 0.1}
    assert settings_of_method("lora", values) == {
        "lora_rank": 8, "max_steps": 10, "budget_tokens": 20, "lora_lr": 0.1
    }  # fmt: skip
    assert settings_of_method("bitfit", values) == {"max_steps": 10, "budget_tokens": 20}
    assert settings_of_method("prompt_tuning", values).keys() == {"prompt_lr", "max_steps", "budget_tokens"}
    assert settings_of_method("prompt_tuning", {"rank": "auto", "low_rank_lr": 0.1}) == {
        "rank": "auto", "low_rank_lr": 0.1
    }  # fmt: skip


def test_a_newer_setting_keeps_yesterday_s_identity() -> None:
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class Older(Checked):
        steps: int = setting(3, "steps")

    @dataclasses.dataclass(frozen=True)
    class Newer(Checked):
        steps: int = setting(3, "steps")
        bias: float = setting(0.5, "bias", since=2)

    assert Newer().identity() == Older().identity() == {"steps": 3}
    assert Newer(bias=0.1).identity() == {"steps": 3, "bias": 0.1}
    assert without_new_defaults(Newer, {"steps": 1, "bias": 0.5, "other": 2}) == {"steps": 1, "other": 2}
    assert Newer.from_dict(Older(steps=7).to_dict()) == Newer(steps=7)
    assert not [name for name, one in settings_of(TrainConfig).items() if one.since == 1 and "lora" in name]
