"""A small WordNet of our own, and what pretraining needs made from it: no download, no SmolLM2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dept.tasks.sample import sample_rows
from lab.pretrain.corpora import Corpora, load_corpora
from lab.pretrain.loop import Materials
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import make_tokenizer, make_vocabulary


def synset(offset: int, kind: str, words: list[str], pointers: list[str], gloss: str) -> str:
    """A line of WordNet's database (man 5 wndb)."""
    members = " ".join(f"{word} 0" for word in words)
    return f"{offset:08} 00 {kind} {len(words):02x} {members} {len(pointers):03} {' '.join(pointers)} | {gloss}"


NOUNS = [
    synset(1, "n", ["way", "road"], ["@ 00000003 n 0000"], 'how one goes; "they went a long way home"'),
    synset(2, "n", ["way", "manner"], ["@ 00000003 n 0000"], 'how it is done; "the best way to do this work"'),
    synset(3, "n", ["thing"], [], 'what there is; "a thing of great value"; "the thing that we saw last year"'),
    # of words that only test rows may use: nothing of them may remain
    synset(4, "n", ["day", "{held}"], ["@ 00000003 n 0000"], 'a kind of {held}; "the {held} was seen by many people"'),
]
ADJECTIVES = [
    synset(1, "a", ["high"], ["! 00000002 a 0101"], 'far up; "the water was very high this year"'),
    synset(2, "a", ["low(p)"], ["! 00000001 a 0101"], 'far down; "they made a low place in the line"'),
]


@pytest.fixture(scope="session")
def held_out_word() -> str:
    from lab.pretrain.corpora import frequent_words, held_out

    return next(word for word in frequent_words(8_000) if word in held_out())


@pytest.fixture(scope="session")
def wordnet(tmp_path_factory: pytest.TempPathFactory, held_out_word: str) -> Path:
    folder = tmp_path_factory.mktemp("wordnet")
    licence = "  1 This is where the licence stands\n"
    for part, lines in {"noun": NOUNS, "adj": ADJECTIVES, "verb": [], "adv": []}.items():
        text = "\n".join(line.replace("{held}", held_out_word) for line in lines)
        (folder / f"data.{part}").write_text("\n".join([licence.rstrip(), *text.splitlines(), ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpora(wordnet: Path) -> Corpora:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPT_WORDNET", str(wordnet))
        return load_corpora(8_000)


@pytest.fixture(scope="session")
def materials(corpora: Corpora) -> Materials:
    """Real corpora, the samples' sentences among them, behind features of chance."""
    vocabulary = make_vocabulary(tuple(SKILLS), ["ing", "ed", "er"])
    features = torch.randn(len(vocabulary.tokens), 32, generator=torch.Generator().manual_seed(0))
    features /= features.norm(dim=1, keepdim=True)
    sentences = tuple(str(row["sentence"]) for row in sample_rows("cola", "train", 200))
    full = Corpora(
        corpora.texts + sentences, corpora.examples + sentences, corpora.synonyms, corpora.opposites, corpora.kinds,
        corpora.feelings, corpora.frequent,
    )  # fmt: skip
    return Materials(full, vocabulary, make_tokenizer(vocabulary), features, torch.full((32,), 0.05))
