"""The adapter folder: what is written and read back, ours, PEFT's and the authors'."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
import yaml

from dept.adapters.store import load_adapter, read_adapter_config, save_adapter
from dept.errors import AdapterError
from dept.methods.contract import MethodConfig
from dept.methods.dept import DeptConfig
from dept.prompted import PromptedModel
from dept.tasks import load_task
from tests.dept.adapters.helpers import DEPT, OURS, PT, gpt2, names, outputs, prompted, refused, t5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DePT adapter of the tiny T5."""
    prompted(t5(), DEPT).save_pretrained(tmp_path / "adapter", backbone_name="t5-tiny")
    return tmp_path / "adapter"


@pytest.mark.parametrize("make", [t5, gpt2])
@pytest.mark.parametrize(
    "config",
    [
        DEPT,
        DeptConfig(num_virtual_tokens=0, rank=3, max_seq_length=9, low_rank_alpha=None, low_rank_init="gaussian"),
        DeptConfig(num_virtual_tokens=4, rank=0, prompt_init="random"),
        PT,
    ],
    ids=["dept", "no prompt", "no rank", "prompt_tuning"],
)
def test_round_trip(tmp_path: Path, make: Callable[[], Any], config: MethodConfig) -> None:
    model = prompted(make(), config)
    model.save_pretrained(tmp_path / "a")
    again = PromptedModel.from_pretrained(make(), tmp_path / "a").eval()
    assert again.method_config == model.method_config
    assert torch.equal(outputs(again), outputs(model))
    again.save_pretrained(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_files_and_tensors(folder: Path, tmp_path: Path) -> None:
    assert names(folder) == OURS
    stored = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        "prompt_embeddings": (3, 32),
        "low_rank_a": (12, 2),
        "low_rank_b": (2, 32),
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "DEPT" and config["task_type"] == "SEQ_2_SEQ_LM"
    assert (config["num_virtual_tokens"], config["token_dim"], config["num_layers"]) == (3, 32, 2)
    assert config["num_attention_heads"] == 4 and config["num_transformer_submodules"] == 1
    prompted(gpt2(), PT).save_pretrained(tmp_path / "pt")
    assert names(tmp_path / "pt") == sorted([*OURS, "dept_config.json"])


def test_loading_draws_nothing_and_trains(folder: Path) -> None:
    backbone = t5()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    model = PromptedModel.from_pretrained(backbone, folder)
    assert torch.equal(torch.get_rng_state(), before)
    model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[3, 1]])).loss.backward()
    assert all(tensor.grad is not None for tensor in model.adapter_tensors().values())


def test_a_frozen_or_half_precision_prompt_is_saved_whole(tmp_path: Path) -> None:
    model = prompted(t5(), DEPT).to(torch.bfloat16)
    model.requires_grad_(False).save_pretrained(tmp_path)
    again = PromptedModel.from_pretrained(t5(), tmp_path)
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor.bfloat16(), model.state_dict()[name])


def test_all_that_is_needed_to_use_it(tmp_path: Path) -> None:
    task = load_task("rte")
    training = {"metrics": {"test": {"accuracy": 51.25}}, "data": {"source": "sample"}, "seed": 3}
    for name, config, length in (("dept", DEPT, 12), ("pt", PT, task.max_seq_length)):
        save_adapter(
            prompted(t5(), config),
            tmp_path / name,
            task=task.to_dict(),
            verbalizer="words",
            backbone_name="t5-base",
            tokenizer_name="google/t5",
            training=training,
        )
        info = read_adapter_config(tmp_path / name)
        assert info.task is not None and type(task).from_dict(info.task) == task
        assert (info.format, info.method, info.verbalizer) == ("ours", config.method, "words")
        assert (info.backbone_name, info.tokenizer_name) == ("t5-base", "google/t5")
        assert (info.max_seq_length, info.hidden_size, info.is_encoder_decoder) == (length, 32, True)
        assert info.training == training and len(info.backbone_fingerprint or "") == 64


