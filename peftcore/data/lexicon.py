"""Phrase tables of the embedded corpus: one grammar for training, another for testing.

The two grammars share no phrase, no sentence frame and no plan, so a model that
memorises wordings from the one gains little on the other.  Opinions and verdicts stand
in pairs that are worded alike, which puts the same everyday words under both labels.

Any change to a table changes texts: raise ``CORPUS_VERSION`` in ``corpus.py`` with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pair = tuple[str, str]
"""A negative and a positive phrase, in the order of the labels that index them."""

Step = Literal["scene", "for", "against", "concede", "regret", "verdict", "turn"]
"""One sentence of a review, as seen from the label the review is to have.

``scene`` says nothing either way; ``for`` is an opinion that agrees with the label and
``against`` one that opposes it; ``concede`` puts an opposing opinion first and an agreeing
one after it, ``regret`` the other way round; ``verdict`` states the label, and ``turn``
states it in spite of what went before.
"""


@dataclass(frozen=True)
class Grammar:
    """The phrases and patterns that the reviews of one split are built from."""

    plans: tuple[tuple[Step, ...], ...]
    """Orders of sentences; every one holds a single ``verdict`` or ``turn``."""
    scenes: tuple[str, ...]
    aspects: tuple[str, ...]
    intensifiers: tuple[str, ...]
    opinions: tuple[Pair, ...]
    statements: tuple[str, ...]
    """Frames that assert an opinion of an aspect."""
    denials: tuple[Pair, ...]
    """Frames that deny one: the first of a pair takes praise and so finds fault, the
    second takes blame and so commends."""
    contrasts: tuple[str, ...]
    """Frames that join two opposed opinions."""
    turns: tuple[str, ...]
    """Frames that let a verdict overrule the opinions before it."""
    verdicts: tuple[Pair, ...]


TRAIN = Grammar(
    plans=(
        ("scene", "for", "verdict"),
        ("for", "for", "verdict"),
        ("scene", "for", "for", "verdict"),
        ("verdict", "scene", "for"),
        ("scene", "concede", "verdict"),
        ("scene", "regret", "turn"),
        ("scene", "against", "turn"),
        ("against", "against", "turn"),
    ),
    scenes=(
        "I went on a rainy Sunday with my sister",
        "we caught it at the small cinema in town",
        "it follows two brothers over one long summer",
        "the plot concerns a missing letter",
        "a colleague had talked about it for weeks",
        "it was made by a director I did not know",
        "the room was half full that night",
        "it runs for a little under two hours",
        "I had read the novel first",
        "the action moves between a port and a farm",
    ),
    aspects=(
        "the acting",
        "the script",
        "the camera work",
        "the music",
        "the opening",
        "the humour",
        "the story",
        "the leading man",
        "the editing",
        "the final act",
        "the romance",
        "the villain",
    ),
    intensifiers=(
        "truly",
        "very clearly",
        "quite simply",
        "often",
        "from first to last",
    ),
    opinions=(
        ("awful", "superb"),
        ("stupid", "clever"),
        ("dull", "moving"),
        ("cold and mechanical", "warm and generous"),
        ("ugly", "beautiful"),
        ("terrible", "wonderful"),
        ("short of ideas", "full of life"),
        ("stale", "fresh"),
        ("tedious", "gripping"),
        ("irritating", "charming"),
        ("poor in detail", "rich in detail"),
        ("clumsy", "confident"),
        ("a real chore", "a real joy"),
        ("predictable", "original"),
        ("badly judged", "perfectly judged"),
        ("lazy", "great"),
        ("weak", "strong"),
        ("bad", "good"),
        ("tiresome", "funny"),
        ("hopeless", "brilliant"),
        ("unbearable", "enjoyable"),
        ("an unpleasant surprise", "a pleasant surprise"),
        ("disappointing", "impressive"),
        ("a waste of time", "worth the time"),
    ),
    statements=(
        "{aspect} is {opinion}",
        "{aspect} is {intensifier} {opinion}",
        "I found {aspect} {opinion}",
        "to my eyes {aspect} is {opinion}",
        "{aspect} turned out to be {opinion}",
    ),
    denials=(
        ("{aspect} is not {opinion}", "{aspect} is not {opinion} at all"),
        ("I could not call {aspect} {opinion}", "you could not call {aspect} {opinion}"),
        ("{aspect} is never {opinion}", "{aspect} is never once {opinion}"),
    ),
    contrasts=(
        "{first}, but {second}",
        "although {first}, {second}",
        "{first}; {second}, however",
    ),
    turns=(
        "still, {verdict}",
        "for all that, {verdict}",
        "and yet {verdict}",
        "none of this matters much, because {verdict}",
    ),
    verdicts=(
        ("I would never sit through it again", "I would gladly see it again"),
        ("I left the cinema annoyed", "I left the cinema smiling"),
        ("it lost me completely", "it won me over completely"),
        ("this is one to warn everybody about", "this is one to recommend to everybody"),
        ("it deserves none of the prizes it was given", "it deserves all the prizes it was given"),
        ("I have told my friends to stay at home", "I have told my friends to go"),
        (
            "it is the worst thing I have watched this year",
            "it is the best thing I have watched this year",
        ),
        ("the ticket was money thrown away", "the ticket was money well spent"),
        ("I could not wait for it to end", "I did not want it to end"),
        ("nobody should bother with it", "nobody should miss it"),
        (
            "I cannot think of a worse way to spend an evening",
            "I cannot think of a better way to spend an evening",
        ),
        ("I hated it", "I loved it"),
        ("on balance it is a mistake", "on balance it is a success"),
        ("I was bored from beginning to end", "I enjoyed myself from beginning to end"),
        ("the whole thing collapses", "the whole thing works"),
        ("it is not a good film", "it is a good film"),
        ("I was sorry to have seen it", "I was glad to have seen it"),
        ("it made me angry", "it made me happy"),
        ("it is not worth your time", "it is well worth your time"),
        ("it put me to sleep throughout", "it kept me interested throughout"),
        ("I have nothing but complaints about it", "I have nothing but praise for it"),
        ("it was even worse than I had feared", "it was even better than I had hoped"),
        ("I regret nearly everything about it", "I admire nearly everything about it"),
        ("my companions were as displeased as I was", "my companions were as pleased as I was"),
        ("I would call it a sad failure", "I would call it a fine achievement"),
        ("it gets a cold shoulder from me", "it gets a warm welcome from me"),
    ),
)

TEST = Grammar(
    plans=(
        ("for", "scene", "verdict"),
        ("for", "scene", "for", "verdict"),
        ("for", "verdict", "for"),
        ("concede", "scene", "verdict"),
        ("concede", "for", "verdict"),
        ("regret", "scene", "turn"),
        ("against", "scene", "turn"),
        ("against", "scene", "against", "turn"),
    ),
    scenes=(
        "my brother chose it for a wet Tuesday",
        "it was showing at the old theatre near the station",
        "the tale begins with a theft on a night train",
        "three neighbours share one secret here",
        "a critic I follow had mentioned it",
        "it is the second feature from this team",
        "there were perhaps thirty of us in the seats",
        "it lasts for about ninety minutes",
        "I knew nothing of the stage version",
        "most scenes are set on an island in winter",
    ),
    aspects=(
        "the cast",
        "the dialogue",
        "the photography",
        "the soundtrack",
        "the first half",
        "the comedy",
        "the mystery",
        "the heroine",
        "the pacing",
        "the ending",
        "the friendship",
        "the costume design",
    ),
    intensifiers=(
        "really",
        "without doubt",
        "remarkably",
        "mostly",
        "at every moment",
    ),
    opinions=(
        ("dreadful", "excellent"),
        ("silly", "intelligent"),
        ("boring", "touching"),
        ("hollow and insincere", "kind and sincere"),
        ("drab", "lovely"),
        ("appalling", "marvellous"),
        ("drained of energy", "bursting with energy"),
        ("tired", "inventive"),
        ("sluggish", "thrilling"),
        ("annoying", "delightful"),
        ("crude", "elegant"),
        ("awkward", "assured"),
        ("a bore", "a pleasure"),
        ("no fun", "good fun"),
        ("badly handled", "beautifully handled"),
        ("second rate", "first rate"),
        ("as weak as they come", "as strong as they come"),
        ("poor entertainment", "great entertainment"),
        ("uncommonly stupid", "uncommonly clever"),
        ("empty of charm", "full of charm"),
    ),
    statements=(
        "{aspect} seems {opinion}",
        "{aspect} proves {intensifier} {opinion}",
        "I thought {aspect} was {opinion}",
        "for me {aspect} was {opinion}",
        "everyone near me considered {aspect} {opinion}",
    ),
    denials=(
        ("{aspect} was hardly {opinion}", "{aspect} was by no means {opinion}"),
        (
            "nobody would describe {aspect} as {opinion}",
            "no one could accuse {aspect} of being {opinion}",
        ),
        ("{aspect} is anything but {opinion}", "{aspect} is far from {opinion}"),
    ),
    contrasts=(
        "{first}, yet {second}",
        "while {first}, {second}",
        "{first}, whereas {second}",
    ),
    turns=(
        "even so, {verdict}",
        "nevertheless, {verdict}",
        "in the end, though, {verdict}",
        "but when all is said and done {verdict}",
    ),
    verdicts=(
        ("I will not watch it a second time", "I will happily watch it a second time"),
        ("I came home disappointed", "I came home delighted"),
        ("my whole family detested it", "my whole family adored it"),
        ("stay away from it while you can", "go and see it while you can"),
        ("few pictures have pleased me less", "few pictures have pleased me more"),
        ("it belongs among the worst of its kind", "it belongs among the best of its kind"),
        ("it was not worth a penny", "it was worth every penny"),
        ("the time crawled by", "the time flew by"),
        ("I am very sorry that I went", "I am very glad that I went"),
        ("I was miserable when the lights came up", "I was beaming when the lights came up"),
        ("it falls far below its reputation", "it more than lives up to its reputation"),
        ("it is a disaster", "it is a triumph"),
        ("I condemn it with all my heart", "I recommend it with all my heart"),
        ("my evening was a wasted one", "my evening was a happy one"),
        ("as a piece of cinema it fails", "as a piece of cinema it succeeds"),
        ("I would give it no marks", "I would give it full marks"),
        ("I had a very bad time", "I had a very good time"),
        ("it is a failure in almost every way", "it is a success in almost every way"),
    ),
)
