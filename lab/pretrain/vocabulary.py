"""The tokenizer of `mini-t5`, and a frozen feature vector for each of its tokens.

Common words are one token each, other words are cut into pieces; everything is lower-case. A token's features are
SmolLM2's embedding, for its meaning, and a random signature, which tells tokens apart. The model learns one map from
features to embeddings, so that training also moves words which it never showed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from dept.tasks.sample import SAMPLE_TASKS
from dept.tasks.samples import lexicon
from lab.pretrain.corpora import feeling_words, frequent_words
from lab.pretrain.pictures import MORE_COLOURS, MORE_SHAPES, PICTURES

TASKS = tuple(name for name in SAMPLE_TASKS if name not in ("squad", "record"))  # these two read much like others
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(16))
WORDS = 8_000  # the most frequent English words, besides the samples' own
PIECES = 1_200  # parts of words, the first of SmolLM2's
MEANING = 192  # features of what a token means: the first principal components of SmolLM2's embeddings
SIGNATURE = 64  # features that only tell tokens apart
_MEANING_NOISE, _SIGNATURE_NOISE = 0.05, 0.09  # of each feature; together about as long as a word's features
FUNCTION_WORDS = 300  # so many most frequent words also have a vector of their own
MARK = "▁"  # before a token that starts a word, as in sentencepiece
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_NUMBERS = (*map(str, range(100)), *map(str, range(1900, 2030)))


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id. `names`: task or skill -> its name token; `own`: ids with a vector of their own."""

    tokens: tuple[str, ...]
    names: dict[str, str]
    own: tuple[int, ...]

    @property
    def ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}


def name_token(name: str) -> str:
    """The name token of a task or skill, which occurs in no text."""
    return f"<{name}>"


def make_vocabulary(skills: Sequence[str], pieces: Iterable[str]) -> Vocabulary:
    """Make the vocabulary: special tokens, marks, words by frequency, the samples' words, pieces, names.

    Args:
        skills: names besides those of the tasks.
        pieces: parts of words, the most useful first.
    """
    common = list(dict.fromkeys([*frequent_words(WORDS), *feeling_words(), *MORE_COLOURS, *MORE_SHAPES]))
    marks = [mark + sign for mark in (MARK, "") for sign in _PUNCTUATION]
    samples = sorted(_sample_words() - set(common))
    words = [MARK + word for word in dict.fromkeys([*common, *samples, *_NUMBERS, *"abcdefghijklmnopqrstuvwxyz"])]
    parts = list(dict.fromkeys([*"abcdefghijklmnopqrstuvwxyz0123456789", *pieces]))
    names = {name: name_token(name) for name in (*TASKS, *PICTURES, *skills)}
    tokens = tuple(dict.fromkeys([PAD, END, UNKNOWN, *marks, *words, MARK, *parts, *SENTINELS, *names.values()]))
    closed = {*common[:FUNCTION_WORDS], *lexicon.fixed_text(), *_NUMBERS}
    own = tuple(
        number
        for number, token in enumerate(tokens)
        if token.removeprefix(MARK) in closed or not token.removeprefix(MARK).isalpha()
    )
    return Vocabulary(tokens, names, own)


def _sample_words() -> set[str]:
    """Every plain word that sample rows of any split can hold."""
    return {part for spelling in lexicon.all_spellings() for part in re.findall("[a-z]+", spelling)}


def make_tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """A fast tokenizer: lower case, no accents, longest piece first; every text ends in the end-of-text token."""
    ids = vocabulary.ids
    tokenizer = Tokenizer(
        models.WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix="", max_input_chars_per_word=64)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(rf"{MARK}?(\p{{L}}+|\p{{N}}+|[^\p{{L}}\p{{N}}{MARK}])"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, ids[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[*SENTINELS, *vocabulary.names.values()],
        model_max_length=512,
    )


@cache
def _smollm2() -> tuple[Tensor, Any]:
    from safetensors import safe_open
    from transformers import AutoTokenizer

    from dept.backbones.smollm2 import smollm2_folder

    folder = smollm2_folder()
    with safe_open(folder / "model.safetensors", "pt") as file:
        embeddings = file.get_tensor("model.embed_tokens.weight")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return embeddings, tokenizer


def smollm2_pieces(count: int = PIECES) -> list[str]:
    """The first parts of words in SmolLM2's vocabulary, the most useful first."""
    _, tokenizer = _smollm2()
    ordered = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return [token for token, _ in ordered if re.fullmatch("[a-z]{2,6}", token)][:count]


def token_features(vocabulary: Vocabulary, seed: int) -> Tensor:
    """[V, MEANING + SIGNATURE]: SmolLM2's centred embeddings along their principal axes, normed, then the signatures.

    A word's embedding is the mean over the pieces of the word and of the capitalised word, each behind a space.
    Special tokens and names have a signature alone.
    """
    embeddings, tokenizer = _smollm2()
    texts = {}
    for number, token in enumerate(vocabulary.tokens):
        word = token.removeprefix(MARK)
        if word and not (token.startswith("<") and len(token) > 1):
            forms = [word] if not token.startswith(MARK) else [f" {word}", f" {word.capitalize()}"]
            texts[number] = forms
    meaning = torch.zeros(len(vocabulary.tokens), embeddings.shape[1])
    for number, forms in texts.items():
        pieces = [embeddings[tokenizer(form, add_special_tokens=False)["input_ids"]].mean(0) for form in forms]
        meaning[number] = torch.stack(pieces).mean(0)
    known = torch.tensor(sorted(texts))
    centred = torch.nn.functional.normalize(meaning[known] - meaning[known].mean(0), dim=1)
    spread, axes = torch.linalg.eigh((centred.T @ centred).double())
    # Half-way to whitening: it keeps similarity of meaning, but separates two names as well as two other words.
    axes = (axes * spread.clamp(min=1e-9) ** -0.25)[:, -MEANING:].float()  # [576, MEANING]
    meaning = torch.zeros(len(vocabulary.tokens), MEANING).index_copy(
        0, known, torch.nn.functional.normalize(centred @ axes, dim=1)
    )
    generator = torch.Generator().manual_seed(seed)
    signature = torch.randn(len(vocabulary.tokens), SIGNATURE, generator=generator)
    return torch.cat([meaning, 0.7 * torch.nn.functional.normalize(signature, dim=1)], 1)


def feature_noise() -> Tensor:
    """[MEANING + SIGNATURE]: the spread of the noise on each feature in the last part of training."""
    return torch.cat([torch.full((MEANING,), _MEANING_NOISE), torch.full((SIGNATURE,), _SIGNATURE_NOISE)])
