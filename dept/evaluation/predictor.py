"""Predictions and their scores: label scoring where the task has labels, else greedy generation (paper 3.1)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import GenerationConfig, PreTrainedTokenizerBase

from dept.data.batches import evaluation_batches
from dept.data.collate import Collator
from dept.data.encoding import TextEncoder, label_token_ids
from dept.data.tokenised import TokenisedSplit
from dept.errors import ConfigError
from dept.evaluation.label_scoring import LabelTrie, continuations, score_labels
from dept.metrics.captions import JAVA_METRICS, notes
from dept.metrics.scores import compute_metrics
from dept.prompted import PromptedModel
from dept.tasks import Task


@dataclass(frozen=True)
class Prediction:
    """The prediction for one source.

    Attributes:
        text: the label's text, or the generated text.
        probabilities: each label's text -> its probability; None for generated text.
    """

    text: str
    probabilities: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split.

    Attributes:
        metrics: metric -> score in per cent.
        predictions: one for each row, in the rows' order.
        decoding: label_scoring or generate.
        samples_per_s: examples a second over the whole evaluation, all processes together.
        notes: remarks that belong to the metrics (captions scored without Java).
    """

    metrics: dict[str, float]
    predictions: list[Prediction]
    decoding: str
    samples_per_s: float
    notes: tuple[str, ...] = ()


