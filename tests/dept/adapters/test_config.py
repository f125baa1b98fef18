"""Adapters that are refused, by name and reason."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from dept.errors import BackboneError
from dept.prompted import PromptedModel
from tests.dept.adapters.helpers import DEPT, PT, edit, gpt2, prompted, refused, t5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DePT adapter of the tiny T5."""
    prompted(t5(), DEPT).save_pretrained(tmp_path / "adapter", backbone_name="t5-tiny")
    return tmp_path / "adapter"


def test_other_backbones_are_refused(folder: Path) -> None:
    refused(folder, t5(seed=5), "t5-tiny", "fingerprint", "check_backbone=False")
    PromptedModel.from_pretrained(t5(seed=5), folder, check_backbone=False)
    PromptedModel.from_pretrained(t5().bfloat16(), folder)  # the same one in another dtype
    refused(folder, t5(seed=5).half(), "rounded in memory")
    refused(folder, t5(d_model=16), "hidden size 32", "16")
    refused(folder, gpt2(), "encoder-decoder", "decoder-only")
    bert = BertModel(
        BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    )
    with pytest.raises(BackboneError, match="BertModel"):
        PromptedModel.from_pretrained(bert, folder)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    refused(folder, t5(), "adapter_model.safetensors is missing")
    (folder / "adapter_config.json").unlink()
    refused(folder, t5(), "adapter_config.json is missing")
    os.mkfifo(folder / "adapter_config.json")
    refused(folder, t5(), "no regular file")
    refused(tmp_path / "nothing", t5(), "no such folder")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", t5(), "is a file")


def test_symbolic_links_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_model.safetensors").rename(tmp_path / "blob")
    (folder / "adapter_model.safetensors").symlink_to(tmp_path / "blob")
    PromptedModel.from_pretrained(t5(), folder)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    prompted(t5(), PT).save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (folder / "dept_config.json").is_file()
    assert not (folder / "adapter_model.safetensors").is_symlink()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["JSON"]),
        (b"{", ["JSON"]),
        (b"\xff\xfe", ["JSON"]),
        (b"[1, 2]", ["object"]),
        (b"{}", ["peft_type"]),
        (b'{"peft_type": NaN}', ["JSON", "NaN"]),
        (b'{"peft_type": ' + b"9" * 5000 + b"}", ["digits"]),
        (b"[" * 100_000, ["JSON"]),
        (b" " * 1_000_001, ["bytes"]),
    ],
)
def test_damaged_config_files(folder: Path, content: bytes, words: list[str]) -> None:
    (folder / "adapter_config.json").write_bytes(content)
    refused(folder, t5(), "adapter_config.json", *words)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rank": ...}, "rank"),
        ({"surprise": 1}, "surprise"),
        ({"rank": "2"}, "rank"),
        ({"rank": "auto"}, "rank"),
        ({"rank": -1}, "rank"),
        ({"rank": 3}, "low_rank_a"),
        ({"num_virtual_tokens": 4}, "prompt_embeddings"),
        ({"num_virtual_tokens": 0}, "prompt_embeddings"),
        ({"num_virtual_tokens": True}, "num_virtual_tokens"),
        ({"max_seq_length": 13}, "low_rank_a"),
        ({"token_dim": 33}, "hidden size"),
        ({"token_dim": "32"}, "token_dim"),
        ({"low_rank_alpha": 10**19}, "low_rank_alpha"),
        ({"peft_type": "LORA"}, "peft_type"),
        ({"peft_type": "PROMPT_TUNING_LORA"}, "'r'"),
        ({"task_type": "CAUSAL_LM"}, "decoder-only"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"method": "lora"}, "method"),
        ({"schema_version": 2}, "newer"),
        ({"backbone_fingerprint": "0" * 64}, "fingerprint"),
        ({"backbone_fingerprint": None}, "backbone_fingerprint"),
        ({"base_model_name_or_path": "../../etc"}, "base_model_name_or_path"),
        ({"tokenizer_name_or_path": "models\\..\\x"}, "tokenizer_name_or_path"),
        ({"base_model_name_or_path": "t5\nbase"}, "base_model_name_or_path"),
        ({"task": {"name": "../x"}}, "task"),
        ({"task": "rte"}, "task"),
        ({"training": [1]}, "training"),
        ({"verbalizer": 3}, "verbalizer"),
    ],
)
def test_wrong_configs(folder: Path, changes: dict[str, Any], word: str) -> None:
    edit(folder, **changes)
    refused(folder, t5(), word)


def test_the_two_configs_of_a_prompt_tuning_adapter_must_agree(tmp_path: Path) -> None:
    prompted(t5(), PT).save_pretrained(tmp_path)
    edit(tmp_path, num_virtual_tokens=4)
    refused(tmp_path, t5(), "dept_config.json", "num_virtual_tokens")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("low_rank_b"), ["lacks", "low_rank_b"]),
        (lambda t: t.update(more=torch.zeros(1)), ["unknown", "more"]),
        (lambda t: t.update(low_rank_b=torch.zeros(3, 32)), ["low_rank_b", "[3, 32]", "[2, 32]"]),
        (lambda t: t.update(low_rank_b=torch.zeros(64)), ["low_rank_b", "[64]"]),
        (lambda t: t.update(low_rank_b=torch.zeros(2, 32, dtype=torch.float16)), ["low_rank_b", "float16"]),
        (lambda t: t.update(low_rank_b=torch.zeros(2, 32, dtype=torch.int32)), ["low_rank_b", "int32"]),
        (lambda t: t["low_rank_a"].__setitem__((0, 0), float("nan")), ["low_rank_a", "NaN"]),
        (lambda t: t["prompt_embeddings"].__setitem__((2, 1), float("inf")), ["prompt_embeddings", "infinity"]),
        (lambda t: t.update(more=torch.zeros(500_000)), ["bytes"]),
    ],
)
def test_wrong_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object], words: list[str]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))
    refused(folder, t5(), "adapter_model.safetensors", *words)
