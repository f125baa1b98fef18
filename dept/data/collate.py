"""Collate rows of token ids into one padded batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dept.basics.labels import IGNORED_LABEL
from dept.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Collator:
    """Collates items of a TokenisedSplit into a batch of tensors, padded to its longest item.

    Encoder-decoder: right-padded `input_ids`, `attention_mask` [B, L], `labels` [B, T] (-100 on padding).
    Decoder-only: left-padded [padding; source; target], `labels` (-100 on padding and source) and `source_mask`
    (1 on the source, ` Label : ` included), all [B, L + T]. Without targets: the sources alone, padded alike.
    Items with an image also give `visual_features`, float32 [B, P, V].

    Args:
        pad_token_id: the id of the padding; where a tokenizer has none any id will do, since padding is masked.
        with_targets: True for training and losses, False for generation and label scoring.
        pad_to: pad sources to this length, as the paper does, and not to the batch's longest.
    """

    pad_token_id: int
    is_encoder_decoder: bool
    with_targets: bool = True
    pad_to: int | None = None

    @classmethod
    def for_tokenizer(
        cls, tokenizer: PreTrainedTokenizerBase, *, is_encoder_decoder: bool, with_targets: bool = True
    ) -> Collator:
        """A collator that pads with the tokenizer's padding token, else its end-of-text token."""
        pad = tokenizer.pad_token_id
        pad = tokenizer.eos_token_id if pad is None else pad
        return cls(0 if pad is None else int(pad), is_encoder_decoder, with_targets)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate items; raises ConfigError when a source is longer than `pad_to`."""
        batch = self._texts(items)
        if "visual_features" in items[0]:
            stacked = np.stack([item["visual_features"] for item in items])
            batch["visual_features"] = torch.from_numpy(stacked).float()
        return batch

    def _texts(self, items: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        sources = [list(item["source_ids"]) for item in items]
        targets = [list(item["target_ids"]) for item in items] if self.with_targets else [[] for _ in items]
        width = max(map(len, sources))
        if self.pad_to is not None:
            if width > self.pad_to:
                raise ConfigError(f"a source of {width} tokens does not fit into pad_to {self.pad_to}")
            width = self.pad_to
        if self.is_encoder_decoder:
            batch = {
                "input_ids": _padded(sources, width, self.pad_token_id),
                "attention_mask": _padded([[1] * len(ids) for ids in sources], width, 0),
            }
            if self.with_targets:
                batch["labels"] = _padded(targets, max(map(len, targets)), IGNORED_LABEL)
            return batch
        pairs = list(zip(sources, targets, strict=True))
        longest = max(len(source) + len(target) for source, target in pairs)
        if self.pad_to is not None:
            longest = width + max(map(len, targets))
        batch = {
            "input_ids": _padded([s + t for s, t in pairs], longest, self.pad_token_id, left=True),
            "attention_mask": _padded([[1] * len(s + t) for s, t in pairs], longest, 0, left=True),
        }
        if self.with_targets:
            labels = [[IGNORED_LABEL] * len(s) + t for s, t in pairs]
            batch["labels"] = _padded(labels, longest, IGNORED_LABEL, left=True)
            masks = [[1] * len(s) + [0] * len(t) for s, t in pairs]
            batch["source_mask"] = _padded(masks, longest, 0, left=True)
        return batch


def _padded(rows: Sequence[Sequence[int]], width: int, value: int, *, left: bool = False) -> torch.Tensor:
    """[B, width], int64."""
    filled = [
        [value] * (width - len(row)) + list(row) if left else list(row) + [value] * (width - len(row)) for row in rows
    ]
    return torch.tensor(filled, dtype=torch.long)
