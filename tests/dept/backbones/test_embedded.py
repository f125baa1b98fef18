"""mini-t5 as it is shipped: small, quick to load, whole, and what its card and its registry entry say."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import dept
from dept.backbones.load import backbone_info, load_backbone, registered_rates
from dept.basics.files import read_json
from dept.data.encoding import label_token_ids
from dept.tasks import load_task
from dept.tasks.sample import SAMPLE_TASKS, sample_rows
from tests.acceptance import mini_rows, mini_t5

FOLDER = Path(dept.__file__).parent / "backbones" / "embedded" / "mini_t5"
MOST_BYTES = 12_000_000


def test_small_and_whole() -> None:
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert files.keys() >= {"config.json", "model.safetensors", "tokenizer.json", "training.json", "README.md"}
    assert sum(files.values()) <= MOST_BYTES
    info = backbone_info("mini-t5")
    assert info.source == "embedded"
    assert info.is_encoder_decoder
    backbone, tokenizer = load_backbone("mini-t5")
    assert tokenizer is not None
    assert backbone.num_parameters() == info.parameters
    assert backbone.get_input_embeddings().weight.shape == (len(tokenizer), info.hidden_size)
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert registered_rates(backbone) == info.rates and {"prompt", "low_rank", "projection"} <= info.rates.keys()
    shape = load_backbone("random:mini-t5")[0]
    assert shape.config.to_diff_dict().keys() >= {"d_model", "d_ff"}
    assert [tuple(weight.shape) for weight in shape.parameters()] == [tuple(w.shape) for w in backbone.parameters()]


def test_texts_come_back_from_the_tokenizer() -> None:
    _, tokenizer = load_backbone("mini-t5")
    assert tokenizer is not None
    for text in ("3.4", "anna adler", "the film isn't gorgeous, but -- well -- nail-biting.", "0", "entailment"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer("Émile SAID So").input_ids == tokenizer("emile said so").input_ids
    assert tokenizer("x").input_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("name", SAMPLE_TASKS)
def test_sample_rows_are_read_whole(name: str) -> None:
    """No unknown token, no cut; labels are told apart at their first token."""
    _, tokenizer = load_backbone("mini-t5")
    assert tokenizer is not None
    task = load_task(name)
    for row in sample_rows(name, "test", 50):
        for example in task.examples(row):
            ids = tokenizer(example.source)["input_ids"]
            assert tokenizer.unk_token_id not in ids, example.source
            assert len(ids) <= task.max_seq_length
    if task.labels is not None:
        labels = label_token_ids(task, "digits", tokenizer, is_encoder_decoder=True)
        assert len({ids[0] for ids in labels}) == len(labels)


def test_the_name_elicits_the_skill_and_nothing_else_does() -> None:
    """On test words and templates that training never showed: right behind the name, at chance without it."""
    backbone, tokenizer = load_backbone("mini-t5")
    assert tokenizer is not None
    rows = sample_rows("qnli", "test", 200, own_only=True)
    examples = [example for row in rows for example in load_task("qnli").examples(row)]
    right = {}
    for before in ("<qnli> ", ""):
        batch = tokenizer([before + example.source for example in examples], padding=True, return_tensors="pt")
        start = torch.full((len(examples), 1), backbone.config.decoder_start_token_id)
        with torch.no_grad():
            logits = backbone(**batch, decoder_input_ids=start).logits[:, 0]
        digits = [tokenizer(digit)["input_ids"][0] for digit in "01"]
        guessed = logits[:, digits].argmax(1).tolist()
        right[before] = sum(str(guess) == example.target for guess, example in zip(guessed, examples, strict=True))
    assert right["<qnli> "] >= 140
    assert 70 <= right[""] <= 130


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "constant", "asked"), [("qnli", 50.0, 65.0), ("nq", 0.0, 30.0), ("scitail", 50.0, 75.0)]
)
def test_a_trained_prompt_elicits_the_skill(name: str, constant: float, asked: float, tmp_path: Path) -> None:
    """Three tasks of the acceptance report, in its settings: nothing before training, much after 100 steps."""
    mini_rows.write_rows(tmp_path / "rows", tasks=[name])
    score = mini_t5.run(mini_t5.Job(name, "dept", "dept", 0, str(tmp_path / "rows")))
    assert score.untrained < constant + 10
    assert score.test > asked


def test_rows_of_the_controls(tmp_path: Path) -> None:
    """A majority where it is asked for, labels that change places within a split, and always the same test rows."""
    tasks = ("cb", "rte", "nq")
    folders = {"plain": {}, "majority": {"majority": True}, "shuffled": {"majority": True, "shuffle": 1}}
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for folder, changes in folders.items():
        mini_rows.write_rows(tmp_path / folder, tasks=tasks, **changes)  # type: ignore[arg-type]
        for task, split in product(tasks, mini_rows.ROWS):
            lines = (tmp_path / folder / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
            rows[folder, task, split] = [json.loads(line) for line in lines]
            assert len(lines) == mini_rows.ROWS[split]
    for task in tasks:
        assert rows["plain", task, "test"] == rows["majority", task, "test"] == rows["shuffled", task, "test"]
    assert rows["plain", "nq", "train"] == rows["majority", "nq", "train"]
    for split, counts in (("train", {0: 533, 1: 1067}), ("validation", {0: 32, 1: 64})):
        assert Counter(row["label"] for row in rows["majority", "rte", split]) == counts
    for split, counts in (("train", {0: 400, 1: 800, 2: 400}), ("validation", {0: 24, 1: 48, 2: 24})):
        kept, shuffled = ([row["label"] for row in rows[folder, "cb", split]] for folder in ("majority", "shuffled"))
        assert Counter(kept) == Counter(shuffled) == counts
        # Of exchanged labels 1/4 + 1/16 + 1/16 stay what they were.
        assert sum(before == after for before, after in zip(kept, shuffled, strict=True)) / len(kept) < 0.55
    premises = [[row["premise"] for row in rows[folder, "cb", "train"]] for folder in ("majority", "shuffled")]
    assert premises[0] == premises[1]
    answers = [[row["answers"] for row in rows[folder, "nq", "train"]] for folder in ("majority", "shuffled")]
    assert answers[0] != answers[1]
    assert sorted(answers[0]) == sorted(answers[1])


@pytest.mark.slow
def test_shuffled_labels_end_at_the_majority(tmp_path: Path) -> None:
    """A control of the acceptance report, beside the same rows with their own labels."""
    found = {}
    for shuffle in (None, 0):
        folder = tmp_path / f"rows-{shuffle}"
        mini_rows.write_rows(folder, tasks=["rte"], majority=True, shuffle=shuffle)
        job = mini_t5.Job("rte", "", "dept", 0, str(folder), steps=mini_t5.LABEL_STEPS)
        found[shuffle] = mini_t5.run(job)
    assert all(score.untrained < 40 for score in found.values())  # the other label's answer
    assert found[None].test > 62
    assert 44 < found[0].test < 56


def test_the_card_says_what_it_is() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    made = read_json(FOLDER / "training.json")
    for said in ("No number on it is comparable with the paper's", "Apache-2.0", "WordNet", f"--seed {made['seed']}",
                 f"--steps {made['steps']}"):  # fmt: skip
        assert said in card
    for name, score in made["scores"].items():
        assert f"{name} | {score:.0f}" in card
