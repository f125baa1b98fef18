"""Golden numbers of BitFit, LoRA, ADePT and LoPT, made by their reference implementations (or PEFT)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from dept.methods.contract import MethodConfig
from dept.methods.registry import method_config
from dept.prompted import PromptedModel, get_prompted_model

BEFORE = "base_model.model."  # PEFT's files have it, the golden names do not
ADEPT = {"prompt": "prompt_embeddings", "lora_A": "down_weight", "lora_a": "down_bias", "lora_B": "up_weight"}
ADEPT |= {"lora_b": "up_bias"}
ADEPT_GRADIENTS = {"grad_prompt": "prompt_embeddings", "grad_A": "down_weight", "grad_a": "down_bias"}
ADEPT_GRADIENTS |= {"grad_B": "up_weight", "grad_b": "up_bias"}


class Golden(NamedTuple):
    """A reference's numbers: tensors to load and their gradients by our names, and what comes out."""

    config: Mapping[str, Any]
    tensors: dict[str, Tensor]
    gradients: dict[str, Tensor]
    numbers: dict[str, Tensor]


def backbone_of(config: Path, weights: Path) -> T5ForConditionalGeneration:
    """A tiny T5 with golden weights."""
    model = T5ForConditionalGeneration(T5Config(**json.loads(config.read_text())))
    loaded = model.load_state_dict(load_file(weights), strict=False)
    assert not loaded.unexpected_keys
    model.tie_weights()
    return model.eval()


def system(shared: Path, name: str, before: str = "") -> tuple[T5ForConditionalGeneration, Golden]:
    """A folder of golden_systems; `before` stands before our names of the tensors."""
    folder, common = shared / "golden_systems" / name, shared / "golden_systems" / "common"
    numbers = load_file(folder / "golden.safetensors")
    by_name: dict[str, dict[str, Tensor]] = {"trainable": {}, "grad": {}}
    for key, value in numbers.items():
        kind, _, rest = key.partition("/")
        if rest:
            by_name[kind][f"{before}{rest}"] = value
    config = json.loads((folder / "config.json").read_text())
    golden = Golden(config, by_name["trainable"], by_name["grad"], numbers)
    return backbone_of(common / "backbone_config.json", common / "backbone.safetensors"), golden


def model_of(
    backbone: T5ForConditionalGeneration, config: MethodConfig, tensors: Mapping[str, Tensor]
) -> PromptedModel:
    """A model of a method whose tensors are the golden ones, all of them."""
    model = get_prompted_model(backbone, config).eval()
    ours = model.adapter_tensors()
    assert ours.keys() == tensors.keys()
    with torch.no_grad():
        for name, tensor in ours.items():
            assert tensor.shape == tensors[name].shape, name
            tensor.copy_(tensors[name])
    return model


def inputs_of(numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: numbers[name] for name in ("input_ids", "attention_mask", "labels")}


def check(model: PromptedModel, golden: Golden, *, logits: float = 2e-5, gradients: tuple[float, float]) -> None:
    """Logits, loss and gradients beside the golden ones: absolute, and relative for gradients."""
    output: Any = model(**inputs_of(golden.numbers))
    torch.testing.assert_close(output.logits, golden.numbers["logits"], rtol=0, atol=logits)
    assert output.loss.item() == pytest.approx(golden.numbers["loss"].item(), abs=2e-5)
    output.loss.backward()
    absolute, relative = gradients
    for name, tensor in model.adapter_tensors().items():
        assert tensor.grad is not None, name
        torch.testing.assert_close(tensor.grad, golden.gradients[name], rtol=relative, atol=absolute)


def greedy(model: PromptedModel, golden: Golden, wanted: Tensor) -> None:
    """Eight tokens after the start token, end-of-text passed over."""
    inputs = inputs_of(golden.numbers)
    tokens = model.generate(
        inputs["input_ids"],
        inputs["attention_mask"],
        max_new_tokens=wanted.shape[1] - 1,
        do_sample=False,
        eos_token_id=None,
    )
    assert tokens.tolist() == wanted.tolist()


