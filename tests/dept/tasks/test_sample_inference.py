"""The labels of the inference samples, worked out anew: clauses are read in small worlds where the premise holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from dept.tasks.sample import sample_rows
from dept.tasks.samples import inference, pairs
from dept.tasks.samples.lexicon import SPLITS, Draw, load, opposites, tokens, vocabulary

Row = dict[str, Any]


def all_rows(task: str) -> Iterator[Row]:
    for split in SPLITS:
        yield from sample_rows(task, split, 250, seed=3)


def verdict(worlds: list[Any], premise: Callable[[Any], bool], hypothesis: Callable[[Any], bool]) -> str:
    values = {hypothesis(world) for world in worlds if premise(world)}
    assert values, "the premise holds nowhere"
    return {frozenset({True}): "entailment", frozenset({False}): "contradiction"}.get(frozenset(values), "neutral")


def amount(clause: str) -> Callable[[int], bool]:
    match = re.search(r"has (exactly|more than|fewer than) (\w+) ", clause)
    assert match
    bound = inference.NUMBERS.index(match[2]) + 2
    return {
        "exactly": lambda n: n == bound,
        "more than": lambda n: n > bound,
        "fewer than": lambda n: n < bound,
    }[match[1]]


def share(clause: str) -> Callable[[int], bool]:
    amounts: dict[str, Callable[[int], bool]] = {
        "not all of the": lambda n: n < 3, "not one of the": lambda n: n == 0, "none of the": lambda n: n == 0,
        "some of the": lambda n: n > 0, "each of the": lambda n: n == 3, "all of the": lambda n: n == 3,
    }  # fmt: skip
    return next(test for start, test in amounts.items() if clause.startswith(start))


def who(clause: str) -> Callable[[dict[str, bool]], bool]:
    names = re.findall(r"[A-Z]\w+", clause)
    if clause.startswith("both"):
        return lambda world: all(world[name] for name in names)
    if clause.startswith("either"):
        return lambda world: any(world[name] for name in names)
    if clause.startswith("neither"):
        return lambda world: not any(world[name] for name in names)
    return lambda world: world[names[0]] != (" did not " in clause)


def bought(clause: str, member: str) -> Callable[[tuple[bool, bool]], bool]:
    """Worlds: (a member of that name was bought, something else of the category was)."""
    about_member = clause.endswith(f" {member}")
    negated = " did not " in clause
    return lambda world: (world[0] if about_member else world[0] or world[1]) != negated


def ranks(clause: str) -> Callable[[dict[str, int]], bool]:
    names, relations = re.findall(r"[A-Z]\w+", clause), re.findall(r"before|after", clause)

    def holds(world: dict[str, int]) -> bool:
        steps = zip(names[::2], relations, names[1::2], strict=True)
        return all((world[x] < world[y]) == (relation == "before") for x, relation, y in steps)

    return holds


def test_rules_of_inference_hold_in_small_worlds() -> None:
    for split, label, seed in product(SPLITS, inference.LABELS, range(40)):
        draw = Draw(split, seed)
        premise, hypothesis = inference.quantity(draw, label)
        assert verdict(list(range(40)), amount(premise), amount(hypothesis)) == label

        premise, hypothesis = inference.quantifier(draw, label)
        assert verdict(list(range(4)), share(premise), share(hypothesis)) == label

        premise, hypothesis = inference.either(draw, label)
        names = re.findall(r"[A-Z]\w+", premise)
        worlds = [dict(zip(names, bits, strict=True)) for bits in product((False, True), repeat=2)]
        assert verdict(worlds, who(premise), who(hypothesis)) == label

        premise, hypothesis = inference.order(draw, label)
        names = sorted(set(re.findall(r"[A-Z]\w+", premise)))
        orders = [
            dict(zip(names, places, strict=True)) for places in product(range(3), repeat=3) if len(set(places)) == 3
        ]
        assert verdict(orders, ranks(premise), ranks(hypothesis)) == label


def test_categories_hold_their_members() -> None:
    categories = {name: topic for topic in pairs.TOPICS for name in load("words.yaml")[topic]}
    for split, label, seed in product(SPLITS, inference.LABELS, range(60)):
        clauses = inference.hypernym(Draw(split, seed), label)
        things = [re.sub(r".* an? ", "", clause) for clause in clauses]
        members = [thing for thing in things if thing not in categories]
        for member, category in product(members, set(things) & set(categories)):
            assert member in vocabulary(f"{categories[category]}/{category}", split)
        member = members[0] if members else "nothing"
        worlds = list(product((False, True), repeat=2))
        premise, hypothesis = (bought(clause, member) for clause in clauses)
        assert verdict(worlds, premise, hypothesis) == label, clauses


def test_done_attempted_and_failed() -> None:
    done, failed = ("managed", "remembered", "was able"), ("failed", "forgot", "refused")
    for split, label, seed in product(SPLITS, inference.LABELS, range(30)):
        premise, hypothesis = inference.implicative(Draw(split, seed), label)
        force = premise.split(" ", 1)[1]
        known = True if force.startswith(done) else False if force.startswith(failed) else None
        claimed = " did not " not in hypothesis
        expected = "neutral" if known is None else "entailment" if known == claimed else "contradiction"
        assert label == expected


def test_opposites_exclude_each_other() -> None:
    table = {word: (i, side) for i, pair in enumerate(opposites("opposite", "test"))
             for side, group in enumerate(pair) for word in group}  # fmt: skip
    for label, seed in product(inference.LABELS, range(60)):
        clauses = inference.opposite(Draw("test", seed), label)
        (one, side), (other, side2) = (next(table[w] for w in tokens(clause) if w in table) for clause in clauses)
        expected = "neutral" if one != other else "entailment" if side == side2 else "contradiction"
        assert label == expected, clauses


def test_premise_and_hypothesis_keep_their_clauses() -> None:
    labels: dict[str, dict[int, str | None]] = {
        "mnli": {0: "entailment", 1: "neutral", 2: "contradiction"},
        "rte": {0: "entailment", 1: None},
    }
    for task, names in labels.items():
        premise, hypothesis = ("premise", "hypothesis") if task == "mnli" else ("sentence1", "sentence2")
        checked = 0
        for row in all_rows(task):
            if " has exactly " in row[premise]:
                found = verdict(list(range(40)), amount(row[premise]), amount(row[hypothesis]))
                expected = names[row["label"]]
                assert found == expected if expected else found != "entailment"
                checked += 1
        assert checked > 10


def test_cb_follows_from_the_verb_and_the_negation() -> None:
    parts = load("templates.yaml")["inference"]["cb"]
    cues = {
        force: [re.sub(r"^\{who\} | \{clause\}\.$", "", t) for t in sum(parts[force].values(), [])] for force in parts
    }
    for row in all_rows("cb"):
        force = next(f for f, texts in cues.items() if any(f" {t} " in row["premise"] for t in texts))
        clause = re.split(r" (?:that|whether) (?:perhaps )?", row["premise"])[-1]
        agree = (" did not " in clause) == (" did not " in row["hypothesis"])
        expected = 2 if force == "open" else 0 if (force == "holds") == agree else 1
        assert row["label"] == expected, row


def test_scitail_members_inherit_what_all_of_their_category_have() -> None:
    for row in all_rows("scitail"):
        member, prop = re.match(
            r"An? (.+?) ((?:carries|needs|has|produces|reacts|stores) .*)", row["sentence2"]
        ).groups()  # type: ignore[union-attr]
        category = re.search(rf"\b{re.escape(member)} is an? ([a-z ]+?)(?: ,|$| ;)", row["sentence1"], re.IGNORECASE)
        assert category, row
        inherits = re.search(
            rf"every {category[1]}(?: but only one \w+ in ten)? {re.escape(prop)}(?!\w)", row["sentence1"]
        )
        assert (row["gold_label"] == "entailment") == bool(inherits), row
