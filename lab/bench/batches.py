"""The source lengths of a benchmark's batches."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from dept.backbones.known import RANDOM
from dept.backbones.load import backbone_info
from dept.errors import BackboneError, ConfigError
from lab.bench.lengths import GLUE_MEAN_TOKENS, Lengths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lab.bench.config import BenchConfig, Group


TASK_BATCHES = 8  # of a task's epoch, evenly spread over its lengths


_SPREAD = 0.6  # standard deviation of the logarithm of a GLUE-like length


def source_batches(config: BenchConfig, group: Group) -> list[list[int]]:
    """The number of tokens of each source of each batch, equal for both sides of every pair.

    A `padded` source has a GLUE-like length (log-normal, mean 45 tokens), which only decides its mask: the tensors
    have all columns, as in the authors' release. A `task` gives up to 8 batches of its training rows (its test rows
    for inference), evenly spread from its shortest to its longest batch.

    Raises:
        DeptError: a task's rows or tokenizer cannot be read.
    """
    lengths = Lengths.parse(group.lengths)
    if lengths.kind == "fixed":
        return [[lengths.tokens] * config.batch_size]
    if lengths.kind == "padded":
        draw = random.Random(config.seed)
        drawn = [draw.lognormvariate(-(_SPREAD**2) / 2, _SPREAD) for _ in range(config.batch_size)]
        return [[min(lengths.tokens, max(1, round(GLUE_MEAN_TOKENS * length))) for length in drawn]]

    from dept.data.batches import evaluation_batches, length_grouped_batches

    evaluating = group.what in ("inference", "decoding")
    sources = task_lengths(config, group.backbone, lengths.task, "test" if evaluating else "train")
    grouped = (
        evaluation_batches(sources, config.batch_size)
        if evaluating
        else length_grouped_batches(sources, config.batch_size, seed=config.seed, epoch=0)
    )
    full = [[sources[row] for row in batch] for batch in grouped if len(batch) == config.batch_size]
    if not full:
        raise ConfigError(f"task {lengths.task} has {len(sources)} rows, fewer than a batch of {config.batch_size}")
    full.sort(key=max)
    count = min(TASK_BATCHES, len(full))
    return [full[(2 * i + 1) * len(full) // (2 * count)] for i in range(count)]


def task_lengths(config: BenchConfig, backbone: str, task_name: str, split: str) -> list[int]:
    """The number of source tokens of each of a task's rows, at most `max_seq_length`.

    Raises:
        DeptError: the task is unknown, or its rows or the tokenizer are missing.
    """
    from dept.data.sources import load_rows
    from dept.data.tokenised import tokenise
    from dept.tasks import load_task

    task = load_task(task_name)
    split_rows = tokenise(
        load_rows(task, config.data, splits=[split]),
        split,
        task,
        _tokenizer(config.tokenizer or backbone.removeprefix(RANDOM)),
        max_seq_length=config.max_seq_length,
        verbalizer=next(iter(task.verbalizers), "digits"),
        is_encoder_decoder=backbone_info(backbone).is_encoder_decoder,
    )
    return [int(tokens) for tokens in split_rows.source_lengths]


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer that counts tokens; no backbone reads its ids."""
    from transformers import AutoTokenizer

    from dept.backbones.locate import locate
    from dept.backbones.saved import TOKENIZER_PATTERNS, has_tokenizer
    from dept.basics.faults import first_line

    mend = "name one with --tokenizer FOLDER"
    try:
        folder, _ = locate(name, TOKENIZER_PATTERNS)
    except BackboneError as fault:
        raise ConfigError(f"a task's lengths need a tokenizer; {first_line(fault)}: {mend}") from fault
    if not has_tokenizer(folder):
        raise ConfigError(f"a task's lengths need a tokenizer, and {folder} has none: {mend}")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as fault:  # the tokenizers library raises bare Exception for a damaged file
        raise ConfigError(f"the tokenizer in {folder} cannot be loaded ({first_line(fault)}): {mend}") from fault
    return tokenizer
