"""Wrapping a backbone: a fresh prompt and update at the size that the budget gives."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.adapters import store
from dept.backbones.embeddings import embedding_rms, word_embeddings
from dept.errors import BackboneError, ConfigError
from dept.methods.budget import rank_for, split_of
from dept.model.adapted import AdaptedModel
from dept.parts.low_rank_update import LowRankUpdate
from dept.parts.soft_prompt import SoftPrompt, prompt_at_random, prompt_from_text, prompt_from_vocabulary
from dept.parts.visual_projection import VisualProjection
from dept.runs.settings import DeptConfig, MethodConfig


class PromptedModel(AdaptedModel):
    """An adapted backbone that can be saved and loaded; made by `get_prompted_model` and `from_pretrained`."""

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Write the adapter folder; see `dept.adapters.store.save_adapter` for what can be added to it."""
        store.save_adapter(self, folder, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Upload the adapter folder; see `dept.adapters.store.push_to_hub`. Returns the commit's address."""
        return store.push_to_hub(self, repo_id, **kwargs)

    @classmethod
    def from_pretrained(cls, backbone: PreTrainedModel, folder: str | Path, **kwargs: Any) -> Self:
        """The model of an adapter folder or hub id; see `dept.adapters.store.load_adapter`."""
        return store.load_adapter(backbone, folder, model_class=cls, **kwargs)


def get_prompted_model(
    backbone: PreTrainedModel,
    config: MethodConfig,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    visual_width: int | None = None,
) -> PromptedModel:
    """Wrap a backbone with a fresh prompt (paper 2.1, 2.2); the backbone is frozen in place.

    The prompt and A are drawn from torch's global generator: seed it for the same start.

    Args:
        backbone: a transformers encoder-decoder or decoder-only model, recognised by its config.
        config: the method; a rank of "auto" is resolved for this backbone, never above the budget.
        tokenizer: needed for `prompt_init="text"` only.
        visual_width: of an image encoder's features (`VisionTower.width`), for a model that reads images; its
            projection is drawn last, so that prompt and A start as they do without.

    Raises:
        BackboneError: a backbone that cannot generate text.
        ConfigError: nothing to train, or a text without a tokenizer.

    Warns:
        UserWarning: an explicit rank that takes more parameters than the budget.
    """
    if not backbone.can_generate():
        raise BackboneError(
            f"{type(backbone).__name__} is neither an encoder-decoder nor a decoder-only language model"
        )
    embeddings = word_embeddings(backbone)
    hidden_size = embeddings.shape[1]
    update = None
    if isinstance(config, DeptConfig):
        config = _resolve_rank(config, hidden_size)
        assert isinstance(config.rank, int)
        if config.rank:
            update = LowRankUpdate(
                config.max_seq_length,
                config.rank,
                hidden_size,
                alpha=config.low_rank_alpha,
                init=config.low_rank_init,
            ).to(embeddings.device)
    prompt = None
    if config.num_virtual_tokens:
        prompt = SoftPrompt(_initial_prompt(backbone, embeddings, config, tokenizer))
    if prompt is None and update is None:
        raise ConfigError("the budget leaves neither a prompt nor a rank: there is nothing to train")
    projection = None
    if visual_width is not None:
        projection = VisualProjection(visual_width, hidden_size, scale=embedding_rms(backbone)).to(embeddings.device)
    return PromptedModel(backbone, config, prompt, update, projection)


def _resolve_rank(config: DeptConfig, hidden_size: int) -> DeptConfig:
    length, budget = config.max_seq_length, config.budget_tokens
    if config.rank == "auto":
        rank = rank_for(config.num_virtual_tokens, hidden_size, length, budget)
        return dataclasses.replace(config, rank=rank)
    split = split_of(config.num_virtual_tokens, config.rank, hidden_size, length, budget)
    if split.over_budget:
        warnings.warn(
            f"rank {config.rank} with {config.num_virtual_tokens} virtual tokens takes "
            f"{split.trainable_parameters:,} parameters, {-split.left_over:,} more than the budget of "
            f"{budget} x {hidden_size}",
            stacklevel=3,
        )
    return config


def _initial_prompt(
    backbone: PreTrainedModel,
    embeddings: Tensor,
    config: MethodConfig,
    tokenizer: PreTrainedTokenizerBase | None,
) -> Tensor:
    if config.prompt_init == "random":
        return prompt_at_random(embeddings, config.num_virtual_tokens)
    if config.prompt_init == "text":
        if tokenizer is None:
            raise ConfigError("prompt_init 'text' needs the backbone's tokenizer")
        token_ids = tokenizer(config.prompt_init_text, add_special_tokens=False)["input_ids"]
        if not token_ids:
            raise ConfigError(f"prompt_init_text {config.prompt_init_text!r} has no tokens")
        return prompt_from_text(embeddings, token_ids, config.num_virtual_tokens)
    special = set()
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        value = getattr(backbone.config, name, None)
        special.update(value if isinstance(value, list) else [] if value is None else [value])
    return prompt_from_vocabulary(embeddings, config.num_virtual_tokens, sorted(special))
