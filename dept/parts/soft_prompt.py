"""The soft prompt: P of prompt tuning (Lester et al., 2021; paper 2.1), P_s of DePT (2.2).

DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-Tuning (Shi & Lipani, ICLR 2024),
https://arxiv.org/abs/2309.05173

Paper letters and our names: l `budget_tokens`, m `num_virtual_tokens`, r `rank`, s `max_seq_length`,
d `hidden_size`, A `low_rank_a`, B `low_rank_b`, alpha_1 `prompt_lr`, alpha_2 `low_rank_lr`.
Shapes in comments: B batch, M virtual tokens, L tokens, D hidden size, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.backbones.embeddings import word_embeddings
from dept.errors import ConfigError
from dept.parts.contract import PROMPT, Inputs, Part, Route

TOP_VOCABULARY = 5000  # Lester et al. (2021) sample from the 5,000 most common tokens: the lowest ids


def put_before(vectors: Tensor, inputs: Inputs) -> Inputs:
    """The input with some vectors [B, N, D] before it; they are attended and own no row of an update."""
    count = vectors.shape[1]
    return inputs._replace(
        embeds=torch.cat([vectors.to(inputs.embeds.dtype), inputs.embeds], dim=1),  # [B, N + L, D]
        mask=F.pad(inputs.mask, (count, 0), value=1),
        source=F.pad(inputs.source, (count, 0), value=0),
    )


class SoftPrompt(Part):
    """Trainable vectors that stand before the input, the same for every row.

    Args:
        num_virtual_tokens, hidden_size: M and D.
        start: "vocabulary" samples the top vocabulary, "text" repeats a text's embeddings, "random" is Gaussian.
        text: with "text" only.
    """

    key = "soft_prompt"
    order = PROMPT

    def __init__(self, num_virtual_tokens: int, hidden_size: int, start: str, text: str | None = None) -> None:
        super().__init__()
        self.prompt_embeddings = nn.Parameter(torch.zeros(num_virtual_tokens, hidden_size))  # [M, D]
        self._start, self._text = start, text

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {"prompt": {"prompt_embeddings": self.prompt_embeddings}}

    @torch.no_grad()
    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.prompt_embeddings.copy_(self._starting_values(backbone, tokenizer))

    def _starting_values(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> Tensor:
        embeddings, count = word_embeddings(backbone), self.virtual_tokens
        if self._start == "random":
            return prompt_at_random(embeddings, count)
        if self._start == "text":
            if tokenizer is None:
                raise ConfigError("prompt_init 'text' needs the backbone's tokenizer")
            token_ids = tokenizer(self._text, add_special_tokens=False)["input_ids"]
            if not token_ids:
                raise ConfigError(f"prompt_init_text {self._text!r} has no tokens")
            return prompt_from_text(embeddings, token_ids, count)
        special = set()
        for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
            value = getattr(backbone.config, name, None)
            special.update(value if isinstance(value, list) else [] if value is None else [value])
        return prompt_from_vocabulary(embeddings, count, sorted(special))

    @property
    def virtual_tokens(self) -> int:
        return len(self.prompt_embeddings)

    def fixed_prompt(self) -> Tensor:
        return self.prompt_embeddings

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        return put_before(self.prompt_embeddings.expand(len(inputs.embeds), -1, -1), inputs)


def prompt_from_vocabulary(embeddings: Tensor, num_virtual_tokens: int, special_ids: Sequence[int] = ()) -> Tensor:
    """Embeddings of tokens drawn from the top vocabulary (Lester et al., 2021), distinct as far as they suffice.

    Args:
        embeddings: [V, D].
        special_ids: ids never sampled (padding, end of text).

    Returns:
        [M, D], a copy.
    """
    allowed = torch.ones(min(TOP_VOCABULARY, len(embeddings)), dtype=torch.bool)
    allowed[[i for i in special_ids if 0 <= i < len(allowed)]] = False
    candidates = allowed.nonzero().squeeze(1)
    repeats = math.ceil(num_virtual_tokens / len(candidates))
    order = torch.cat([torch.randperm(len(candidates)) for _ in range(repeats)])[:num_virtual_tokens]
    return embeddings[candidates[order].to(embeddings.device)].clone()


def prompt_from_text(embeddings: Tensor, token_ids: Sequence[int], num_virtual_tokens: int) -> Tensor:
    """Word embeddings of a text, repeated or cut to the prompt's length (the authors' release), [M, D].

    Args:
        embeddings: [V, D].
        token_ids: the text's tokens without special ones, at least one.
    """
    ids = [token_ids[i % len(token_ids)] for i in range(num_virtual_tokens)]
    return embeddings[torch.tensor(ids, dtype=torch.long, device=embeddings.device)].clone()


def prompt_at_random(embeddings: Tensor, num_virtual_tokens: int) -> Tensor:
    """Gaussian vectors with the mean and spread of the backbone's word embeddings [V, D]: [M, D]."""
    top = embeddings[:TOP_VOCABULARY].float()
    noise = torch.randn(num_virtual_tokens, embeddings.shape[1]).to(top.device)
    return top.mean() + top.std() * noise
