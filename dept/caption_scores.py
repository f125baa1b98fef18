"""Caption metrics by COCO's own evaluation code, pycocoevalcap: CIDEr, BLEU-4, ROUGE-L, METEOR, SPICE.

The official tokeniser (Stanford's PTB one), METEOR and SPICE are Java programs. Without Java a plain tokeniser takes
the first one's place, which `notes` says, and METEOR is left out. SPICE downloads a parser when it is first used; it
is in no shipped task, and nobody has run it here: take it as untested.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dept.errors import DataError

CAPTION_METRICS = ("cider", "bleu4", "rouge_l", "meteor", "spice")
JAVA_METRICS = ("meteor", "spice")  # seconds to start, so that training leaves them to the last evaluation
PLAIN_TOKENISER = "no Java here: captions were split by a plain tokeniser, not the official one (install a JRE)"
NO_JAVA_METRICS = "no Java here: {} left out (install a JRE)"

# Words and numbers, as the official tokeniser leaves them once it has dropped punctuation; it also parts "don't".
_TOKEN = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")

Tokenised = Mapping[int, list[str]]


def has_java() -> bool:
    return shutil.which("java") is not None


def notes(names: Sequence[str]) -> tuple[str, ...]:
    """What must be said beside these metrics on this machine; nothing where Java is there."""
    wanted = [name for name in names if name in CAPTION_METRICS]
    if not wanted or has_java():
        return ()
    lost = [name for name in wanted if name in JAVA_METRICS]
    return (PLAIN_TOKENISER, *([NO_JAVA_METRICS.format(", ".join(lost))] if lost else []))


def caption_scores(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The metrics `names` over a set of captions, as fractions; without Java, those that need it are left out.

    Args:
        predictions: one caption each.
        references: all captions that people gave the same image.

    Returns:
        by name; CIDEr may exceed 1.

    Raises:
        DataError: pycocoevalcap's tokeniser or METEOR cannot be run.
    """
    wanted = [name for name in names if has_java() or name not in JAVA_METRICS]
    if not wanted:
        return {}
    split = _by_java if has_java() else _plainly
    everything = [*predictions, *(caption for captions in references for caption in captions)]
    tokenised = split([" ".join(text.split()) for text in everything])
    given = {row: [tokenised[row]] for row in range(len(predictions))}
    rest = iter(tokenised[len(predictions) :])
    told = {row: [next(rest) for _ in captions] for row, captions in enumerate(references)}
    return {name: _SCORERS[name](told, given) for name in wanted}


def _by_java(captions: Sequence[str]) -> list[str]:
    """Each caption's tokens joined by spaces, lower case, without punctuation."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    try:
        found = PTBTokenizer().tokenize({row: [{"caption": text}] for row, text in enumerate(captions)})
    except OSError as fault:
        raise DataError(f"the caption tokeniser cannot be run: {fault.strerror or fault}") from fault
    if len(found) != len(captions) or any(len(lines) != 1 for lines in found.values()):
        raise DataError("the caption tokeniser (Java) gave no answer: run `java -version`")
    return [found[row][0] for row in range(len(captions))]


def _plainly(captions: Sequence[str]) -> list[str]:
    return [" ".join(_TOKEN.findall(text.lower())) for text in captions]


def _cider(told: Tokenised, given: Tokenised) -> float:
    from pycocoevalcap.cider.cider import Cider

    return float(Cider().compute_score(told, given)[0])


def _bleu4(told: Tokenised, given: Tokenised) -> float:
    from pycocoevalcap.bleu.bleu import Bleu

    return float(Bleu(4).compute_score(told, given, verbose=0)[0][3])


def _rouge_l(told: Tokenised, given: Tokenised) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().compute_score(told, given)[0])


def _meteor(told: Tokenised, given: Tokenised) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        return float(scorer.compute_score(told, given)[0])
    except (OSError, ValueError) as fault:  # no answer is an empty line
        raise DataError(f"METEOR (Java) cannot be run: {fault}") from fault
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):  # it closes the third itself
            pipe.close()


def _spice(told: Tokenised, given: Tokenised) -> float:
    from pycocoevalcap.spice.spice import Spice

    return float(Spice().compute_score(told, given)[0])


_SCORERS: Mapping[str, Callable[[Tokenised, Tokenised], Any]] = {
    "cider": _cider,
    "bleu4": _bleu4,
    "rouge_l": _rouge_l,
    "meteor": _meteor,
    "spice": _spice,
}
