"""PEFT: the methods that are injected, its own folders read, and ours read by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from dept.adapters.store import read_adapter_config
from dept.errors import AdapterError, ConfigError
from dept.methods.peft import INJECTED, PeftConfig
from dept.prompted import PromptedModel, get_prompted_model
from dept.training.optim import build_groups
from tests.dept.methods.methods import FAMILIES, TARGETS, fresh, labelled, learn, moved
from tests.dept.tiny_models import backbone, tokens

# What a method wants beside its targets, for a backbone of 16 dimensions.
SETTINGS: dict[str, dict[str, Any]] = {
    "IA3": {"feedforward_modules": []},
    "BOFT": {"boft_block_size": 4},
    "OFT": {"oft_block_size": 4, "r": 0},
    "FOURIERFT": {"n_frequency": 20},
    "HRA": {"r": 2},
    "GRALORA": {"r": 4},
    "HIRA": {"r": 4},
    "LOHA": {"r": 4},
    "LOKR": {"r": 4},
    "MISS": {"r": 4},
    "PEANUT": {"r": 4},
    "ROAD": {"group_size": 4},
}
NORMS = {"t5": ["layer_norm"], "gpt2": ["ln_1"], "llama": ["input_layernorm"]}
# GPT-2's layers are Conv1D, which PEFT refuses for these.
NOT_ON_GPT2 = {"LOHA", "LOKR", "OFT", "BOFT", "HRA", "BEFT", "MISS", "PEANUT", "ROAD"}


def config_of(kind: str, family: str) -> PeftConfig:
    targets = (NORMS if kind == "LN_TUNING" else TARGETS)[family]
    return PeftConfig(json.dumps({"peft_type": kind, "target_modules": targets, **SETTINGS.get(kind, {})}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", INJECTED)
def test_each_listed_method_trains_saves_and_loads(kind: str, family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if family == "gpt2" and kind in NOT_ON_GPT2:
        with pytest.raises(ConfigError, match="PEFT does not take this config") as caught:
            get_prompted_model(backbone(family), config_of(kind, family))
        assert "\n" not in str(caught.value)
        return
    model = get_prompted_model(backbone(family), config_of(kind, family)).eval()
    inputs: dict[str, Any] = {"input_ids": torch.tensor([tokens(6, 1), tokens(6, 2)])}
    if model.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 5], [0, 6]])
    with torch.no_grad():
        ours, plain = model(**inputs).logits, backbone(family)(**inputs).logits
    if model.method_config.start_note() is None:
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    before = {name: tensor.clone() for name, tensor in model.backbone.named_parameters()}
    optimizer = build_groups(model, {"peft": 0.03})
    losses = learn(model.train(), optimizer, 5)
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.backbone.named_parameters())
    model.eval().save_pretrained(tmp_path / "adapter")
    loaded = PromptedModel.from_pretrained(backbone(family), tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**labelled(loaded)).logits, model(**labelled(model)).logits, rtol=0, atol=1e-5
        )


quiet = pytest.mark.filterwarnings("ignore")  # PEFT's own, about transformers' names and Conv1D


@quiet
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "peft"])
def test_peft_loads_ours(method: str, family: str, tmp_path: Path) -> None:
    model = moved(fresh(method, family))
    model.save_pretrained(tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(backbone(family), str(tmp_path / "adapter")).eval()
    inputs: dict[str, Any] = {"input_ids": torch.tensor([tokens(6, 1), tokens(6, 2)])}
    if model.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 5], [0, 6]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-5)


@quiet
@pytest.mark.parametrize("family", FAMILIES)
def test_we_load_peft_s(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = "SEQ_2_SEQ_LM" if family == "t5" else "CAUSAL_LM"
    config = peft.LoraConfig(task_type=task, r=3, lora_alpha=5, target_modules=TARGETS[family])
    theirs = peft.get_peft_model(backbone(family), config).eval()
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "lora_" in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
    theirs.save_pretrained(str(tmp_path / "adapter"))
    ours = PromptedModel.from_pretrained(backbone(family), tmp_path / "adapter").eval()
    inputs: dict[str, Any] = {"input_ids": torch.tensor([tokens(6, 1), tokens(6, 2)])}
    if ours.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 5], [0, 6]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours(**inputs).logits, rtol=0, atol=1e-5)
    info = read_adapter_config(tmp_path / "adapter")
    assert (info.format, info.method, info.is_encoder_decoder) == ("peft", "peft", family == "t5")
    ours.save_pretrained(tmp_path / "again")
    again = PromptedModel.from_pretrained(backbone(family), tmp_path / "again").eval()
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, ours(**inputs).logits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bias": "all"}, "add \\+bitfit"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"target_modules": ["nowhere"]}, "PEFT does not take this config"),
        ({"surprise": 3}, "knows no 'surprise' for LORA"),
    ],
)
def test_configs_that_do_not_fit_are_one_line(values: dict[str, Any], message: str) -> None:
    config = PeftConfig(json.dumps({"peft_type": "LORA", "target_modules": ["q"], **values}))
    plain = backbone("t5")
    modules = {name: type(module) for name, module in plain.named_modules()}
    with pytest.raises(ConfigError, match=message) as caught:
        get_prompted_model(plain, config)
    assert "\n" not in str(caught.value)
    assert {name: type(module) for name, module in plain.named_modules()} == modules, "the backbone was changed"


@quiet
def test_a_damaged_file_of_peft_s_is_one_line(tmp_path: Path) -> None:
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, target_modules=["q"])
    peft.get_peft_model(backbone("t5"), config).save_pretrained(str(tmp_path))
    values = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**values, "r": 3}))
    with pytest.raises(AdapterError, match="by the config it is"):
        PromptedModel.from_pretrained(backbone("t5"), tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({**values, "target_modules": ["nowhere"]}))
    with pytest.raises(AdapterError, match="PEFT does not take this config"):
        PromptedModel.from_pretrained(backbone("t5"), tmp_path)
