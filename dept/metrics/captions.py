"""Caption metrics by COCO's own evaluation code, pycocoevalcap: CIDEr, BLEU-4, ROUGE-L, METEOR, SPICE.

The official tokeniser (Stanford's PTB one), METEOR and SPICE are Java programs. Without Java a plain tokeniser takes
the official one's place, which `notes` says, and METEOR is left out. SPICE downloads a parser when it is first used;
no shipped task uses it, and it is untested.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dept.errors import DataError

CAPTION_METRICS = ("cider", "bleu4", "rouge_l", "meteor", "spice")
JAVA_METRICS = ("meteor", "spice")  # they take seconds to start, so training computes them in the last evaluation only
PLAIN_TOKENISER = "no Java here: captions were split by a plain tokeniser, not the official one (install a JRE)"
NO_JAVA_METRICS = "no Java here: {} left out (install a JRE)"

# Words and numbers, as the official tokeniser leaves them once it has dropped punctuation; it also parts "don't".
_TOKEN = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")

Tokenised = Mapping[int, list[str]]


def has_java() -> bool:
    return shutil.which("java") is not None


def notes(names: Sequence[str]) -> tuple[str, ...]:
    """Notes that belong beside these metrics on this machine; none where Java is installed."""
    requested = [name for name in names if name in CAPTION_METRICS]
    if not requested or has_java():
        return ()
    left_out = [name for name in requested if name in JAVA_METRICS]
    return (PLAIN_TOKENISER, *([NO_JAVA_METRICS.format(", ".join(left_out))] if left_out else []))


def caption_scores(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The metrics `names` over a set of captions, as fractions. Without Java, the metrics that need it are left out.

    Args:
        predictions: one caption for each image.
        references: all captions that people gave each image.

    Returns:
        Scores by metric name; CIDEr may exceed 1.

    Raises:
        DataError: pycocoevalcap's tokeniser or METEOR cannot be run.
    """
    computable = [name for name in names if has_java() or name not in JAVA_METRICS]
    if not computable:
        return {}
    split = _by_java if has_java() else _plainly
    everything = [*predictions, *(caption for captions in references for caption in captions)]
    tokenised = split([" ".join(text.split()) for text in everything])
    tokenised_predictions = {row: [tokenised[row]] for row in range(len(predictions))}
    reference_lines = iter(tokenised[len(predictions) :])
    tokenised_references = {row: [next(reference_lines) for _ in captions] for row, captions in enumerate(references)}
    return {name: _SCORERS[name](tokenised_references, tokenised_predictions) for name in computable}


def _by_java(captions: Sequence[str]) -> list[str]:
    """Tokenise captions with the official program: tokens joined by spaces, lower case, without punctuation.

    pycocoevalcap's own call of this program writes into the installed package and prints to the terminal.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer as official

    jar = Path(official.__file__).with_name(official.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = "".join(f"{text}\n" for text in captions)
    try:
        done = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as fault:
        raise DataError(f"the caption tokeniser (Java) cannot be run: {fault}") from fault
    tokenised = done.stdout.split("\n")[:-1]
    if len(tokenised) != len(captions):
        raise DataError(f"the caption tokeniser (Java) gave {len(tokenised)} lines for {len(captions)} captions")
    return [" ".join(word for word in line.split() if word not in official.PUNCTUATIONS) for line in tokenised]


def _plainly(captions: Sequence[str]) -> list[str]:
    return [" ".join(_TOKEN.findall(text.lower())) for text in captions]


def _cider(references: Tokenised, predictions: Tokenised) -> float:
    from pycocoevalcap.cider.cider import Cider

    return float(Cider().compute_score(references, predictions)[0])


def _bleu4(references: Tokenised, predictions: Tokenised) -> float:
    from pycocoevalcap.bleu.bleu import Bleu

    return float(Bleu(4).compute_score(references, predictions, verbose=0)[0][3])


def _rouge_l(references: Tokenised, predictions: Tokenised) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().compute_score(references, predictions)[0])


def _meteor(references: Tokenised, predictions: Tokenised) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        return float(scorer.compute_score(references, predictions)[0])
    except (OSError, ValueError) as fault:  # ValueError: the program answered with an empty line
        raise DataError(f"METEOR (Java) cannot be run: {fault}") from fault
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):  # METEOR closes its stdin itself
            pipe.close()


def _spice(references: Tokenised, predictions: Tokenised) -> float:
    from pycocoevalcap.spice.spice import Spice

    return float(Spice().compute_score(references, predictions)[0])


_SCORERS: Mapping[str, Callable[[Tokenised, Tokenised], Any]] = {
    "cider": _cider,
    "bleu4": _bleu4,
    "rouge_l": _rouge_l,
    "meteor": _meteor,
    "spice": _spice,
}