class Predictor:
    """Turns tokenised sources into predictions.

    Args:
        model: the model, which is in eval mode during a call.
        tokenizer: the backbone's tokenizer.
        task: the task whose labels, verbalizer and target length are used.
        verbalizer: digits or words.
        decoding: label_scoring, generate, or answer_list (generation restricted to the task's answer list).
        batch_size: sources in a batch.

    Raises:
        ConfigError: decoding is label_scoring and the task has no labels, or answer_list and the list is empty.
    """

    def __init__(
        self,
        model: PromptedModel,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        *,
        verbalizer: str,
        decoding: str,
        batch_size: int = 64,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._collate = Collator.for_tokenizer(
            tokenizer, is_encoder_decoder=model.is_encoder_decoder, with_targets=False
        )
        self.decoding = decoding
        self.labels = task.verbalizer(verbalizer)
        self._trie = None
        longest = task.max_target_length
        if self.labels is not None:
            ids = label_token_ids(task, verbalizer, tokenizer, is_encoder_decoder=model.is_encoder_decoder)
            longest = max(len(label) for label in ids)
            self._trie = LabelTrie(ids) if decoding == "label_scoring" else None
        self._allowed = None
        if decoding == "answer_list":
            self._allowed = _allowed_tokens(task, tokenizer, model.is_encoder_decoder)
        # The paper's greedy search, or the task's beams; the backbone's own penalties and sampling are not used.
        self._greedy = GenerationConfig(
            max_new_tokens=longest,
            do_sample=False,
            num_beams=task.num_beams,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=self._collate.pad_token_id,
            decoder_start_token_id=model.generation_config.decoder_start_token_id,
        )

    def predict(
        self,
        items: Sequence[Mapping[str, Any]],
        lengths: Sequence[int],
        *,
        rank: int = 0,
        world: int = 1,
        on_batch: Callable[[int], None] | None = None,
    ) -> dict[int, Prediction]:
        """Predictions by row index; process `rank` of `world` takes every world-th batch.

        Args:
            items: each with source_ids, and visual_features for a model that reads images.
            lengths: tokens of each source; rows of similar length share a batch.
            on_batch: called with the number of rows done so far.

        Raises:
            ConfigError: a source does not fit the backbone's positions.
        """
        positions = len(items[0].get("visual_features", ()))
        check_positions(
            self._model, positions + max(lengths), 0 if self._trie is not None else self._greedy.max_new_tokens
        )
        done: dict[int, Prediction] = {}
        was_training = self._model.training
        self._model.eval()
        try:
            for batch in evaluation_batches(lengths, self._batch_size)[rank::world]:
                tensors = self._collate([items[row] for row in batch])
                device = self._model.device
                done.update(
                    zip(batch, self._predict_batch({k: v.to(device) for k, v in tensors.items()}), strict=True)
                )
                if on_batch is not None:
                    on_batch(len(done))
        finally:
            self._model.train(was_training)
        return done

    def _predict_batch(self, batch: Mapping[str, torch.Tensor]) -> list[Prediction]:
        if self._trie is not None and self.labels is not None:
            chosen, probabilities = score_labels(self._model, self._trie, **batch)
            return [
                Prediction(self.labels[label], dict(zip(self.labels, row, strict=True)))
                for label, row in zip(chosen.tolist(), probabilities.tolist(), strict=True)
            ]
        choice: dict[str, Any] = {} if self._allowed is None else {"prefix_allowed_tokens_fn": self._allowed}
        tokens = self._model.generate(**batch, generation_config=self._greedy, **choice)
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [Prediction(text.strip()) for text in texts]


def _allowed_tokens(
    task: Task, tokenizer: PreTrainedTokenizerBase, is_encoder_decoder: bool
) -> Callable[[int, torch.Tensor], list[int]]:
    """The `prefix_allowed_tokens_fn` of transformers' `generate`: it gives the tokens that may follow a prefix.

    Raises:
        ConfigError: the task has no answer list.
    """
    if not task.answer_list:
        raise ConfigError(f"task {task.name} has no list of answers here: train with --decoding answer_list first")
    encoder = TextEncoder(tokenizer, max_seq_length=1024, is_encoder_decoder=is_encoder_decoder)
    known = {beginning: list(tokens) for beginning, tokens in continuations(encoder.targets(task.answer_list)).items()}
    start = int(is_encoder_decoder)  # the decoder's start token comes first
    assert tokenizer.eos_token_id is not None
    ended = [int(tokenizer.eos_token_id)]

    def allowed(row: int, tokens: torch.Tensor) -> list[int]:
        return known.get(tuple(tokens[start:].tolist()), ended)

    return allowed


def check_positions(model: PromptedModel, longest_source: int, longest_target: int) -> None:
    """Check that prompt, source and target fit the backbone's learnt or configured positions (T5 has no such limit).

    Raises:
        ConfigError: they do not fit.
    """
    most = getattr(model.config, "max_position_embeddings", None)
    length = model.num_virtual_tokens + longest_source + (0 if model.is_encoder_decoder else longest_target)
    if most is not None and length > most:
        raise ConfigError(
            f"{model.num_virtual_tokens} virtual tokens, the longest source ({longest_source}) and its target are "
            f"more than the backbone's {most} positions: lower max_seq_length or num_virtual_tokens"
        )


def evaluate(
    predictor: Predictor,
    split: TokenisedSplit,
    task: Task,
    *,
    rank: int = 0,
    world: int = 1,
    on_batch: Callable[[int], None] | None = None,
    quick: bool = False,
) -> Evaluation:
    """Score a split with the task's metrics; every process gets the scores of all rows.

    Args:
        quick: leave out metrics that need a Java program and seconds (METEOR), unless it is the main metric.
    """
    names = [name for name in task.metrics if not quick or name not in JAVA_METRICS or name == task.main_metric]
    started = time.perf_counter()
    done = predictor.predict(split, split.source_lengths.tolist(), rank=rank, world=world, on_batch=on_batch)
    if world > 1:
        done = dict(gather_object(list(done.items())))
    predictions = [done[row] for row in range(len(split))]
    metrics = compute_metrics(
        names, [prediction.text for prediction in predictions], split.answers, labels=predictor.labels
    )
    seconds = time.perf_counter() - started
    return Evaluation(metrics, predictions, predictor.decoding, len(split) / seconds, notes(names))


def as_json(text: str, prediction: Prediction) -> dict[str, Any]:
    """One line of `dept predict --json`."""
    return {"text": text, "prediction": prediction.text, "probabilities": prediction.probabilities}
