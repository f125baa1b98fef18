"""Label scoring: greedy search restricted to the labels' tokens.

The labels' token sequences form a trie ("0" is two tokens in T5, "1" is one). At each branch the search takes the
likeliest of the tokens that some label continues with, so it equals generation wherever that gives a valid label. A
label's probability is the product of its branches' probabilities, renormalised at each branch.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from dept.model.padding import padded_left
from dept.parts.acting import is_acted_on
from dept.prompted import PromptedModel

_HEAD = threading.Lock()


@dataclass(frozen=True)
class Branch:
    """A node of the trie where labels diverge: the tokens before it and those that can follow."""

    prefix: tuple[int, ...]
    tokens: tuple[int, ...]


def continuations(sequences: Iterable[Sequence[int]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Each prefix of the token sequences -> the tokens that can follow it, the lowest id first."""
    following: dict[tuple[int, ...], set[int]] = {}
    for sequence in map(tuple, sequences):
        for depth, token in enumerate(sequence):
            following.setdefault(sequence[:depth], set()).add(token)
    return {beginning: tuple(sorted(tokens)) for beginning, tokens in following.items()}


class LabelTrie:
    """The labels' tokens and the branches that tell them apart.

    Args:
        label_ids: each label's tokens, the end-of-text token last (so that no label is the start of another).

    Raises:
        ValueError: fewer than two labels, two equal ones, or one that is the start of another.
    """

    def __init__(self, label_ids: Sequence[Sequence[int]]) -> None:
        labels = [tuple(ids) for ids in label_ids]
        following = continuations(labels)
        if len(labels) < 2 or len(set(labels)) < len(labels) or any(label in following for label in labels):
            raise ValueError(f"these are no two or more labels that end apart: {labels}")
        # The lowest id first, so that a tie goes to it, as in generation.
        self.branches = [Branch(prefix, tokens) for prefix, tokens in following.items() if len(tokens) > 1]
        self.num_labels = len(labels)
        # Where each label goes at the branches on its way: (branch, which of its tokens).
        self.paths = [
            [
                (index, branch.tokens.index(label[len(branch.prefix)]))
                for index, branch in enumerate(self.branches)
                if label[: len(branch.prefix)] == branch.prefix
            ]
            for label in labels
        ]

    def walk(self, branch_logits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The label that greedy search chooses, and each label's probability.

        Args:
            branch_logits: for each branch the logits of its tokens, [B, tokens].

        Returns:
            chosen label [B] and probabilities [B, labels].
        """
        shares = [logits.float().softmax(-1) for logits in branch_logits]
        taken = [F.one_hot(logits.argmax(-1), logits.shape[-1]).bool() for logits in branch_logits]
        probabilities = [torch.stack([shares[b][:, t] for b, t in path]).prod(0) for path in self.paths]
        reached = [torch.stack([taken[b][:, t] for b, t in path]).all(0) for path in self.paths]
        return torch.stack(reached, 1).int().argmax(1), torch.stack(probabilities, 1)


@torch.inference_mode()
def score_labels(
    model: PromptedModel,
    trie: LabelTrie,
    input_ids: Tensor,
    attention_mask: Tensor,
    visual_features: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The label that greedy search over the trie chooses for each source, and all labels' probabilities.

    Args:
        model: in eval mode.
        input_ids: sources, [B, L].
        attention_mask: [B, L]; padding may sit on either side.
        visual_features: [B, P, V] of the sources' images, for a model that reads them.

    Returns:
        chosen label [B] and probabilities [B, labels].
    """
    after_prefixes = _decoder_logits if model.is_encoder_decoder else _continuation_logits
    tokens = sorted({token for branch in trie.branches for token in branch.tokens})
    with model.acting(), _only_logits_of(model.backbone, tokens) as column:
        prefixes = [branch.prefix for branch in trie.branches]
        logits = after_prefixes(model, prefixes, input_ids, attention_mask, visual_features)
    # logits: [B, branches, V], or a column for each of the labels' tokens
    return trie.walk([logits[:, i, [column(t) for t in branch.tokens]] for i, branch in enumerate(trie.branches)])


@contextmanager
def _only_logits_of(backbone: PreTrainedModel, tokens: Sequence[int]) -> Iterator[Callable[[int], int]]:
    """Within the block the backbone projects onto these tokens only, not onto its vocabulary.

    Yields:
        the column of a token's logits.
    """
    head: Any = backbone.get_output_embeddings()
    # The rows of a quantised or sharded head cannot be selected, a part may act at it, and BART adds a bias as wide as
    # the vocabulary after it.
    indivisible = type(head) is not nn.Linear or hasattr(head, "_hf_hook") or is_acted_on(head)
    if indivisible or any(buffer.shape[-1:] == (head.out_features,) for buffer in backbone.buffers()):
        yield lambda token: token
        return
    narrow = nn.Linear(head.in_features, len(tokens), bias=head.bias is not None, device="meta")
    narrow.weight = nn.Parameter(head.weight[tokens], requires_grad=False)
    if head.bias is not None:
        narrow.bias = nn.Parameter(head.bias[tokens], requires_grad=False)
    with _HEAD:  # another thread must not use the narrow head
        backbone.set_output_embeddings(narrow)
        try:
            yield tokens.index
        finally:
            backbone.set_output_embeddings(head)


def _decoder_logits(
    model: PromptedModel,
    prefixes: Sequence[Sequence[int]],
    input_ids: Tensor,
    attention_mask: Tensor,
    visual_features: Tensor | None,
) -> Tensor:
    """Logits after each prefix, [B, P, V]: the encoder runs once, the decoder once over all prefixes."""
    inputs = model.embed(input_ids, attention_mask, None, visual_features)
    encoded = model.backbone.get_encoder()(
        inputs_embeds=inputs.inputs_embeds, attention_mask=inputs.attention_mask, return_dict=True
    ).last_hidden_state  # [B, M + L, D]
    batch, count = len(input_ids), len(prefixes)
    start = model.generation_config.decoder_start_token_id
    tokens, last = _padded_prefixes([[start, *prefix] for prefix in prefixes], input_ids.device)
    output = model.backbone(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded.repeat_interleave(count, 0)),
        attention_mask=inputs.attention_mask.repeat_interleave(count, 0),
        decoder_input_ids=tokens.repeat(batch, 1),  # [B * P, T]
        use_cache=False,
        return_dict=True,
    )
    logits = output.logits.unflatten(0, (batch, count))  # [B, P, T, V]
    return logits[:, torch.arange(count, device=logits.device), last]


