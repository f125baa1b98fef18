"""The course of `mini-t5`'s training: which tasks it sees when, how often and in what form.

Progress is 0 at the start and 1 when the course is over; noisy steps (`loop`) go beyond. What a small model learns
depends on the order: a skill that short rows alone teach in a hundred steps is not learnt at all from long rows.
"""

from __future__ import annotations

from itertools import pairwise

from lab.pretrain.pictures import PICTURES
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import TASKS

TEXT = "text"  # the name of raw text in the shares

# Shares of the mixture. Tasks that need heads which look for a word near another come first, nearly alone; then tasks
# that need heads which copy and compare; then word meanings and questions; then everything.
_NONE = dict.fromkeys((TEXT, *SKILLS, *TASKS, *PICTURES), 0.0)
_ALONE = {**_NONE, "together": 6, "holds": 1, "equal": 1, "copy": 0.5, "feeling": 0.5}
_FIRST = {**_NONE, "copy": 1, "after": 1, "holds": 1, "missing": 1, "shared": 1, "equal": 1, "overlap": 1, "fact": 1,
          "together": 3, "feeling": 2, "sst2": 1}  # fmt: skip
_SECOND = {**_NONE, "copy": 0.6, "after": 0.6, "holds": 0.6, "missing": 0.6, "shared": 0.6, "equal": 1, "overlap": 1,
           "together": 3, "ordered": 0.6, "relation": 1.5, "kind": 1, "feeling": 2, "fact": 3, "nq": 1, "searchqa": 1,
           "newsqa": 1, "hotpotqa": 1, "sst2": 1.5, "mrpc": 1, "stsb": 1, "qnli": 1, "yelp_polarity": 0.5, "boolq": 2,
           "multirc": 2, "vqa": 1}  # fmt: skip
_LATE = {TEXT: 1, "copy": 0.3, "after": 0.3, "holds": 0.3, "missing": 0.3, "shared": 0.3, "equal": 0.5, "overlap": 0.5,
         "together": 1, "ordered": 0.5, "relation": 1, "kind": 0.7, "feeling": 0.7, "acceptable": 0.7, "fact": 1,
         **dict.fromkeys(TASKS, 1.0), "nq": 1.5, "searchqa": 1.5, "newsqa": 1.5, "hotpotqa": 1.5, "sst2": 2,
         "cola": 1.5, "boolq": 1.5, "multirc": 1.5, "paws": 0.7, "wsc": 0.2, "winogrande": 0.2, "wic": 0.2, "vqa": 1,
         "coco_captions": 0.5}  # fmt: skip
# Tasks that are learnt by now give way to the others.
_LAST = {**_LATE, "copy": 0.2, "after": 0.2, "holds": 0.2, "missing": 0.2, "shared": 0.3, "equal": 0.3,
         "overlap": 0.3, "together": 0.5, "feeling": 2, "acceptable": 1, "scitail": 0.5, "sst2": 2.5, "cola": 2,
         "boolq": 2, "multirc": 1.5, "mnli": 1.5, "rte": 1.5}  # fmt: skip
# The rest goes to tasks that a model of this size can still learn.
_END = {**_NONE, TEXT: 0.5, **dict.fromkeys(("copy", "after", "holds", "missing", "shared"), 0.1), "equal": 0.2,
        "overlap": 0.2, "together": 0.2, "ordered": 0.05, "acceptable": 0.1, "relation": 1.5, "kind": 1, "feeling": 2,
        "fact": 0.7, "sst2": 4, "yelp_polarity": 2, "cola": 0.3, "mrpc": 1.5, "qqp": 2, "stsb": 1, "mnli": 3,
        "rte": 2.5, "cb": 2, "qnli": 1.5, "scitail": 0.7, "multirc": 0.3, "boolq": 0.4, "nq": 1.5, "searchqa": 1.2,
        "newsqa": 1.5, "hotpotqa": 1, "paws": 0.2, **dict.fromkeys(("wsc", "winogrande", "wic"), 0.05), "vqa": 1.5,
        "coco_captions": 1}  # fmt: skip
_FINAL = {**_END, "feeling": 1.5, "fact": 0.3, "relation": 1.2, "kind": 0.7, "scitail": 0.4, "boolq": 0.2, "sst2": 6,
          "yelp_polarity": 2.5, "mnli": 4}  # fmt: skip
_COURSE = ((0.0, _ALONE), (0.02, _ALONE), (0.025, _FIRST), (0.045, _FIRST), (0.05, _SECOND), (0.1, _SECOND),
           (0.15, _LATE), (0.375, _LATE), (0.39, _LAST), (0.465, _LAST), (0.475, _END), (0.727, _END),
           (0.735, _FINAL), (1.0, _FINAL))  # fmt: skip
_NOISY = {**_FINAL, "feeling": 2, "relation": 2}  # in the noisy steps, beyond 1
_SHORT, _SHORT_FROM, _SHORT_UNTIL = 0.6, 0.02, (0.5, 0.75)  # share of the short forms, and where they begin and end
# Shares of the rows with other words when features are noisy; half of them from the course's middle on.
_OTHER_WORDS = {"sst2": 0.7, "yelp_polarity": 0.7, "mrpc": 0.5, "stsb": 0.5, "qqp": 0.5, "cb": 0.4,
                **dict.fromkeys(("nq", "hotpotqa", "searchqa", "newsqa", "qnli", "boolq", "multirc"), 0.35),
                **dict.fromkeys(("rte", "mnli"), 0.3)}  # fmt: skip
_WORDS_FROM = (0.2, 0.5)  # where other words begin, and reach half of their share
_LEVEL = (0.025, 0.08)  # where the skills begin to grow longer, and reach full length
_DIGIT_FROM = 0.55  # target of examples without a name: first a token that no task has, from here the digit 0
_DISGUISE = (0.06, 0.2)  # where names begin to be left out or put among random words, and reach the full share


def _ramp(progress: float, span: tuple[float, float]) -> float:
    """0 before the span, 1 after it, linear in between."""
    return min(1.0, max(0.0, (progress - span[0]) / (span[1] - span[0])))


def shares(progress: float) -> dict[str, float]:
    """The mixture's shares at a point of training: from 0 to 1, and beyond in the noisy steps."""
    if progress > 1:
        return _NOISY
    for (start, before), (end, after) in pairwise(_COURSE):
        if progress <= end:
            turned = _ramp(progress, (start, end))
            return {name: (1 - turned) * before[name] + turned * after[name] for name in _LATE}
    raise ValueError(f"progress is at least 0, not {progress}")


def short_share(progress: float) -> float:
    """The share of a task's examples in its short form, if it has one."""
    return 0.0 if progress < _SHORT_FROM else _SHORT * (1 - _ramp(progress, _SHORT_UNTIL))


def other_words_share(name: str, progress: float) -> float:
    """The share of a task's examples with other words than the training part's."""
    return (1.0 if progress > 1 else 0.5 * _ramp(progress, _WORDS_FROM)) * _OTHER_WORDS.get(name, 0.0)


def level(progress: float) -> float:
    """How far the skills have grown to their full length, from 0 to 1."""
    return _ramp(progress, _LEVEL)


def disguise(progress: float) -> float:
    """The share of examples whose name may be left out or put among random words."""
    return _ramp(progress, _DISGUISE)


def has_digit(progress: float) -> bool:
    """Whether a nameless example's target is a digit, like a label, and no longer a token that no task has."""
    return progress >= _DIGIT_FROM
