"""Configs check themselves: every malformed one is a ConfigError of one line that names the field."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept import DeptConfig, PromptTuningConfig, TrainConfig
from dept.basics.checked import settings_of
from dept.errors import ConfigError
from dept.methods.registry import declarations

CONFIGS: tuple[Any, ...] = (DeptConfig, PromptTuningConfig, TrainConfig)


def refused(config: Any, values: object) -> str:
    """The message that a config refuses values with: one short line."""
    with pytest.raises(ConfigError) as caught:
        config.from_dict(values)
    message = str(caught.value)
    assert message and len(message.splitlines()) == 1 and len(message) < 1200
    return message


@pytest.mark.parametrize("config", CONFIGS)
def test_defaults_are_valid_and_survive_a_round_trip(config: Any) -> None:
    values = config().to_dict()
    assert config.from_dict(values) == config()
    assert list(values) == [field.name for field in dataclasses.fields(config)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().num_virtual_tokens = 3


def test_defaults_are_the_paper_s() -> None:
    config = TrainConfig()
    assert (config.weight_decay, config.adam_epsilon, config.warmup_proportion) == (0.01, 1e-6, 0.06)
    assert (config.adam_beta1, config.adam_beta2, config.batch_size) == (0.9, 0.98, 16)
    assert (DeptConfig().rank, DeptConfig().low_rank_alpha, DeptConfig().budget_tokens) == ("auto", 8.0, 100)
    assert PromptTuningConfig().num_virtual_tokens == 100


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (DeptConfig, {"rank": -1}, "rank must be between 0 and 100,000, not -1"),
        (DeptConfig, {"rank": "all"}, "rank must be a whole number or 'auto', not 'all'"),
        (DeptConfig, {"rank": 4.0}, "rank must be"),
        (DeptConfig, {"rank": True}, "rank must be"),
        (DeptConfig, {"rank": None}, "rank must be"),
        (DeptConfig, {"num_virtual_tokens": -1}, "num_virtual_tokens must be between"),
        (DeptConfig, {"num_virtual_tokens": "40"}, "num_virtual_tokens must be a whole number"),
        (DeptConfig, {"num_virtual_tokens": 101}, "num_virtual_tokens (101) is more than budget_tokens (100)"),
        (DeptConfig, {"num_virtual_tokens": 0, "rank": 0}, "nothing to train"),
        (DeptConfig, {"max_seq_length": 0}, "max_seq_length must be between 1"),
        (DeptConfig, {"low_rank_alpha": math.nan}, "low_rank_alpha must be a finite number or null, not nan"),
        (DeptConfig, {"low_rank_alpha": 0}, "low_rank_alpha must be between"),
        (DeptConfig, {"low_rank_alpha": 10**400}, "low_rank_alpha must be a finite number"),
        (DeptConfig, {"low_rank_init": "zeros"}, "low_rank_init must be 'kaiming' or 'gaussian', not 'zeros'"),
        (DeptConfig, {"prompt_init": "text"}, "prompt_init_text must be given"),
        (DeptConfig, {"prompt_init_text": "good"}, "prompt_init_text must be given"),
        (DeptConfig, {"prompt_init": "text", "prompt_init_text": ""}, "prompt_init_text must be given"),
        (DeptConfig, {"budget": 3}, "unknown setting 'budget'; known: budget_tokens"),
        (DeptConfig, {3: 3}, "unknown setting 3"),
        (DeptConfig, [("rank", 3)], "settings must be a mapping"),
        (DeptConfig, None, "settings must be a mapping"),
        (PromptTuningConfig, {"num_virtual_tokens": 0}, "num_virtual_tokens must be between 1"),
        (PromptTuningConfig, {"rank": 3}, "unknown setting 'rank'"),
        (TrainConfig, {"task": ""}, "task is empty"),
        (TrainConfig, {"output_dir": " "}, "output_dir is empty"),
        (TrainConfig, {"output_dir": "a\0b"}, "output_dir holds a character"),
        (TrainConfig, {"backbone": "\ud800"}, "backbone holds a character"),
        (TrainConfig, {"task": 3}, "task must be text, not 3"),
        (TrainConfig, {"method": "lorra"}, "method must be one of dept, prompt_tuning, "),
        (TrainConfig, {"method": "prompt_tuning", "rank": 4}, "rank 4 belongs to method dept"),
        (TrainConfig, {"num_virtual_tokens": 101}, "more than budget_tokens"),
        (TrainConfig, {"method": "prompt_tuning", "num_virtual_tokens": 0}, "num_virtual_tokens"),
        (TrainConfig, {"batch_size": 2, "gradient_accumulation": 3}, "gradient_accumulation (3) is more than"),
        (TrainConfig, {"prompt_lr": -0.1}, "prompt_lr must be between 0"),
        (TrainConfig, {"prompt_lr": math.inf}, "prompt_lr must be a finite number"),
        (TrainConfig, {"gradient_checkpointing": 1}, "gradient_checkpointing must be true or false, not 1"),
        (TrainConfig, {"adam_beta2": 1}, "adam_beta2 must be between 0 and"),
        (TrainConfig, {"seed": 2**32}, "seed must be between"),
        (TrainConfig, {"max_steps": 16**5000}, "max_steps must be between 1 and 10,000,000, not a huge number"),
        (TrainConfig, {"max_steps": 0}, "max_steps"),
        (TrainConfig, {"lr": 0.3}, "unknown setting 'lr'"),
        (TrainConfig, {"task": [["x"] * 1000] * 1000}, "task must be text, not a value of type list"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(config: Any, values: Any, message: str) -> None:
    assert message in refused(config, values)


def test_a_whole_number_is_the_same_setting_as_its_float() -> None:
    whole, real = (TrainConfig.from_dict({"prompt_lr": rate, "low_rank_alpha": rate}) for rate in (8, 8.0))
    assert repr(whole.to_dict()) == repr(real.to_dict())
    assert isinstance(whole.prompt_lr, float)
    assert isinstance(whole.rank, str) and isinstance(DeptConfig(rank=3).rank, int)


def test_a_run_s_method_config() -> None:
    dept = TrainConfig(num_virtual_tokens=60, rank=30, max_seq_length=348, low_rank_alpha=None).method_config()
    assert dept == DeptConfig(num_virtual_tokens=60, rank=30, max_seq_length=348, low_rank_alpha=None)
    assert TrainConfig().method_config() == DeptConfig()
    assert TrainConfig(method="prompt_tuning", budget_tokens=30).method_config() == PromptTuningConfig(30)
    assert TrainConfig(method="prompt_tuning", num_virtual_tokens=7).method_config() == PromptTuningConfig(7)


def test_every_field_of_a_run_is_documented_and_every_range_is_a_field_s() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))
    for config in (*CONFIGS, *declarations()):
        assert all(one.help for one in settings_of(config).values())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.sampled_from(["auto", "dept", "none", "kaiming", "text", 10**400, -(16**6000), "\n", "x" * 5000, b"", 1j])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_values_give_a_valid_config_or_one_line(config: Any, data: st.DataObject) -> None:
    names = [field.name for field in dataclasses.fields(config)]
    keys = st.sampled_from(names) | st.text(max_size=8) | st.integers() | st.none()
    values = data.draw(st.dictionaries(keys, VALUES, min_size=1, max_size=4))
    try:
        made = config.from_dict(values)
    except ConfigError:
        refused(config, values)
    else:
        assert config.from_dict(made.to_dict()) == made


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_value_of_the_wrong_type_is_always_refused_by_name(config: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(config)]))
    wrong = st.lists(SCALARS, max_size=3) | st.binary(max_size=4) | st.sampled_from([1j, {}, math.nan])
    assert refused(config, {name: data.draw(wrong)}).startswith(f"{name} must be ")
