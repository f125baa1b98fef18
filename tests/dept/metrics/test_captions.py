"""Caption metrics beside pycocoevalcap's own evaluation, and without Java."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dept.metrics import captions as module
from dept.metrics.captions import caption_scores, has_java, notes
from dept.metrics.scores import compute_metrics

NAMES = ["cider", "bleu4", "meteor", "rouge_l"]
needs_java = pytest.mark.skipif(not has_java(), reason="needs a Java runtime")


def captions(shared: Path) -> list[list[str]]:
    lines = (shared / "data" / "coco_captions" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["captions"] for line in lines]


def official(predictions: list[str], references: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """pycocoevalcap's own `COCOEvalCap`, but SPICE, which downloads a parser; ours gets its METEOR too."""
    from pycocoevalcap import eval as evaluation
    from pycocoevalcap.meteor import meteor as module_of_meteor

    spice = SimpleNamespace(method=lambda: "SPICE", compute_score=lambda told, given: (0.0, [0.0] * len(told)))
    monkeypatch.setattr(evaluation, "Spice", lambda: spice)
    meteor: Any = evaluation.Meteor()
    monkeypatch.setattr(evaluation, "Meteor", lambda: meteor)
    images = list(range(len(references)))
    truth = SimpleNamespace(
        getImgIds=lambda: images, imgToAnns={i: [{"caption": text} for text in references[i]] for i in images}
    )
    result = SimpleNamespace(imgToAnns={i: [{"caption": predictions[i]}] for i in images})
    evaluator = evaluation.COCOEvalCap(truth, result)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    monkeypatch.setattr(module_of_meteor, "Meteor", lambda: meteor)
    names = {"CIDEr": "cider", "Bleu_4": "bleu4", "METEOR": "meteor", "ROUGE_L": "rouge_l"}
    return {ours: 100 * float(evaluator.eval[theirs]) for theirs, ours in names.items()}


@needs_java
@pytest.mark.slow
def test_scores_are_the_official_ones(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real captions: the first of each image is predicted, one with typing marks and an empty one among them."""
    every = captions(shared)
    predictions, references = [told[0] for told in every], [told[1:] for told in every]
    predictions[0], predictions[1] = "  A family\tsits at a table; cake!\u2028(really) ", ""
    cleaned = [" ".join(text.split()) for text in predictions]  # theirs takes any line break for another caption
    theirs = official(cleaned, references, monkeypatch)
    ours = compute_metrics(NAMES, predictions, [tuple(told) for told in references])
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert 20 < ours["cider"] < 300 and 0 < ours["bleu4"] < ours["rouge_l"] < 100


@needs_java
def test_the_official_tokeniser_parts_words_and_drops_marks() -> None:
    assert module._by_java(["The boy's dog, isn't it?", "", "two-tone  car."]) == [
        "the boy 's dog is n't it",
        "",
        "two-tone car",
    ]


def test_without_java_cider_works_and_says_so(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = captions(shared)
    with_java = caption_scores(["cider"], [told[0] for told in every], [told[1:] for told in every])
    monkeypatch.setattr(module, "has_java", lambda: False)
    plain = caption_scores(NAMES, [told[0] for told in every], [told[1:] for told in every])
    assert set(plain) == {"cider", "bleu4", "rouge_l"}
    assert plain["cider"] == pytest.approx(with_java["cider"], rel=0.1)
    told = notes(["cider", "meteor"])
    assert len(told) == 2 and "plain tokeniser" in told[0] and "meteor left out" in told[1]
    assert notes(["accuracy"]) == ()
    assert set(compute_metrics(NAMES, ["a dog"], [("a dog", "the dog")])) == {"cider", "bleu4", "rouge_l"}


@needs_java
def test_with_java_nothing_need_be_said() -> None:
    assert notes(NAMES) == ()
