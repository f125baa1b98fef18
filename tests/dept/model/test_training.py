"""Only the adapter trains, and only the adapter is in a state dict."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dept import DeptConfig, PromptedModel, get_prompted_model
from tests.dept.tiny_models import (
    ADAPTER_KEYS,
    KINDS,
    VOCABULARY,
    assert_bit_identical,
    backbone,
    in_dtype,
    labels_for,
    padded,
    prompted,
    snapshot,
    tokens,
)

# Only the adapter trains.


def train_steps(model: PromptedModel, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    batch = padded([tokens(6, 1), tokens(4, 2)], "left")
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels_for(model, batch)).loss.backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_backbone_stays_bit_identical(kind: str, dtype: torch.dtype) -> None:
    raw = backbone(kind)
    in_dtype(raw, dtype)
    before = snapshot(raw)
    model = get_prompted_model(raw, DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12))
    start = snapshot(model)
    train_steps(model)
    for arguments in ({"do_sample": False}, {"do_sample": True}, {"num_beams": 2, "do_sample": False}):
        model.generate(**padded([tokens(4)]), max_new_tokens=3, **arguments)
    assert_bit_identical(raw, before)
    assert all(parameter.grad is None for parameter in raw.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, start[name]), name
        assert torch.isfinite(tensor).all()


def test_bfloat16_backbone_is_close_to_float32() -> None:
    exact, rough = prompted("t5"), prompted("t5")
    in_dtype(rough.backbone, torch.bfloat16)
    batch = padded([tokens(6)])
    labels = labels_for(exact, batch)
    output = rough(**batch, labels=labels)
    assert output.logits.dtype == torch.bfloat16 and output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, exact(**batch, labels=labels).loss, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_eval_mode_and_of_checkpointing_are_the_same(kind: str) -> None:
    batch = padded([tokens(6, 1), tokens(4, 2)])
    gradients: list[dict[str, Tensor]] = []
    for way in ("train", "eval", "checkpointing"):
        model = prompted(kind).train(way != "eval")
        if way == "checkpointing":
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model(**batch, labels=labels_for(model, batch)).loss.backward()
        tensors = model.adapter_tensors()
        assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors.values())
        gradients.append({name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None})
        if way == "checkpointing":  # evaluation in the middle of training
            with torch.inference_mode():
                model.eval()(**batch, labels=labels_for(model, batch))
            model.generate(**batch, max_new_tokens=2, do_sample=False)
            model.gradient_checkpointing_disable()
            assert not model.is_gradient_checkpointing
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6)


def test_generation_leaves_nothing_that_a_later_step_would_use() -> None:
    model = prompted("gpt2")
    batch = padded([tokens(5)])
    with torch.inference_mode():
        model.generate(**batch, max_new_tokens=2, do_sample=False)
        before = model(**batch).logits
    train_steps(model, 1)
    assert not torch.equal(model(**batch).logits, before)


# State dicts.


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_holds_exactly_the_adapter(kind: str) -> None:
    model = prompted(kind)
    assert list(model.state_dict()) == ADAPTER_KEYS
    assert set(model.backbone.state_dict()) == set(backbone(kind).state_dict())
    other = prompted(kind, seed=5)
    before = snapshot(other.backbone)
    result = other.load_state_dict(model.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    assert_bit_identical(other.backbone, before)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_loading_is_strict() -> None:
    model = prompted("t5")
    weight = "backbone.shared.weight"
    frozen = snapshot(model.backbone)
    for broken, message in (
        ({k: v for k, v in model.state_dict().items() if not k.endswith("_a")}, "Missing.*low_rank_update.low_rank_a"),
        ({}, "Missing.*soft_prompt.prompt_embeddings"),
        ({**model.state_dict(), "low_rank_update.low_rank_c": torch.zeros(1)}, "Unexpected.*low_rank_c"),
        ({**model.state_dict(), weight: torch.zeros(VOCABULARY, 16)}, "Unexpected.*backbone.shared.weight"),
        ({**model.state_dict(), ADAPTER_KEYS[0]: torch.zeros(9, 16)}, "size mismatch"),
    ):
        with pytest.raises(RuntimeError, match=f"(?s){message}"):
            model.load_state_dict(broken)
    result = model.load_state_dict({weight: torch.zeros(VOCABULARY, 16)}, strict=False)
    assert result.missing_keys == ADAPTER_KEYS and result.unexpected_keys == [weight]
    assert_bit_identical(model.backbone, frozen)
    with pytest.raises(RuntimeError, match="low_rank"):
        prompted("t5", r=0).load_state_dict(model.state_dict())


class Outer(nn.Module):
    """A PromptedModel among other modules, under a name that could be mistaken for its own backbone."""

    def __init__(self, model: PromptedModel) -> None:
        super().__init__()
        self.backbone = model
        self.head = nn.Linear(2, 2)


def test_nested_in_another_module() -> None:
    outer, other = Outer(prompted("t5")), Outer(prompted("t5", seed=1))
    keys = [f"backbone.{key}" for key in ADAPTER_KEYS]
    assert list(outer.state_dict()) == [*keys, "head.weight", "head.bias"]
    other.load_state_dict(outer.state_dict())
    assert torch.equal(other.state_dict()[keys[0]], outer.state_dict()[keys[0]])
    partial = {k: v for k, v in outer.state_dict().items() if k != keys[1]}
    with pytest.raises(RuntimeError, match=r"low_rank_a"):
        other.load_state_dict(partial)


class Wrapper(nn.Module):
    """What DistributedDataParallel does to names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapper_s_prefix_is_kept() -> None:
    wrapped = Wrapper(prompted("gpt2"))
    assert list(wrapped.state_dict()) == [f"module.{key}" for key in ADAPTER_KEYS]
    wrapped.load_state_dict(wrapped.state_dict())
    assert list(wrapped.module.state_dict()) == ADAPTER_KEYS


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    model = prompted("t5")
    twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == ADAPTER_KEYS
    twin.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()})
    assert model.state_dict()[ADAPTER_KEYS[0]].abs().sum() > 0
    with pytest.raises(RuntimeError, match="Missing"):
        twin.load_state_dict({})


def test_adapter_tensors_do_not_depend_on_what_is_being_trained() -> None:
    model = prompted("t5").requires_grad_(False)
    assert list(model.adapter_tensors()) == ["prompt_embeddings", "low_rank_a", "low_rank_b"]
    assert model.trainable_parameters() == 0


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_saved_and_loaded_model_gives_the_same(kind: str, tmp_path: Path) -> None:
    model = prompted(kind)
    model.save_pretrained(tmp_path / "adapter")
    loaded = PromptedModel.from_pretrained(backbone(kind), tmp_path / "adapter").eval()
    batch = padded([tokens(6)])
    labels = labels_for(model, batch)
    assert torch.equal(model(**batch, labels=labels).logits, loaded(**batch, labels=labels).logits)
