"""Count what a real step does: FLOPs, what autograd keeps for backward, and what is live in inference."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from dept import DeptConfig, PromptedModel, get_prompted_model
from dept.backbones.random_weights import random_backbone
from dept.methods.contract import MethodConfig


def _fused(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _fused_backward(gradient: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# The CPU's fused attention, which FlopCounterMode leaves out; counted as the GPU's, whose backward has five products.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_backward,
}


def prompted(config: Mapping[str, Any], num_virtual_tokens: int, rank: int) -> PromptedModel:
    """DePT's model of a config's shape."""
    method = DeptConfig(
        num_virtual_tokens=num_virtual_tokens,
        rank=rank,
        max_seq_length=256,
        budget_tokens=10_000,
        prompt_init="random",
    )
    return adapted(config, method)


def adapted(config: Mapping[str, Any], method: MethodConfig) -> PromptedModel:
    """A model of a config's shape with random weights, in training mode as the training loop has it."""
    shape = AutoConfig.for_model(**config)
    auto_class = AutoModelForSeq2SeqLM if shape.is_encoder_decoder else AutoModelForCausalLM
    backbone = random_backbone(auto_class, shape, torch.float32)
    return get_prompted_model(backbone, method).train()


def sources(model: PromptedModel, length: int, batch_size: int, padding: bool) -> dict[str, Tensor]:
    """Random sources as the collator gives them: one shorter than the others where there is padding."""
    mask = torch.ones(batch_size, length, dtype=torch.long)
    if padding:
        mask[0, slice(-2, None) if model.is_encoder_decoder else slice(2)] = 0
    return {"input_ids": torch.randint(3, 100, (batch_size, length)), "attention_mask": mask}


def training_batch(
    model: PromptedModel, source_length: int, batch_size: int, target_length: int, padding: bool
) -> dict[str, Any]:
    """The arguments that dept.training.loop.train gives a model for one step."""
    labels = torch.randint(3, 100, (batch_size, target_length))
    items = {"num_items_in_batch": labels.numel()}
    batch = sources(model, source_length, batch_size, padding)
    if model.is_encoder_decoder:
        return {**batch, "labels": labels, **items}
    ignored = torch.full((batch_size, source_length), -100)
    ones = torch.ones_like(labels)
    return {
        "input_ids": torch.cat([batch["input_ids"], labels], 1),
        "attention_mask": torch.cat([batch["attention_mask"], ones], 1),
        "source_mask": torch.cat([batch["attention_mask"], torch.zeros_like(ones)], 1),
        "labels": torch.cat([ignored, labels], 1),
        "logits_to_keep": target_length + 1,
        **items,
    }


def count_flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        run()
    return counter.get_total_flops()


def count_kept_bytes(model: PromptedModel, run: Callable[[], object]) -> int:
    """Storages that autograd keeps for the backward pass, each once, parameters and buffers aside."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()  # noqa: F841 - while it lives the graph does, and no address is used twice
    return sum(kept.values())


class LiveBytes(TorchDispatchMode):
    """The most bytes that operators' results hold at one time; what was there before is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _address(leaf) not in given | self._live.keys():
                storage = leaf.untyped_storage()
                self._live[_address(leaf)] = storage.nbytes()
                weakref.finalize(storage, self._live.pop, _address(leaf))
        self.peak = max(self.peak, sum(self._live.values()))
        return result


def _address(tensor: Tensor) -> int:
    """Of the storage itself: empty ones share the address of their data."""
    return int(tensor.untyped_storage()._cdata)
