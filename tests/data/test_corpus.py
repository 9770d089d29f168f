from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import get_args

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from peftcore.data.corpus import CORPUS_VERSION, MAX_EXAMPLES, CorpusExample, Split, write_corpus
from peftcore.data.lexicon import TEST, TRAIN, Grammar, Step

GRAMMARS: dict[Split, Grammar] = {"train": TRAIN, "test": TEST}
SPLITS = list(GRAMMARS)
PAIRED = {"opinions", "denials", "verdicts"}

# Of 500 reviews with seed 42.  When one changes, raise CORPUS_VERSION and note both anew.
GOLDEN: dict[tuple[int, Split], str] = {
    (1, "train"): "af2cf58c3ddfd10f6baf147e9cc8ceb405daab1a3139be8682f8dfda4c3549e3",
    (1, "test"): "2910761e8f180674a78c4c8b61d0e3d1da5761d43bc30fd51f69774928c13950",
}


def phrases(grammar: Grammar) -> set[str]:
    """Every phrase and frame of the grammar."""
    entries = itertools.chain.from_iterable(
        getattr(grammar, field.name) for field in fields(grammar) if field.name != "plans"
    )
    return {
        phrase for entry in entries for phrase in ((entry,) if isinstance(entry, str) else entry)
    }


class Reader:
    """Reads a review by the tables alone: what each sentence says, and what it comes to."""

    def __init__(self, grammar: Grammar) -> None:
        self.contrasts = [
            re.compile(frame.format(first="(.+)", second="(.+)")) for frame in grammar.contrasts
        ]
        self.statements = [frame_pattern(frame, grammar) for frame in grammar.statements]
        self.denials = [
            (frame_pattern(frame, grammar), outcome)
            for pair in grammar.denials
            for outcome, frame in enumerate(pair)
        ]
        self.polarities = {
            phrase: polarity for pair in grammar.opinions for polarity, phrase in enumerate(pair)
        }
        self.steps = dict.fromkeys(map(plain, grammar.scenes), "scene")
        self.labels: dict[str, int] = {}
        for pair in grammar.verdicts:
            for label, verdict in enumerate(pair):
                overruling = [plain(turn.format(verdict=verdict)) for turn in grammar.turns]
                self.labels |= dict.fromkeys([plain(verdict), *overruling], label)
                self.steps |= {plain(verdict): "verdict"} | dict.fromkeys(overruling, "turn")

    def read(self, text: str) -> tuple[int, tuple[str, ...]]:
        """The label that the verdict gives, and the plan of the review in view of it."""
        (label,) = [self.labels[clause] for clause in clauses(text) if clause in self.labels]
        opinions = {
            (label,): "for",
            (1 - label,): "against",
            (1 - label, label): "concede",
            (label, 1 - label): "regret",
        }
        return label, tuple(
            self.steps.get(clause) or opinions[self.opinions(clause)] for clause in clauses(text)
        )

    def opinions(self, clause: str) -> tuple[int, ...]:
        """The polarity of each opinion that the clause states, in their order."""
        for pattern in self.statements:
            if found := pattern.fullmatch(clause):
                return (self.polarities[found["opinion"]],)
        for pattern, outcome in self.denials:
            if found := pattern.fullmatch(clause):
                assert self.polarities[found["opinion"]] == 1 - outcome, clause
                return (outcome,)
        for pattern in self.contrasts:
            if found := pattern.fullmatch(clause):
                return self.opinions(found[1]) + self.opinions(found[2])
        raise AssertionError(f"no frame of the grammar gives {clause!r}")


def clauses(text: str) -> list[str]:
    """The sentences of a review as the tables hold them."""
    return [plain(sentence) for sentence in text.removesuffix(".").split(". ")]


def plain(sentence: str) -> str:
    """The sentence without its capital, unless that is an I."""
    return sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]


def frame_pattern(frame: str, grammar: Grammar) -> re.Pattern[str]:
    def any_of(phrases: Iterable[str]) -> str:
        return "|".join(map(re.escape, phrases))

    return re.compile(
        frame.format(
            aspect=f"(?:{any_of(grammar.aspects)})",
            intensifier=f"(?:{any_of(grammar.intensifiers)})",
            opinion=f"(?P<opinion>{any_of(itertools.chain(*grammar.opinions))})",
        )
    )


def polarities_in(text: str, grammar: Grammar) -> set[int]:
    """The polarities of the opinion words in the text, denied or not."""
    return {
        polarity
        for pair in grammar.opinions
        for polarity, opinion in enumerate(pair)
        if re.search(rf"\b{re.escape(opinion)}\b", text)
    }


def sentences(examples: list[CorpusExample]) -> set[str]:
    return {clause for example in examples for clause in clauses(example.text)}


@pytest.mark.parametrize("split", SPLITS)
def test_texts_are_those_of_this_corpus_version(split: Split) -> None:
    lines = [f"{example.label}\t{example.text}\n" for example in write_corpus(split, 500, 42)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert digest == GOLDEN[CORPUS_VERSION, split]


@pytest.mark.parametrize("split", SPLITS)
def test_seed_decides_the_texts(split: Split) -> None:
    assert write_corpus(split, 100, 1) == write_corpus(split, 100, 1)
    first = {example.text for example in write_corpus(split, 100, 1)}
    second = {example.text for example in write_corpus(split, 100, 2)}
    assert len(first & second) < 10


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("examples", "positive"), [(1, 0), (2, 1), (7, 3), (600, 300)])
def test_labels_are_balanced(split: Split, examples: int, positive: int) -> None:
    labels = Counter(example.label for example in write_corpus(split, examples, 3))
    assert labels == Counter({0: examples - positive, 1: positive})