def train_losses(model: PromptedModel, golden: Golden) -> list[float]:
    """Losses before each of five AdamW steps on the one batch, and after the last."""
    rate = golden.config["train_run"]["lr"]
    optimizer = torch.optim.AdamW(model.adapter_tensors().values(), lr=rate, weight_decay=0.0)
    losses = []
    for step in range(len(golden.numbers["train_losses"])):
        loss = model(**inputs_of(golden.numbers)).loss
        losses.append(loss.item())
        if step < len(golden.numbers["train_losses"]) - 1:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


@pytest.mark.parametrize(
    ("name", "method", "settings", "before"),
    [
        ("bitfit", "bitfit", {}, ""),
        ("lora", "lora", {"lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}, BEFORE),
    ],
)
def test_single_task_systems(shared: Path, name: str, method: str, settings: dict[str, Any], before: str) -> None:
    backbone, golden = system(shared, name, before)
    model = model_of(backbone, method_config(method).from_settings(settings), golden.tensors)
    assert model.trainable_parameters() == golden.config["trainable_parameters"]
    check(model, golden, gradients=(5e-6, 1e-4))
    greedy(model, golden, golden.numbers["greedy_ids"])
    assert train_losses(model, golden) == pytest.approx(golden.numbers["train_losses"].tolist(), abs=1e-3)


@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_peft_s_own_configs(shared: Path, name: str) -> None:
    backbone, golden = system(shared, name, BEFORE)
    config = method_config("peft").from_settings({"peft_config": json.dumps(golden.config["peft_config"])})
    model = model_of(backbone, config, golden.tensors)
    check(model, golden, gradients=(5e-6, 1e-4))
    greedy(model, golden, golden.numbers["greedy_ids"])
    assert train_losses(model, golden) == pytest.approx(golden.numbers["train_losses"].tolist(), abs=1e-3)


@pytest.mark.parametrize("method", ["bitfit", "lora"])
def test_at_their_start_they_are_the_bare_backbone(shared: Path, method: str) -> None:
    backbone, _ = system(shared, method)
    common = shared / "golden_systems" / "common"
    plain = load_file(common / "plain_forward.safetensors")
    output: Any = get_prompted_model(backbone, method_config(method)())(**load_file(common / "inputs.safetensors"))
    torch.testing.assert_close(output.logits, plain["logits"], rtol=0, atol=2e-5)


def successor(shared: Path, name: str) -> tuple[T5ForConditionalGeneration, dict[str, Tensor], dict[str, Any]]:
    folder = shared / "golden_successors" / name
    config = folder / "config.json"
    return (
        backbone_of(config, folder / "backbone.safetensors"),
        load_file(folder / "golden.safetensors"),
        json.loads(config.read_text()),
    )


def test_adept(shared: Path) -> None:
    backbone, numbers, config = successor(shared, "adept/t5_m4_r6")
    tensors = {ours: numbers[name] for name, ours in ADEPT.items()}
    gradients = {ours: numbers[name] for name, ours in ADEPT_GRADIENTS.items()}
    settings = {"num_virtual_tokens": 4, "adept_rank": 6, "adept_dropout": 0.1}
    model = model_of(backbone, method_config("adept").from_settings(settings), tensors)
    golden = Golden(config, tensors, gradients, numbers)
    check(model, golden, gradients=(5e-5, 0.0))
    greedy(model, golden, numbers["generated"])
    # Padding carries the update there and not here; what is attended is the same.
    ours = model.embed(numbers["input_ids"], numbers["attention_mask"], None)
    attended = ours.attention_mask.bool()
    torch.testing.assert_close(
        ours.inputs_embeds[attended], numbers["encoder_inputs_embeds"][attended], rtol=0, atol=1e-5
    )


def test_lopt(shared: Path) -> None:
    backbone, numbers, config = successor(shared, "lopt/t5_uv_n10_r3")
    tensors = {"prompt_u": numbers["U"], "prompt_v": numbers["V"]}
    golden = Golden(config, tensors, {"prompt_u": numbers["grad_U"], "prompt_v": numbers["grad_V"]}, numbers)
    settings = {"num_virtual_tokens": 10, "lopt_rank": 3}
    model = model_of(backbone, method_config("lopt").from_settings(settings), tensors)
    torch.testing.assert_close(model.factored_prompt.fixed_prompt(), numbers["prompt"], rtol=0, atol=1e-6)
    check(model, golden, gradients=(5e-5, 0.0))
    greedy(model, golden, numbers["generated"])
