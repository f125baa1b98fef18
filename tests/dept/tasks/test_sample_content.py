"""That the labels and answers of the embedded samples follow from what their rows say, task by task.

Each check works the label out anew from the text: by another way than the generator, which starts from the label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any

import pytest

from dept.tasks.sample import sample_rows
from dept.tasks.samples import pairs
from dept.tasks.samples.lexicon import SPLITS, load, plural, sense_vocabulary, synonyms, tokens, verb_forms, vocabulary

Row = dict[str, Any]
MRQA = ("nq", "hotpotqa", "searchqa", "newsqa")


def all_rows(task: str) -> Iterator[tuple[str, Row]]:
    for split in SPLITS:
        for row in sample_rows(task, split, 250, seed=3):
            yield split, row


def words_of(kind: str) -> set[str]:
    return {word for split in SPLITS for word in vocabulary(kind, split)}


# --- sentiment and acceptability


@pytest.mark.parametrize("task", ["sst2", "yelp_polarity"])
def test_sentiment_is_that_of_the_last_adjective_unless_negated(task: str) -> None:
    positive, negative = words_of("positive"), words_of("negative")
    assert not positive & negative
    seen_negated = 0
    for _, row in all_rows(task):
        text = row["sentence" if task == "sst2" else "text"]
        last_sentence = re.split(r"(?<=\.) ", text)[-1]
        words = tokens(last_sentence)
        place = max(i for i, word in enumerate(words) if word in positive | negative)
        negated = bool({"not", "nobody", "anything"} & set(words[:place]))
        seen_negated += negated
        assert row["label"] == ((words[place] in positive) != negated), text
    assert seen_negated > (100 if task == "sst2" else -1)


def test_an_auxiliary_takes_its_form_of_the_verb_exactly_in_acceptable_sentences() -> None:
    forms = [verb_forms()[verb] for verb in words_of("verb/object")]
    wanted = {
        r"\w+ has (\w+) the": "participle",
        r"\w+ will (\w+) the": "base",
        r"Did \w+ (\w+) the": "base",
        r"\w+ enjoys (\w+) the": "ing",
        r"\w+ has never been (\w+) the": "ing",
    }
    checked = []
    for _, row in all_rows("cola"):
        for pattern, form in wanted.items():
            if match := re.match(pattern, row["sentence"]):
                checked.append(row["label"])
                assert row["label"] == (match[1] in {verb[form] for verb in forms}), row
    assert {checked.count(0) > 20, checked.count(1) > 20} == {True}


def test_subject_and_verb_agree_exactly_in_acceptable_sentences() -> None:
    singular = {form["third"] for form in verb_forms().values()}
    checked = 0
    for _, row in all_rows("cola"):
        if match := re.match(r"The ([\w ]+) near the [\w ]+ (\w+) every day", row["sentence"]):
            assert row["label"] == ((match[1] in words_of("animal")) == (match[2] in singular)), row
            checked += 1
    assert checked > 20


# --- paraphrase


@cache
def canon() -> dict[str, str]:
    """Every content word and verb form -> the first of its synonyms."""
    table: dict[str, str] = {}
    for split in SPLITS:
        for kind in ("animal", "food", "object", "plant", "profession", "opposite"):
            for group in synonyms(kind, split):
                table |= dict.fromkeys(group, group[0])
        for topic in pairs.TOPICS:
            for group in synonyms(f"verb/{topic}", split):
                for verb in group:
                    table |= dict.fromkeys(verb_forms()[verb].values(), group[0])
    return table


def particulars(text: str) -> set[str]:
    """What a sentence is about: its names, places, days, and its content words up to synonyms."""
    words = [word for word in text.rstrip(" .").split() if word not in (",", ".")]
    proper = words_of("female") | words_of("male") | words_of("city") | set(pairs.DAYS)
    longest = [" ".join(words[i : i + n]) for n in (3, 2, 1) for i in range(len(words))]
    lowered = [phrase[0].lower() + phrase[1:] if phrase not in proper else phrase for phrase in longest]
    return {canon().get(phrase, phrase) for phrase in lowered if phrase in proper or phrase in canon()}


def test_mrpc_tells_one_event_or_two() -> None:
    for _, row in all_rows("mrpc"):
        same = particulars(row["sentence1"]) == particulars(row["sentence2"])
        assert row["label"] == same, row


def test_stsb_scores_the_shared_particulars() -> None:
    assert sum(pairs.STSB_WEIGHTS.values()) == 5.0
    kinds = {"agent": "profession", "city": "city"}
    for _, row in all_rows("stsb"):
        shared = particulars(row["sentence1"].replace(",", "")) & particulars(row["sentence2"].replace(",", ""))
        for slot, kind in kinds.items():
            found = bool(shared & words_of(kind))
            weight = pairs.STSB_WEIGHTS[slot]
            rest = row["label"] - weight * found
            assert -1e-9 < rest <= 5 - weight + 1e-9, row


def slot_pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern with its slots as groups."""
    parts = re.split(r"(\{\w+\}|a\(n\) )", template)
    out, seen = [], set()
    for part in parts:
        if part == "a(n) ":
            out.append("an? ")
        elif part.startswith("{"):
            name = part[1:-1]
            out.append(f"(?P={name})" if name in seen else f"(?P<{name}>[\\w' -]+?)")
            seen.add(name)
        else:
            out.append(re.escape(part))
    return re.compile("".join(out), re.IGNORECASE)


