"""Label scoring: greedy search over the labels' trie, and what it owes to generation."""

import random
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dept.evaluation.label_scoring import LabelTrie, score_labels
from tests.dept.tiny_models import EOS, KINDS, generate, in_dtype, padded, prompted, tokens

_MODELS = {kind: prompted(kind, m=2, s=10) for kind in KINDS}

LABELS = {
    "t5 digits": [[20, 30, EOS], [31, EOS], [32, EOS]],  # "0" is two tokens, "1" is one
    "shared prefixes": [[20, 21, 22, EOS], [20, 21, 23, EOS], [20, 24, EOS], [25, EOS], [25, 20, EOS]],
    "single tokens": [[40, EOS], [41, EOS]],
    "one within another": [[20, EOS], [20, 20, EOS], [20, 20, 20, EOS]],
}


def greedy_over_labels(kind: str, labels: list[list[int]], row: list[int]) -> tuple[int, list[float]]:
    """The slow way: one forward pass per token, over the labels still possible; and all labels' probabilities."""
    model = _MODELS[kind]

    def shares(prefix: list[int]) -> dict[int, float]:
        possible = sorted({label[len(prefix)] for label in labels if label[: len(prefix)] == prefix})
        if model.is_encoder_decoder:
            start = torch.tensor([[model.generation_config.decoder_start_token_id, *prefix]])
            logits = model(input_ids=torch.tensor([row]), decoder_input_ids=start).logits[0, -1]
        else:
            source = torch.tensor([[1] * len(row) + [0] * len(prefix)])
            logits = model(input_ids=torch.tensor([row + prefix]), source_mask=source).logits[0, -1]
        return dict(zip(possible, logits[possible].softmax(-1).tolist(), strict=True))

    chosen: list[int] = []
    while chosen not in labels:
        options = shares(chosen)
        chosen.append(max(options, key=options.__getitem__))
    probabilities = []
    for label in labels:
        probability = 1.0
        for depth, token in enumerate(label):
            probability *= shares(label[:depth])[token]
        probabilities.append(probability)
    return labels.index(chosen), probabilities


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_scoring_is_greedy_search_restricted_to_the_labels(kind: str, labels: list[list[int]]) -> None:
    rows = [tokens(length, seed) for seed, length in enumerate((5, 2, 8, 1))]
    expected = [greedy_over_labels(kind, labels, row) for row in rows]
    for side in ("left", "right"):
        chosen, probabilities = score_labels(_MODELS[kind], LabelTrie(labels), **padded(rows, side, to=9))
        assert chosen.tolist() == [label for label, _ in expected]
        torch.testing.assert_close(probabilities, torch.tensor([row for _, row in expected]), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(len(rows)))


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_equals_generation_wherever_that_gives_a_valid_label(kind: str) -> None:
    """Labels are made from what the model writes for some of the sources, and from their siblings."""
    model, drawn = _MODELS[kind], random.Random(0)
    rows = [tokens(drawn.randint(1, 8), seed) for seed in range(60)]
    batch = padded(rows, "left")
    new = generate(model, **batch, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    written = [tuple(row) for row in (new[:, 1:] if model.is_encoder_decoder else new).tolist()]
    valid = 0
    for _ in range(12):
        own = {row[: drawn.randint(1, 4)] for row in drawn.sample(written, 3)}
        siblings = {(*label[:-1], drawn.randint(3, 60)) for label in sorted(own)}
        labels = [
            label
            for label in sorted(own | siblings | {(61,), (62, 63)})
            if not any(other != label and other[: len(label)] == label for other in own | siblings)
        ]
        chosen, _ = score_labels(model, LabelTrie(labels), **batch)
        for row, label in zip(written, chosen.tolist(), strict=True):
            said = [one for one in labels if row[: len(one)] == one]
            if said:
                valid += 1
                assert labels[label] == said[0]
    assert valid >= 30  # the comparison has compared something


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(2, 6), max_size=3), min_size=2, max_size=7, unique_by=tuple),
    st.integers(0, 10_000),
)
def test_probabilities_sum_to_one_and_the_choice_is_reachable(bodies: list[list[int]], seed: int) -> None:
    labels = [[*body, EOS] for body in bodies]
    trie = LabelTrie(labels)
    generator = torch.Generator().manual_seed(seed)
    logits = [3 * torch.randn(4, len(branch.tokens), generator=generator) for branch in trie.branches]
    chosen, probabilities = trie.walk(logits)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    scores = {branch.prefix: (branch.tokens, logits[i]) for i, branch in enumerate(trie.branches)}
    for row in range(4):
        walked: tuple[int, ...] = ()
        while list(walked) not in labels:
            if walked in scores:
                options, values = scores[walked]
                walked += (options[int(values[row].argmax())],)
            else:  # only one way on
                walked = next(tuple(one[: len(walked) + 1]) for one in labels if tuple(one[: len(walked)]) == walked)
        assert labels[int(chosen[row])] == list(walked)