def _continuation_logits(
    model: PromptedModel,
    prefixes: Sequence[Sequence[int]],
    input_ids: Tensor,
    attention_mask: Tensor,
    visual_features: Tensor | None,
) -> Tensor:
    """Logits after source and each prefix, [B, P, V], in one pass over B * P rows."""
    batch, count = len(input_ids), len(prefixes)
    input_ids, attention_mask = padded_left(input_ids, attention_mask)
    rows = [list(prefix) for prefix in prefixes]
    longest = max(map(len, rows))
    added = torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
    attended = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
    added, attended = (part.to(input_ids.device).repeat(batch, 1) for part in (added, attended))  # [B * P, K]
    sources = attention_mask.repeat_interleave(count, 0)
    logits = model(
        input_ids=torch.cat([input_ids.repeat_interleave(count, 0), added], 1),
        attention_mask=torch.cat([sources, attended], 1),
        source_mask=torch.cat([sources, torch.zeros_like(attended)], 1),
        visual_features=None if visual_features is None else visual_features.repeat_interleave(count, 0),
        logits_to_keep=longest + 1,
    ).logits.unflatten(0, (batch, count))  # [B, P, K + 1, V]
    last = torch.tensor([len(row) for row in rows], device=logits.device)
    return logits[:, torch.arange(count, device=logits.device), last]


def _padded_prefixes(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows padded on the right, [P, T] (causal attention never sees the padding), and each row's last position."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    return tokens, torch.tensor([len(row) - 1 for row in rows], device=device)