def readings(text: str, frames: list[str]) -> list[dict[str, str]]:
    return [match.groupdict() for frame in frames if (match := slot_pattern(frame).fullmatch(text))]


def leaves(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    below = node.values() if isinstance(node, Mapping) else node
    return [leaf for item in below for leaf in leaves(item)]


def test_qqp_questions_with_one_aim_and_one_object_are_duplicates() -> None:
    def meanings(question: str) -> set[tuple[str, str, tuple[str, ...]]]:
        return {
            (signature, intent, tuple(canon().get(slots[kind], slots[kind]) for kind in signature.split()))
            for signature, intents in load("templates.yaml")["qqp"].items()
            for intent, parts in intents.items()
            for slots in readings(question, leaves(parts))
        }

    for _, row in list(all_rows("qqp"))[::4]:
        one, other = meanings(row["question1"]), meanings(row["question2"])
        assert one, row
        assert other, row
        assert row["label"] == bool(one & other), row


def test_paws_pairs_share_their_names_and_differ_in_who_or_where() -> None:
    proper = words_of("female") | words_of("male") | words_of("city") | set(pairs.MONTHS)
    for split, row in all_rows("paws"):
        one, other = (re.sub(r" ([.,])", r"\1", row[name]) for name in ("sentence1", "sentence2"))
        assert sorted(set(one.replace(",", "").rstrip(".").split()) & proper) == sorted(
            set(other.replace(",", "").rstrip(".").split()) & proper
        )
        verdicts = []
        for relation in load("templates.yaml")["paws"]:
            frames = relation["shared"] + relation[split]
            for first, second in product(readings(one, frames), readings(other, frames)):
                variants = [second]
                for a, b in relation["free"]:
                    variants += [variant | {a: variant[b], b: variant[a]} for variant in variants]
                verdicts.append(first in variants)
        assert verdicts
        assert row["label"] == any(verdicts), row


# --- reference


def test_wsc_and_winogrande_resolve_by_what_follows_because() -> None:
    endings: dict[str, set[str]] = {"a": set(), "b": set()}
    for part in load("templates.yaml")["schemas"].values():
        for schema in part:
            for side in endings:
                endings[side] |= set(schema[side])
    assert not endings["a"] & endings["b"]
    people = words_of("female") | words_of("male")

    def referent(text: str, pronoun: str) -> str:
        first, second = (word for word in re.findall(r"\w+", text) if word in people)
        ending = text.rstrip(".").split(f" because {pronoun} ")[1]
        return first if ending in endings["a"] else second

    for _, row in all_rows("winogrande"):
        assert row["sentence"].split().count("_") == 1
        right = row[f"option{row['answer']}"]
        assert right == referent(row["sentence"], "_")
        assert {row["option1"], row["option2"]} == set(re.findall(r"\w+", row["sentence"])) & people
    for _, row in all_rows("wsc"):
        words = row["text"].split()
        assert words[row["span1_index"]].strip(".") == row["span1_text"]
        assert words[row["span2_index"]] == row["span2_text"] in ("she", "he")
        assert row["label"] == (referent(row["text"], row["span2_text"]) == row["span1_text"])
        assert row["span1_text"] in words_of("female" if row["span2_text"] == "she" else "male")


def test_wic_spans_hold_the_word_and_the_frames_its_sense() -> None:
    for split, row in all_rows("wic"):
        assert row["word"] in sense_vocabulary(split)
        senses = []
        for number in "12":
            text = row[f"sentence{number}"]
            assert text[row[f"start{number}"] : row[f"end{number}"]] == row["word"]
            for sense, frames in enumerate(load("senses.yaml")[row["word"]]):
                for frame in frames:
                    pattern = r"[A-Z]\w+".join(map(re.escape, re.split(r"\{\w\}", frame.replace("*", ""))))
                    if re.fullmatch(pattern, text):
                        senses.append(sense)
        assert len(senses) == 2, row
        assert row["label"] == (senses[0] == senses[1])


def test_words_with_senses_have_two_with_three_frames_each() -> None:
    for word, senses in load("senses.yaml").items():
        assert [len(frames) for frames in senses] == [3, 3], word
        assert all(f"*{word}*" in frame and frame.count("*") == 2 for frames in senses for frame in frames), word


# --- reading


@pytest.mark.parametrize("task", MRQA)
def test_mrqa_labels_are_the_places_of_the_answer(task: str) -> None:
    for _, row in all_rows(task):
        (answer,), (label,) = row["answers"], row["labels"]
        assert label["start"], row
        for start, end in zip(label["start"], label["end"], strict=True):
            assert row["context"][start : end + 1] == answer
        assert not re.search(rf"\b{re.escape(answer.lower())}\b", row["question"].lower())


def test_squad_answers_stand_where_they_are_said_to() -> None:
    for _, row in all_rows("squad"):
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(text)] == text
        assert len(re.findall(rf"\b{re.escape(text)}\b", row["context"])) == 1