def test_ties_go_to_the_lowest_token_as_in_generation() -> None:
    trie = LabelTrie([[9, EOS], [4, EOS], [7, EOS]])
    assert trie.branches[0].tokens == (4, 7, 9)
    chosen, probabilities = trie.walk([torch.zeros(1, 3)])
    assert chosen.tolist() == [1]
    torch.testing.assert_close(probabilities, torch.full((1, 3), 1 / 3))


def test_branches_are_the_places_where_labels_part() -> None:
    trie = LabelTrie(LABELS["shared prefixes"])
    assert {branch.prefix: branch.tokens for branch in trie.branches} == {
        (): (20, 25),
        (20,): (21, 24),
        (20, 21): (22, 23),
        (25,): (EOS, 20),
    }
    assert trie.num_labels == 5
    assert [len(path) for path in trie.paths] == [3, 3, 2, 2, 2]


@pytest.mark.parametrize(
    "labels", [[], [[3, EOS]], [[3, EOS], [3, EOS]], [[3], [3, 4]], [[], [3]], [[3, 4, EOS], [5, EOS], [3, 4]]]
)
def test_labels_that_do_not_end_apart_are_refused(labels: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="end apart"):
        LabelTrie(labels)


def test_the_greedy_choice_need_not_be_the_likeliest_label() -> None:
    trie = LabelTrie([[2, 3], [2, 4], [5, 6]])
    first, second = torch.tensor([[0.6, 0.4]]).log(), torch.tensor([[0.5, 0.5]]).log()
    chosen, probabilities = trie.walk([first, second])
    torch.testing.assert_close(probabilities, torch.tensor([[0.3, 0.3, 0.4]]))
    assert chosen.tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bfloat16_backbone_scores(kind: str) -> None:
    model = prompted(kind)
    in_dtype(model.backbone, torch.bfloat16)
    chosen, probabilities = score_labels(model, LabelTrie(LABELS["t5 digits"]), **padded([tokens(5), tokens(3)]))
    assert probabilities.dtype == torch.float32 and chosen.shape == (2,)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2))


def test_all_digit_labels_are_told_apart_whatever_their_order() -> None:
    labels = LABELS["t5 digits"]
    batch = padded([tokens(4, seed) for seed in range(6)])
    first, _ = score_labels(_MODELS["t5"], LabelTrie(labels), **batch)
    for order in ([2, 0, 1], [1, 2, 0]):
        again, _ = score_labels(_MODELS["t5"], LabelTrie([labels[i] for i in order]), **batch)
        assert [order[i] for i in again.tolist()] == first.tolist()


def test_generation_limited_to_the_trie_agrees() -> None:
    """transformers' own constrained greedy search gives the same label."""
    model, labels = _MODELS["t5"], LABELS["shared prefixes"]
    rows = [tokens(length, seed) for length, seed in product((2, 6), range(6))]

    def allowed(batch_id: int, sentence: torch.Tensor) -> list[int]:
        said = sentence.tolist()[1:]
        return [label[len(said)] for label in labels if label[: len(said)] == said and len(label) > len(said)] or [EOS]

    found = generate(model, **padded(rows), max_new_tokens=4, do_sample=False, prefix_allowed_tokens_fn=allowed)
    chosen, _ = score_labels(model, LabelTrie(labels), **padded(rows))
    for row, label in zip(found[:, 1:].tolist(), chosen.tolist(), strict=True):
        assert row[: row.index(EOS) + 1] == labels[label]
