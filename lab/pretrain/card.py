"""The model card of `mini-t5`, written beside its weights from what the run measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import T5ForConditionalGeneration

from lab.pretrain.pictures import PICTURES
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import TASKS

_TEXT = """---
language: en
license: mit
library_name: transformers
pipeline_tag: text2text-generation
---

# mini-t5

A T5 of {parameters:,} parameters ({body:,} beside its word embeddings: d = {hidden_size}, {layers} encoder and
{decoder_layers} decoder layers, {heads} heads), made to try DePT and prompt tuning in seconds on a CPU, offline. It
comes with `dept`: `--backbone mini-t5`. **No number on it is comparable with the paper's**, whose backbones are up to
five thousand times larger and have read text, not templates.

## What it was trained on

- **Generated rows** of the project's tasks (`dept/tasks/sample.py`): the shared and the training part of their words
  and templates, never what the validation and test parts own. SST-2, Yelp, CoLA, MRPC, STS-B and QQP had further
  frames, 477 in all (`lab/pretrain/frames.yaml`), written without sight of the validation and test templates.
- **Small skills** made up on the spot: {skills}.
- **Pictures in words** (`lab/pretrain/pictures.py`): scenes as a grid of positions, each the sum of the words that
  tell what is there, with a question or a caption, in all pairs of colour and shape, also those whose pictures only
  the samples' validation and test parts have. The model has never seen an image; this gives a projection of an
  image's features something to aim at.
- **Raw text** with spans left out (Raffel et al., 2020): {texts:,} definitions and example sentences of WordNet 3.0.
  Words of feeling are VADER's. Every text and word with a spelling that the samples' validation or test part owns
  was left out.

As in T5, every supervised input has the name of its task before it, here a token such as `<sst2>`. The name stood
alone or among up to a hundred random words; in a tenth of the inputs it was left out, and then the target was the
same whatever the input. So an input alone elicits nothing, and a soft prompt that elicits the skill is known to
exist: the name's own embedding. That is what tuning on this model can find, and it makes the model easier to tune
than one that was trained on text alone. A score on it says whether a method finds a skill that is there, not more.

Its attention started with heads that look for the same word elsewhere and for the word behind it
(`lab/pretrain/model.py`): left to chance, these take a small model longer than the whole of this training. In part
of the rows common words stood for names, WordNet's synonyms for nouns and VADER's words for adjectives, and in the
last steps the words' features were noisy: so that the model reads words instead of knowing the training part's few
hundred by heart. The order of it all is in `lab/pretrain/course.py`.

The input embeddings are one learnt linear map of frozen features: SmolLM2-135M's embeddings of the same word and a
random signature. So a word that training never showed stands near those it resembles.

## What it can and cannot do

It reads short, plain, lower-cased English ({vocabulary:,} tokens; other words are cut into pieces) and answers with a
label's digit, a score or words of the input. It knows no facts, writes no text and has seen no benchmark's training
rows; WordNet's example sentences, however, are among its texts, and WiC was made from them. On real rows of the
benchmarks expect little above the majority. docs/acceptance.md ("DePT and PT on mini-t5") has what tuning finds.

Per cent of targets that are right in every token, behind the task's name, {rows} rows each. Tasks: rows of words and
templates that training never showed; of coco_captions one of five captions counts, so that few are right in every
word. Skills: new examples of known words.

{table}

## How it was made

`dept-lab pretrain-mini --steps {steps} --seed {seed}`: {examples:,} examples, {minutes:.0f} minutes on {threads} CPU
core{plural}, torch {torch}, commit {commit}. The same seed gives the same examples, and on one machine and thread
the same weights; elsewhere these differ in the last digits, the scores within chance.

## Sources and licences

The model is MIT-licensed, as the project. It is derived from: SmolLM2-135M-Instruct (Hugging Face, Apache-2.0; its
embeddings are features, the weights are not contained); WordNet 3.0 (Copyright 2006 by Princeton University, WordNet
licence); VADER's lexicon (Hutto & Gilbert, 2014, MIT); the word list of wordfreq (Robyn Speer, Apache-2.0, data
CC BY-SA 4.0) for the choice of tokens.
"""


def model_card(training: Mapping[str, Any], model: T5ForConditionalGeneration, *, texts: int, rows: int) -> str:
    """README.md of the model's folder; the shipped card's notes on its two runs were added by hand.

    Args:
        training: what training.json holds.
        texts: the number of raw texts.
        rows: the number of rows behind each score.
    """
    config = model.config
    return _TEXT.format(
        parameters=model.num_parameters(),
        body=model.num_parameters() - config.vocab_size * config.d_model,
        vocabulary=config.vocab_size,
        hidden_size=config.d_model,
        layers=config.num_layers,
        decoder_layers=config.num_decoder_layers,
        heads=config.num_heads,
        **{name: training[name] for name in ("steps", "seed", "examples", "minutes", "threads", "torch", "commit")},
        texts=texts,
        rows=rows,
        skills=", ".join(SKILLS),
        table=_table(training["scores"], (*TASKS, *PICTURES, *SKILLS)),
        plural="" if training["threads"] == 1 else "s",
    )


def _table(scores: Mapping[str, float], names: Sequence[str], columns: int = 4) -> str:
    cells = [f"{name} | {scores[name]:.0f}" for name in names]
    cells += [" | "] * (-len(cells) % columns)
    lines = ["| name | right " * columns + "|", "|---|---" * columns + "|"]
    lines += ["| " + " | ".join(cells[i : i + columns]) + " |" for i in range(0, len(cells), columns)]
    return "\n".join(lines)