@cache
def proper_words() -> set[str]:
    kinds = ("female", "male", "surname", "city", "company", "petname", "festival", "subject")
    words = {word.lower() for kind in kinds for word in words_of(kind)} | {month.lower() for month in pairs.MONTHS}
    return words - {"may"}


def particulars_of(text: str) -> set[str]:
    return {word for word in tokens(text) if word in proper_words() or word.isdigit()}


@pytest.mark.parametrize("task", ["squad", "nq", "newsqa"])
def test_the_answer_is_in_the_one_sentence_that_the_question_is_about(task: str) -> None:
    for _, row in all_rows(task):
        answer = row["answers"]["text"][0] if task == "squad" else row["answers"][0]
        asked = particulars_of(row["question"])
        told = [text for text in re.split(r" ?\. |\n+|\.$", row["context"]) if asked <= particulars_of(text)]
        assert any(re.search(rf"\b{re.escape(answer)}\b", text) for text in told), row


def test_hotpotqa_needs_two_paragraphs() -> None:
    for _, row in all_rows("hotpotqa"):
        paragraphs = [text for text in row["context"].split("[PAR]") if text.strip()]
        assert len(paragraphs) == 4
        asked = particulars_of(row["question"])
        holding = [text for text in paragraphs if re.search(rf"\b{row['answers'][0]}\b", text)]
        assert len(holding) == 1
        named = [text for text in paragraphs if asked <= particulars_of(text)]
        assert named, row
        assert not set(holding) & set(named), row


def test_qnli_sentences_that_answer_hold_all_that_the_question_names() -> None:
    for _, row in all_rows("qnli"):
        asked, told = particulars_of(row["question"]), particulars_of(row["sentence"])
        if row["label"] == 0:
            assert asked <= told, row


def test_boolq_is_yes_exactly_when_one_sentence_holds_all_that_is_asked() -> None:
    kinds = {word for kind in ("animal", "profession", "object") for word in words_of(kind)}
    kinds = {token for word in kinds for token in tokens(f"{word} {plural(word)}")}
    for _, row in all_rows("boolq"):
        words = set(tokens(row["question"]))
        asked = particulars_of(row["question"]) | (words & kinds)
        passage = row["passage"].split(" -- ", 1)[1]
        told = [set(tokens(text)) for text in re.split(r"\. |\.$", passage)]
        assert row["label"] == any(asked <= text for text in told), row


def test_multirc_answers_are_the_people_who_did_what_is_asked() -> None:
    values = {word for kind in ("city", "food/dish", "subject", "object/instrument") for word in words_of(kind)}
    for _, row in all_rows("multirc"):
        (value,) = {value for value in values if re.search(rf"\b{re.escape(value)}\b", row["question"])}
        sentence = next(text for text in row["paragraph"].split(". ") if text.startswith(row["answer"] + " "))
        assert row["label"] == bool(re.search(rf"\b{re.escape(value)}\b", sentence)), row


def test_multirc_questions_have_four_answers_right_and_wrong_ones() -> None:
    rows = sample_rows("multirc", "train", 400)
    for start in range(0, 400, 4):
        group = rows[start : start + 4]
        assert len({(row["paragraph"], row["question"], row["idx"]["question"]) for row in group}) == 1
        assert len({row["answer"] for row in group}) == 4
        assert 0 < sum(row["label"] for row in group) < 4
    assert [row["idx"]["answer"] for row in rows] == list(range(400))


def test_record_gaps_are_filled_by_one_entity() -> None:
    for _, row in all_rows("record"):
        passage, spans = row["passage"], row["entity_spans"]
        assert row["query"].count("@placeholder") == 1
        assert passage.count("\n@highlight\n") == 2
        assert row["entities"] == sorted(set(spans["text"]))
        assert spans["start"] == sorted(spans["start"])
        for text, start, end in zip(spans["text"], spans["start"], spans["end"], strict=True):
            assert passage[start:end] == text
        (answer,) = row["answers"]
        assert answer in row["entities"]
        assert answer not in row["query"]
        asked = particulars_of(row["query"].replace("@placeholder", ""))
        told = [text for text in re.split(r"\. |\n@highlight\n|\.$", passage) if asked <= particulars_of(text)]
        assert len(told) == 1
        assert answer in told[0]
