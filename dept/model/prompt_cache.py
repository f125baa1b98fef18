"""A cache for inference: the soft prompt's keys and values in a decoder-only backbone.

The prompt comes first and attends only to itself, so its keys and values do not depend on the input: one pass over
the prompt serves every batch. A cache is filled and used only in eval mode with gradients off, and computed again
when any parameter has changed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from dept.backbones.fingerprints import signature


class PromptCache:
    """Keys and values of one prompt on one backbone: [1, heads, M, head dim] a layer."""

    def __init__(
        self, backbone: PreTrainedModel, prompt: Tensor, trained: Sequence[Tensor], takes_position_ids: bool
    ) -> None:
        """Run the prompt [M, D] through the backbone once, without its head.

        Args:
            trained: all tensors of the adapter, since those that act inside the backbone change keys and values too.
        """
        arguments: dict[str, Any] = {"attention_mask": prompt.new_ones(1, len(prompt), dtype=torch.long)}
        if takes_position_ids:
            arguments["position_ids"] = torch.arange(len(prompt), device=prompt.device)[None]
        embeddings: Any = backbone.get_input_embeddings()
        dtype = embeddings.weight.dtype
        body = backbone.base_model
        output = body(inputs_embeds=prompt[None].to(dtype), use_cache=True, return_dict=True, **arguments)
        cache: Any = output.get("past_key_values")
        # Layers of another kind (sliding windows, recurrent states) are not the plain lists that `for_batch` repeats.
        plain = isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)
        self.usable = plain
        self._layers = [(layer.keys, layer.values) for layer in cache.layers] if plain else []
        self._prompt = prompt.detach().clone()
        self._parameters = signature((*body.parameters(), *trained))

    def still_holds(self, backbone: PreTrainedModel, prompt: Tensor, trained: Sequence[Tensor]) -> bool:
        """Whether neither the adapter nor the backbone has changed; the prompt is compared by value, too."""
        same_place = prompt.device == self._prompt.device and prompt.shape == self._prompt.shape
        signed = signature((*backbone.base_model.parameters(), *trained))
        return same_place and signed == self._parameters and torch.equal(prompt, self._prompt)

    def for_batch(self, batch_size: int) -> DynamicCache:
        """A new cache for one batch, which generation extends: the prompt's keys and values, repeated."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self._layers):
            cache.update(keys.expand(batch_size, -1, -1, -1), values.expand(batch_size, -1, -1, -1), index)
        return cache