def test_labels_are_shuffled() -> None:
    labels = [example.label for example in write_corpus("train", 400, 3)]
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    assert 150 < changes < 250
    assert 70 < sum(labels[:200]) < 130


@pytest.mark.parametrize(("split", "examples"), [("train", 5_000), ("test", 2_000)])
def test_no_text_comes_twice(split: Split, examples: int) -> None:
    assert len({example.text for example in write_corpus(split, examples, 5)}) == examples


def test_largest_corpus_can_be_written() -> None:
    assert len({example.text for example in write_corpus("test", MAX_EXAMPLES, 0)}) == MAX_EXAMPLES


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=SPLITS)
def test_grammar_is_well_formed(grammar: Grammar) -> None:
    assert {step for plan in grammar.plans for step in plan} == set(get_args(Step))
    for plan in grammar.plans:
        assert sum(step in ("verdict", "turn") for step in plan) == 1
    entries = sum(
        len(getattr(grammar, field.name)) * (2 if field.name in PAIRED else 1)
        for field in fields(grammar)
        if field.name != "plans"
    )
    assert len(phrases(grammar)) == entries, "a phrase stands in the tables twice"


def test_splits_share_no_phrase_and_no_plan() -> None:
    assert not phrases(TRAIN) & phrases(TEST)
    assert not set(TRAIN.plans) & set(TEST.plans)


def test_splits_share_no_sentence_and_few_word_pairs() -> None:
    train, test = write_corpus("train", 5_000, 1), write_corpus("test", 2_000, 42)
    assert not sentences(train) & sentences(test)
    bigrams = TfidfVectorizer(ngram_range=(2, 2)).build_analyzer()
    known = {bigram for example in train for bigram in bigrams(example.text)}
    met = [bigram for example in test for bigram in bigrams(example.text)]
    assert sum(bigram in known for bigram in met) / len(met) < 0.1


def test_splits_share_few_opinion_words() -> None:
    def words(grammar: Grammar) -> set[str]:
        return {word for pair in grammar.opinions for phrase in pair for word in phrase.split()}

    shared = words(TRAIN) & words(TEST)
    assert len(shared) / len(words(TEST)) < 0.3


@pytest.mark.parametrize("split", SPLITS)
def test_label_and_plan_can_be_read_back(split: Split) -> None:
    reader = Reader(GRAMMARS[split])
    met = set()
    for example in write_corpus(split, 1_000, 7):
        label, plan = reader.read(example.text)
        assert label == example.label, example
        met.add(plan)
    assert met == set(GRAMMARS[split].plans)


@pytest.mark.parametrize("split", SPLITS)
def test_opinions_of_both_polarities_stand_under_both_labels(split: Split) -> None:
    examples = write_corpus(split, 1_000, 7)
    for label in (0, 1):
        texts = [example.text for example in examples if example.label == label]
        against = [text for text in texts if 1 - label in polarities_in(text, GRAMMARS[split])]
        agreeing = [text for text in texts if label in polarities_in(text, GRAMMARS[split])]
        assert 0.4 < len(against) / len(texts) < 0.8
        assert 0.4 < len(agreeing) / len(texts) < 0.9


@pytest.mark.parametrize("split", SPLITS)
def test_some_reviews_deny_an_opinion(split: Split) -> None:
    denials = [pattern for pattern, _ in Reader(GRAMMARS[split]).denials]
    texts = [" ".join(clauses(example.text)) for example in write_corpus(split, 1_000, 7)]
    denying = sum(any(pattern.search(text) for pattern in denials) for text in texts)
    assert 0.2 < denying / len(texts) < 0.5


@pytest.mark.parametrize("split", SPLITS)
def test_no_aspect_is_judged_twice_in_a_review(split: Split) -> None:
    for example in write_corpus(split, 1_000, 7):
        text = example.text.lower()
        assert all(text.count(aspect) <= 1 for aspect in GRAMMARS[split].aspects), text


@pytest.mark.parametrize("split", SPLITS)
def test_reviews_are_short_plain_prose(split: Split) -> None:
    examples = write_corpus(split, 2_000, 42)
    for example in examples:
        assert re.fullmatch(r"([A-Z][a-zA-Z ,;]+\.)( [A-Z][a-zA-Z ,;]+\.){1,3}", example.text)
        # The longest of them stay below 64 word pieces, of which a word takes 1.3 at most.
        assert 10 <= len(example.text.split()) <= 48
    words = sum(len(example.text.split()) for example in examples) / len(examples)
    assert 22 < words < 35


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bag_of_words_learns_something_but_not_the_task(seed: int) -> None:
    train, test = write_corpus("train", 600, seed), write_corpus("test", 600, 42)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform([example.text for example in train])
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(features, [example.label for example in train])
    accuracy = model.score(
        vectorizer.transform([example.text for example in test]),
        [example.label for example in test],
    )
    assert 0.6 < accuracy < 0.75


@pytest.mark.parametrize(
    ("split", "examples", "seed", "message"),
    [
        ("dev", 10, 0, "split is 'dev'; expected 'train' or 'test'"),
        ("train", 0, 0, "examples is 0; expected a number from 1 to 20000"),
        ("train", -3, 0, "examples is -3; expected a number from 1 to 20000"),
        ("test", 20_001, 0, "examples is 20001; expected a number from 1 to 20000"),
        ("test", 10, -1, "seed is -1; expected 0 or more"),
    ],
)
def test_bad_arguments_are_named(split: str, examples: int, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_corpus(split, examples, seed)  # type: ignore[arg-type]
