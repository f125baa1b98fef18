"""Default learning rates, from what is known of a backbone.

AdamW moves an entry by about one learning rate a step, whatever the gradient's size; what matters is that step beside
the entries of the input embeddings that prompt and update live among.
"""

from dept.errors import BackboneError
from dept.methods.contract import Facts, Group

T5_PROMPT_LR = 0.3  # paper, Table 8
MOST_LOW_RANK_LR = 1e-3  # the same, for A and B
LOW_RANK_LR_SHARE = 0.015  # of the embeddings' RMS: SmolLM2's registered 2e-3 beside its 0.136
# RMS of an entry of T5's pretrained input embeddings, which these rates suit: of the order of ten
# (11.6 is reported for T5 v1.1 small, huggingface/transformers#26441).
T5_EMBEDDING_RMS = 10.0


def prompt_rate(facts: Facts) -> float:
    """T5's 0.3 times RMS(embeddings) / RMS(T5's embeddings), to two digits.

    Raises:
        BackboneError: the embeddings are not known.
    """
    return float(f"{T5_PROMPT_LR * _rms(facts) / T5_EMBEDDING_RMS:.2g}")


def low_rank_rate(facts: Facts) -> float:
    """A share of the embeddings' RMS, at most the 1e-3 where the paper's grid ends, to two digits.

    The paper's 5e-4 is made for 30,000 steps; the share is the one that learnt SST-2 on SmolLM2 within 120.

    Raises:
        BackboneError: the embeddings are not known.
    """
    return float(f"{min(MOST_LOW_RANK_LR, LOW_RANK_LR_SHARE * _rms(facts)):.2g}")


def _rms(facts: Facts) -> float:
    if facts.embedding_rms is None:
        raise BackboneError("the backbone's embeddings are not known: set its learning rates")
    return facts.embedding_rms


PROMPT = Group(
    "prompt",
    "the prompt",
    prompt_rate,
    "alpha_1, the prompt's maximum rate [the backbone's]",
    letter="alpha_1",
    since=1,
    span=(-4, 0.5),
)
LOW_RANK = Group(
    "low_rank",
    "A and B",
    low_rank_rate,
    "alpha_2, A's and B's maximum rate [the backbone's]",
    letter="alpha_2",
    since=1,
)
# Of every method on a task with images (Table 3): the trained way from an image encoder's features.
PROJECTION = Group(
    "projection",
    "the visual projection",
    low_rank_rate,
    "the visual projection's maximum rate [the backbone's, else low_rank_lr]",
    since=1,
)
