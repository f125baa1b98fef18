"""How texts become ids: T5's own way, and ` Label : ` between source and target of decoder-only backbones."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dept.data.encoding import LABEL_CUE, TextEncoder, label_token_ids, tokenizer_fingerprint
from dept.errors import ConfigError
from dept.tasks import load_task

TEXTS = [
    "sentence: a fine film Label : positive",
    "sentence: a poor film Label : negative",
    "premise: it is 1999 hypothesis: no",
]


def gpt2_like(*, start: bool = False, end: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, small enough to train here; optionally with begin- and end-of-text tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    if start or end:
        single = f"{'<s> ' if start else ''}$A{' <|endoftext|>' if end else ''}"
        special = [("<|endoftext|>", 0), ("<s>", 1)]
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<s>")


def llama_like() -> PreTrainedTokenizerFast:
    """Words with sentencepiece's mark, put before the first word too, and a begin-of-text token: LLaMA-2's ways."""
    words = ["▁" + word for text in TEXTS for word in text.split()]
    vocabulary = dict.fromkeys(["<unk>", "<s>", "</s>", "▁a", *words, "▁Label", "▁:", "▁0", "▁1", "▁"])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def t5(shared: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(shared / "t5_tokenizer")


def test_t5_ids_are_the_tokenizers_own(t5: PreTrainedTokenizerBase) -> None:
    encoder = TextEncoder(t5, max_seq_length=8, is_encoder_decoder=True)
    short, long = encoder.sources(["sentence: fine", "word " * 50])
    assert short == t5("sentence: fine")["input_ids"] and short[-1] == t5.eos_token_id
    assert len(long) == 8 and long[-1] == t5.eos_token_id
    assert encoder.targets(["negative"]) == [t5("negative")["input_ids"]]
    assert encoder.sources([]) == [] and encoder.targets([]) == []


def test_t5_labels(t5: PreTrainedTokenizerBase) -> None:
    ids = label_token_ids(load_task("sst2"), "digits", t5, is_encoder_decoder=True)
    assert [t5.convert_ids_to_tokens(label) for label in ids] == [["▁", "0", "</s>"], ["▁1", "</s>"]]


def test_decoder_only_keeps_the_released_text() -> None:
    tokenizer = gpt2_like()
    encoder = TextEncoder(tokenizer, max_seq_length=64, is_encoder_decoder=False)
    (source,), (target,) = encoder.sources([TEXTS[0]]), encoder.targets(["negative"])
    assert tokenizer.decode(source + target) == TEXTS[0] + LABEL_CUE + "negative<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(source)[-2:] == ["ĠLabel", "Ġ:"]
    assert tokenizer.convert_ids_to_tokens(target) == ["Ġnegative", "<|endoftext|>"]
    # The whole as one text has the same ids: the cut is where BPE itself cuts.
    assert source + target[:-1] == tokenizer(TEXTS[0] + LABEL_CUE + "negative")["input_ids"]


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("end", [False, True])
def test_only_what_stands_before_a_text_is_added(start: bool, end: bool) -> None:
    encoder = TextEncoder(gpt2_like(start=start, end=end), max_seq_length=64, is_encoder_decoder=False)
    (source,) = encoder.sources([TEXTS[0]])
    assert source.count(1) == int(start) and (source[0] == 1) == start  # <s>
    assert 0 not in source  # the end-of-text token belongs to the target
    assert encoder.targets(["yes"])[0].count(0) == 1


@pytest.mark.parametrize("length", [4, 5, 9, 40])
def test_truncation_keeps_label(length: int) -> None:
    tokenizer = gpt2_like(start=True)
    (source,) = TextEncoder(tokenizer, max_seq_length=length, is_encoder_decoder=False).sources(["film " * 300])
    assert len(source) == length and source[0] == tokenizer.bos_token_id
    assert str(tokenizer.decode(source)).endswith(LABEL_CUE.rstrip())


def test_sentencepiece_gets_no_second_space() -> None:
    tokenizer = llama_like()
    encoder = TextEncoder(tokenizer, max_seq_length=64, is_encoder_decoder=False)
    (source,), (target,) = encoder.sources(["sentence: a fine film"]), encoder.targets(["negative"])
    assert tokenizer.convert_ids_to_tokens(source) == ["<s>", "▁sentence:", "▁a", "▁fine", "▁film", "▁Label", "▁:"]
    assert tokenizer.convert_ids_to_tokens(target) == ["▁negative", "</s>"]


def test_long_targets_are_cut_before_their_end() -> None:
    tokenizer = gpt2_like()
    encoder = TextEncoder(tokenizer, max_seq_length=64, is_encoder_decoder=False, max_target_length=4)
    (target,) = encoder.targets(["one two three four five six"])
    assert len(target) == 4 and target[-1] == tokenizer.eos_token_id
    assert encoder.targets([""])[0][-1] == tokenizer.eos_token_id


def test_what_cannot_be_used() -> None:
    tokenizer = gpt2_like()
    with pytest.raises(ConfigError, match="leaves no room"):
        TextEncoder(tokenizer, max_seq_length=2, is_encoder_decoder=False)
    with pytest.raises(ConfigError, match="no labels to score"):
        label_token_ids(load_task("squad"), "digits", tokenizer, is_encoder_decoder=False)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no end-of-text token"):
        TextEncoder(tokenizer, max_seq_length=64, is_encoder_decoder=False)


def test_labels_that_a_tokenizer_cannot_tell_apart() -> None:
    with pytest.raises(ConfigError, match="same tokens"):
        label_token_ids(load_task("mnli"), "words", llama_like(), is_encoder_decoder=False)  # unknown words


def test_tokenizer_fingerprint() -> None:
    tokenizer = gpt2_like()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "longer text"], padding=False, truncation=True, max_length=3)  # leaves settings behind
    assert tokenizer_fingerprint(tokenizer) == before
    assert tokenizer_fingerprint(gpt2_like()) == before
    assert tokenizer_fingerprint(gpt2_like(start=True)) != before
    tokenizer.add_tokens(["new"])
    assert tokenizer_fingerprint(tokenizer) != before
