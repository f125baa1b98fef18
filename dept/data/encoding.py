"""Encode texts as token ids, sources and targets apart; decide how ` Label : ` is divided between the two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dept.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dept.tasks import Task

LABEL_CUE = " Label : "


class TextEncoder:
    """Encodes sources and targets as token ids, for one kind of backbone.

    Args:
        tokenizer: the backbone's own.
        max_seq_length: s, the most tokens that a source may have (` Label : ` and the end-of-text token included).
        max_target_length: the most tokens that a target may have, end-of-text included; None for no limit.

    Raises:
        ConfigError: the tokenizer has no end-of-text token, or max_seq_length leaves no room for text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_seq_length: int,
        is_encoder_decoder: bool,
        max_target_length: int | None = None,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError("the backbone's tokenizer has no end-of-text token (eos_token); set one")
        self._tokenizer = tokenizer
        self._is_encoder_decoder = is_encoder_decoder
        self._max_seq_length = max_seq_length
        self._max_target_length = max_target_length
        self._start = [] if is_encoder_decoder else self._start_ids()
        self._cue, self._after_cue = ([], "") if is_encoder_decoder else self._boundary()
        self._room = max_seq_length - len(self._start) - len(self._cue)
        if self._room < 1 + int(is_encoder_decoder):  # the encoder-decoder's end-of-text token counts too
            raise ConfigError(f"max_seq_length {max_seq_length} leaves no room for any source text; raise it")

    def _boundary(self) -> tuple[list[int], str]:
        """The only place that divides ` Label : ` between source and target of a decoder-only backbone.

        The text is always `source + " Label : " + target`, as in the authors' release. Its last space goes
        with the target: a BPE vocabulary has " negative" as one frequent token, while a space on its own is a
        rare one that no word follows (SmolLM2-135M on SST-2, no prompt, nothing trained: 68% right with the
        space on the target, 56% on the source).

        Returns the ids of the source's share, and the text before the target, which decides the target's first id.
        """
        cue = LABEL_CUE.removesuffix(" ")
        return self._continuations("a", [cue])[0], "a" + cue

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens; with `verbose` the tokenizer would warn of texts longer than its context."""
        return self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def _continuations(self, before: str, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as a continuation of `before`; on its own, sentencepiece would put a space in front."""
        head, *joined = self._plain([before, *(before + text for text in texts)])
        return [
            ids[len(head) :] if ids[: len(head)] == head else self._plain([text])[0]
            for ids, text in zip(joined, texts, strict=True)
        ]

    def _start_ids(self) -> list[int]:
        """The ids that the tokenizer puts before a text by default (LLaMA: begin-of-text; GPT-2: none)."""
        bare = self._plain(["a"])[0]
        full = self._tokenizer(["a"], verbose=False)["input_ids"][0]
        starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[: next(starts, 0)]

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of sources, at most s each: a longer text is cut, but keeps its end-of-text token or ` Label : `."""
        if not texts:
            return []
        if self._is_encoder_decoder:
            return self._tokenizer(list(texts), truncation=True, max_length=self._max_seq_length)["input_ids"]
        return [[*self._start, *ids[: self._room], *self._cue] for ids in self._plain(texts)]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of targets, the end-of-text token last."""
        if not texts:
            return []
        if self._is_encoder_decoder:
            encoded = self._tokenizer(text_target=list(texts), verbose=False)["input_ids"]
        else:
            encoded = self._continuations(self._after_cue, [" " + text for text in texts])
        eos = self._tokenizer.eos_token_id
        room = None if self._max_target_length is None else self._max_target_length - 1
        return [[*(ids[:-1] if ids[-1:] == [eos] else ids)[:room], eos] for ids in encoded]


def label_token_ids(
    task: Task, verbalizer: str, tokenizer: PreTrainedTokenizerBase, *, is_encoder_decoder: bool
) -> list[list[int]]:
    """The target ids of each label, in the labels' order, end-of-text last ("0" is two more in T5).

    Raises:
        ConfigError: the task has no such verbalizer, or two labels become the same tokens.
    """
    labels = task.verbalizer(verbalizer)
    if labels is None:
        raise ConfigError(f"task {task.name} has no labels to score; use decoding: generate")
    encoder = TextEncoder(tokenizer, max_seq_length=1024, is_encoder_decoder=is_encoder_decoder)
    ids = encoder.targets(labels)
    if len({tuple(label) for label in ids}) < len(ids):
        raise ConfigError(f"two labels of {task.name} ({', '.join(labels)}) are the same tokens for this tokenizer")
    return ids


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 hex of everything that decides a tokenizer's ids: vocabulary, rules, special tokens."""
    content: dict[str, Any]
    if tokenizer.is_fast:
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        # These two hold the settings of the last call, so they change as the tokenizer is used.
        content.pop("truncation", None)
        content.pop("padding", None)
    else:
        content = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    described = json.dumps({"content": content, "special": special}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()
