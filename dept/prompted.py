"""Wrapping a backbone: fresh parts at the size that the method gives; an adapted backbone saved and loaded."""

from pathlib import Path
from typing import Any, Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.adapters import store
from dept.backbones.embeddings import word_embeddings
from dept.errors import BackboneError
from dept.methods.contract import MethodConfig
from dept.model.adapted import AdaptedModel
from dept.model.facts import facts_of
from dept.parts.visual_projection import VisualProjection


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
    """Wrap a backbone with the fresh parts of a method (paper 2.1, 2.2); the backbone is frozen in place.

    Starting values are drawn from torch's global generator: seed it for the same start.

    Args:
        backbone: a transformers encoder-decoder or decoder-only model, recognised by its config.
        config: the method; what is "auto" is resolved for this backbone.
        tokenizer: needed for `prompt_init="text"` only.
        visual_width: of an image encoder's features (`VisionTower.width`), for a model that reads images; its
            projection is drawn last, so that the method's parts start as they do without.

    Raises:
        BackboneError: a backbone that cannot generate text.
        ConfigError: nothing to train, a text without a tokenizer, a method that has no place in this backbone.

    Warns:
        UserWarning: an explicit rank that takes more parameters than the budget.
    """
    if not backbone.can_generate():
        raise BackboneError(
            f"{type(backbone).__name__} is neither an encoder-decoder nor a decoder-only language model"
        )
    facts = facts_of(backbone)
    config = config.resolved(facts)
    parts = config.parts(backbone, facts)
    drawn = sorted(parts, key=lambda part: part.order)
    if visual_width is not None:
        parts.append(VisualProjection(visual_width, facts.hidden_size))
        drawn.append(parts[-1])
    device = word_embeddings(backbone).device
    for part in drawn:
        if not part.acts_inside:  # parts inside the backbone are where its layers are
            part.to(device)
        part.initialise(backbone, tokenizer)
    return PromptedModel(backbone, config, parts)