def test_card(tmp_path: Path) -> None:
    training = {
        "metrics": {"test": {"accuracy": 51.25}},
        "data": {"source": "sample", "rows": {"test": 64}},
        "backbone": {"source": "random"},
    }
    task = load_task("sst2").to_dict()
    model = prompted(t5(), DEPT)
    save_adapter(model, tmp_path, task=task, verbalizer="digits", backbone_name="random:t5-base", training=training)
    card = (tmp_path / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["library_name"] == "dept-lab" and "sst2" in matter["tags"]
    assert "base_model" not in matter  # the hub would take random:t5-base for a model of its own
    assert f"| trainable parameters | {model.trainable_parameters()} |" in text
    assert "| metrics, test, accuracy | 51.25 |" in text and "| data, rows, test | 64 |" in text
    assert text.count("No result on the benchmark") == 2
    assert "PromptedModel.from_pretrained" in text and "sentence: {sentence}" in text

    save_adapter(prompted(t5(), PT), tmp_path, backbone_name="google/t5-base")
    _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "peft"
    assert yaml.safe_load(front)["base_model"] == "google/t5-base"
    assert "No training or score was recorded" in text and "PeftModel" in text


def test_a_backbone_folder_is_stored_by_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    save_adapter(prompted(t5(), DEPT), "adapter", backbone_name="../models/mine")
    assert read_adapter_config("adapter").backbone_name == str(tmp_path / "models" / "mine")
    with pytest.raises(AdapterError, match=r"base_model_name_or_path"):
        save_adapter(prompted(t5(), DEPT), "adapter", backbone_name="../models/nothing")


@pytest.mark.parametrize(
    ("details", "word"),
    [
        ({"training": {"loss": float("nan")}}, "JSON"),
        ({"training": {"path": Path("x")}}, "JSON"),
        ({"training": {"notes": "x" * 1_100_000}}, "bytes"),
        ({"task": {"name": "mine"}}, "task"),
        ({"task": load_task("rte").to_dict(), "verbalizer": "letters"}, "letters"),
        ({"backbone_name": "a\nb"}, "base_model_name_or_path"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(folder: Path, details: dict[str, Any], word: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(AdapterError, match=word):
        save_adapter(prompted(t5(), DEPT), folder, **details)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_prompt_with_nan_is_not_written(tmp_path: Path) -> None:
    model = prompted(t5(), DEPT)
    with torch.no_grad():
        model.adapter_tensors()["low_rank_b"][0, 0] = float("nan")
    with pytest.raises(AdapterError, match="low_rank_b holds NaN"):
        model.save_pretrained(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_subclass_is_made(folder: Path) -> None:
    class Mine(PromptedModel):
        pass

    assert type(Mine.from_pretrained(t5(), folder)) is Mine
    assert type(load_adapter(t5(), str(folder), model_class=Mine)) is Mine


# PEFT.


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("make", [t5, gpt2])
def test_peft_loads_ours(tmp_path: Path, make: Callable[[], Any]) -> None:
    model = prompted(make(), PT)
    model.save_pretrained(tmp_path, backbone_name="t5-base", task=load_task("rte").to_dict(), verbalizer="digits")
    theirs = peft.PeftModel.from_pretrained(make(), str(tmp_path)).eval()  # a warning would be an error
    assert isinstance(theirs.active_peft_config, peft.PromptTuningConfig)
    torch.testing.assert_close(outputs(model), outputs(theirs), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize(("make", "kind"), [(t5, "SEQ_2_SEQ_LM"), (gpt2, "CAUSAL_LM")])
@pytest.mark.parametrize("submodules", [None, 1])
def test_we_load_pefts(tmp_path: Path, make: Callable[[], Any], kind: str, submodules: int | None) -> None:
    torch.manual_seed(3)
    config = peft.PromptTuningConfig(task_type=kind, num_virtual_tokens=6, num_transformer_submodules=submodules)
    theirs = peft.get_peft_model(make(), config).eval()
    theirs.save_pretrained(str(tmp_path / "theirs"))
    model = PromptedModel.from_pretrained(make(), tmp_path / "theirs").eval()
    assert read_adapter_config(tmp_path / "theirs").format == "peft"
    torch.testing.assert_close(outputs(model), outputs(theirs), atol=1e-5, rtol=0)
    model.save_pretrained(tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(make(), str(tmp_path / "ours")).eval()
    torch.testing.assert_close(outputs(again), outputs(theirs), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_other_kinds_of_peft_adapters_are_refused(tmp_path: Path) -> None:
    prefix = peft.get_peft_model(t5(), peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3))
    prefix.save_pretrained(str(tmp_path))
    refused(tmp_path, t5(), "peft_type", "'PREFIX_TUNING'")


# The authors' release.


def test_the_released_adapters_load(shared: Path, tmp_path: Path) -> None:
    found = sorted((shared / "golden").glob("*/adapter"))
    assert len(found) == 3
    for folder in found:
        backbone = gpt2() if "gpt2" in str(folder) else t5()
        golden = safetensors.torch.load_file(folder.parent / "golden.safetensors")
        model = PromptedModel.from_pretrained(backbone, folder)
        ours = model.adapter_tensors()
        assert len(ours) == (1 if "_pt_" in str(folder) else 3)
        stored = torch.load(folder / "adapter_model.bin", weights_only=True, map_location="cpu")
        for name, released in (
            ("prompt_embeddings", "prompt_embeddings"),
            ("low_rank_a", "prompt_encoder.lora_embedding_A"),
            ("low_rank_b", "prompt_encoder.lora_embedding_B"),
        ):
            if name in ours:
                assert torch.equal(ours[name], stored[released])
        assert golden["input_ids"].ndim == 2
        if "low_rank_a" in ours:
            assert model.low_rank_update.scale == pytest.approx(8 / ours["low_rank_a"].shape[1] ** 0.5)


def test_cola_loads_onto_t5_base_and_saves_back_losslessly(shared: Path, tmp_path: Path) -> None:
    released = shared / "reference_checkpoints" / "cola"
    backbone = t5(d_model=768, num_layers=1)
    model = PromptedModel.from_pretrained(backbone, released)
    assert model.method_config == DeptConfig(
        num_virtual_tokens=80,
        rank=15,
        max_seq_length=256,
        low_rank_alpha=8.0,
        prompt_init="text",
        prompt_init_text="Classify this text is postive or not:",
    )
    model.save_pretrained(tmp_path / "ours")
    assert names(tmp_path / "ours") == OURS
    stored = torch.load(released / "adapter_model.bin", weights_only=True, map_location="cpu")
    again = PromptedModel.from_pretrained(backbone, tmp_path / "ours")
    for mine, theirs in zip(again.adapter_tensors().values(), stored.values(), strict=True):
        assert torch.equal(mine, theirs)
    refused(released, t5(), "hidden size 768 (t5-base)", "32")


def test_a_released_pickle_that_runs_code_is_refused(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "golden" / "t5_pt_l10" / "adapter", tmp_path / "a", copy_function=shutil.copyfile)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"prompt_embeddings": Evil()}, tmp_path / "a" / "adapter_model.bin")
    refused(tmp_path / "a", t5(), "adapter_model.bin", "can run code")
    (tmp_path / "a" / "adapter_model.bin").write_bytes(pickle.dumps({"prompt_embeddings": Evil()}))
    refused(tmp_path / "a", t5(), "adapter_model.bin", "damaged")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "stored",
    [
        [torch.zeros(10, 32)],
        {"prompt_embeddings": "text"},
        {"prompt_embeddings": torch.zeros(10, 32).to_sparse()},
        {"prompt_embeddings": torch.zeros(10, 32, device="meta")},
        {"prompt_embeddings": torch.zeros(1, 1).expand(10**9, 32)},
        {"prompt_embeddings": torch.zeros(10, 32, dtype=torch.float64)},
        {"prompt_embeddings": torch.zeros(10, 32), "extra": torch.zeros(1)},
        {"prompt_embeddings": torch.full((10, 32), float("inf"))},
    ],
)
def test_released_pickles_with_other_things_in_them(shared: Path, tmp_path: Path, stored: Any) -> None:
    shutil.copytree(shared / "golden" / "t5_pt_l10" / "adapter", tmp_path / "a", copy_function=shutil.copyfile)
    torch.save(stored, tmp_path / "a" / "adapter_model.bin")
    refused(tmp_path / "a", t5(), "adapter_model.bin")
