"""Golden numbers from the authors' release: outputs, losses, gradients, generated tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from dept import PromptedModel

T5 = ("t5_dept_m4_r6_s24", "t5_pt_l10")
NAMES = (*T5, "gpt2_dept_m5_r4_s20")
RELEASED_GRADIENTS = {"prompt_embeddings": "grad_prompt", "low_rank_a": "grad_A", "low_rank_b": "grad_B"}

Golden = tuple[PromptedModel, dict[str, Tensor]]


@pytest.fixture
def golden(shared: Path) -> Callable[[str], Golden]:
    def load(name: str) -> Golden:
        folder = shared / "golden" / name
        config = AutoConfig.from_pretrained(folder)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        backbone: PreTrainedModel = kind.from_config(config)
        missing = backbone.load_state_dict(load_file(folder / "backbone.safetensors"), strict=False)
        assert not missing.unexpected_keys
        backbone.tie_weights()
        model = PromptedModel.from_pretrained(backbone, folder / "adapter")
        return model.eval(), load_file(folder / "golden.safetensors")

    return load


def padded(numbers: dict[str, Tensor], left: int, right: int) -> dict[str, Tensor]:
    """The golden inputs with more padding; the padding's ids are not zero, so that reading them would show."""
    batch = {
        "input_ids": F.pad(numbers["input_ids"], (left, right), value=9),
        "attention_mask": F.pad(numbers["attention_mask"], (left, right)),
    }
    own = numbers["labels"].shape[1] == numbers["input_ids"].shape[1]  # decoder-only: a label for each token
    batch["labels"] = F.pad(numbers["labels"], (left, right), value=-100) if own else numbers["labels"]
    return batch


def attended_logits(model: PromptedModel, logits: Tensor, left: int, length: int) -> Tensor:
    if model.is_encoder_decoder:
        return logits
    virtual = model.num_virtual_tokens
    return torch.cat([logits[:, :virtual], logits[:, virtual + left : virtual + left + length]], 1)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 5), (7, 0), (3, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_loss_and_gradients(golden: Callable[[str], Golden], name: str, left: int, right: int) -> None:
    model, numbers = golden(name)
    output = model(**padded(numbers, left, right))
    output.loss.backward()
    logits = attended_logits(model, output.logits, left, numbers["input_ids"].shape[1])
    torch.testing.assert_close(logits, numbers["logits"], rtol=0, atol=1e-5)
    torch.testing.assert_close(output.loss, numbers["loss"].squeeze(), rtol=0, atol=1e-5)
    for tensor_name, tensor in model.adapter_tensors().items():
        expected = numbers[RELEASED_GRADIENTS[tensor_name]]
        # GPT-2's prompt gradients are below 1e-4: a hundredth of the largest entry is the sharper bound there.
        torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=min(1e-5, 0.01 * expected.abs().max().item()))


@pytest.mark.parametrize("name", NAMES)
def test_rows_alone_give_the_same_logits(golden: Callable[[str], Golden], name: str) -> None:
    model, numbers = golden(name)
    for row in range(len(numbers["input_ids"])):
        batch = {key: numbers[key][row : row + 1] for key in ("input_ids", "attention_mask", "labels")}
        logits = model(**batch).logits
        torch.testing.assert_close(logits, numbers["logits"][row : row + 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (4, 3)])
@pytest.mark.parametrize("name", T5)
def test_generated_tokens(golden: Callable[[str], Golden], name: str, left: int, right: int) -> None:
    model, numbers = golden(name)
    batch = padded(numbers, left, right)
    tokens = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=numbers["generated"].shape[1] - 1,
        do_sample=False,
    )
    assert tokens.tolist() == numbers["generated"].tolist()
