"""What is said of a choice: no more than is known, and what a reader must not miss."""

from dataclasses import replace

import pytest

from peftcore.choosing.asking import Cost, Request
from peftcore.choosing.card import write_card
from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import decide
from peftcore.choosing.delivering import Delivered
from peftcore.choosing.parts import Parts
from peftcore.choosing.reporting import report
from peftcore.choosing.telling import to_json, verdict
from peftcore.results.records import Record
from peftcore.scenarios import Recipe, Task
from peftcore.trials import Engine, Source, Trial, Weights
from tests.choosing.simulation import TRAIN, World, arm_of, flat, race_in

RACED = ("lora", "ia3", "dora")
YES_AND_NO = ("no", "yes")
RARE = tuple(int(n < 6) for n in range(200))
"""Labels of which 3% are the second class."""

EVEN = tuple(n % 2 for n in range(200))


def right_but(labels, wrong):
    return tuple(1 - label if n < wrong else label for n, label in enumerate(labels))


MOSTLY_RIGHT = right_but(EVEN, 20)


@pytest.fixture
def make_choice(tmp_path):
    """Return a function that makes the choice that a simulated race and these answers end in."""

    def make(
        *,
        answers=MOSTLY_RIGHT,
        labels=EVEN,
        classes=YES_AND_NO,
        words=None,
        away=None,
        seen_tests=0,
        **options,
    ):
        curves = {f"{slug}@0.001": flat(0.88) for slug in RACED}
        world = World(curves, **(away or {}))
        arms = [arm_of(slug) for slug in RACED]
        race = race_in(world, arms, **{"budget": 3000, **options})
        task = Task(classes=classes, train_examples=2133, test_examples=len(labels))
        about = {"id": "x", "method": "lora", "task": task.describe()}
        record = Record(trial=about, outcome="ok", predictions=answers, labels=labels)
        bow = replace(world.run(arms[0], TRAIN, 42, 1e6), arm=arm_of("bow"))
        decision = decide(race, tolerance=0.005, cost=Cost.TIME, references=[bow])
        if words is not None:
            (one,) = decision.references
            tested = replace(record, predictions=right_but(labels, 30))
            decision = replace(decision, references=(replace(one, as_good=words, test=tested),))
        counts = tuple(labels.count(label) for label in range(len(classes)))
        return Choice(
            request=Request(data=tmp_path),
            parts=Parts(
                name="mine <i>x</i>",
                folder=tmp_path,
                task=task,
                train=TRAIN,
                validation=400,
                test=len(labels),
                own_test=False,
                counts=counts,
                majority=0.5,
                seen_tests=seen_tests,
            ),
            race=race,
            decision=decision,
            trial=Trial(
                method=decision.chosen.method,
                scenario="choose-x",
                seed=42,
                backbone=Source(name="mine", identity="x", path="/models/mine"),
                data=Source(name="mine-final", identity="x"),
                weights=Weights.PRETRAINED,
                task=task,
                recipe=Recipe(learning_rate=0.001),
                engine=Engine.PEFTCORE,
            ),
            record=record,
            delivered=Delivered(folder=tmp_path, tried=50, equal=50),
            records=(record,),
            spent_seconds=600.0,
        )

    return make


def test_the_verdict_names_the_probabilities_and_what_they_are_of(make_choice):
    said = " ".join(verdict(make_choice()))
    assert "within 0.5 points of the best of the 3 pairs of a method and a learning rate" in said
    assert "The runner-up is" in said
    assert "on 200 test examples, which nothing was trained on or chosen by, is 90.0%" in said
    assert "95% interval of this one trained model: 85.1% to 93.4%" in said
    assert "always answering 'no' would be right for 50.0%" in said
    assert "BUT ALWAYS" not in said


def test_test_texts_that_were_trained_on_are_not_called_new(make_choice):
    choice, known = make_choice(), make_choice(seen_tests=180)
    new = "which nothing was trained on or chosen by"
    for said in (" ".join(verdict(known)), write_card(known)):
        assert new not in said
        assert "but 180 of them are in the training set too" in said
    assert new in write_card(choice)


def test_a_runner_up_that_is_the_more_probable_for_having_stopped_early_is_explained(make_choice):
    choice = make_choice()
    ended = {run.arm.key: run.arm for run in choice.race.runs if run.examples == TRAIN}
    arm = next(one for one in ended.values() if one != choice.decision.chosen)
    probable = replace(choice.decision, runner_up=(arm, 0.99), within=0.5)
    words = "that is believed and was not seen, as it was trained on"
    assert words not in " ".join(verdict(replace(choice, decision=probable)))
    for run in [run for run in choice.race.runs if run.arm == arm and run.examples > 400]:
        choice.race.runs.remove(run)
    said = " ".join(verdict(replace(choice, decision=probable)))
    assert f"with a probability of 99%; {words} 400 examples alone." in said


def test_classes_beyond_those_shown_are_counted_apart_if_nothing_was_tested_of_them(make_choice):
    names = tuple(f"c{n:02}" for n in range(15))
    # Of three classes there is no test example; one of the others is left out of the table.
    labels = tuple(n % 13 for n in range(130))
    text = report(make_choice(answers=labels, labels=labels, classes=names), [])
    assert "1 more class is found as well or better. 2 more classes are in no test example." in text


def test_of_the_only_arm_that_was_tried_nothing_is_said_beside_others(make_choice):
    choice = make_choice(budget=40)
    assert len(choice.decision.belief.standings) == 1
    said = " ".join(verdict(choice))
    assert "It is the only one that could be compared" in said
    assert "probability that it is" not in said
    assert "2 of 3 pairs of a method and a learning rate could not be tried in this time" in said
    assert "(IA3 and DoRA)." in said
    content = to_json(choice)
    assert content["probability_within"] is content["probability_best"] is None
    assert content["arms"][0]["probability_within"] is None
    assert "it was the only one that could be compared" in write_card(choice)
    assert "100%" not in report(choice, []).replace("(100%)", "")
    assert ">99%" not in report(choice, [])


def test_shorter_texts_are_advised_where_there_was_no_time_for_all_the_data(make_choice):
    short = make_choice(budget=150)
    assert len(short.decision.belief.standings) > 1
    assert short.race.top < short.race.train
    said = " ".join(verdict(short))
    assert "A longer budget or texts cut shorter (--set max_length=128) would let it" in said
    assert "would let it race on more" not in " ".join(verdict(make_choice()))


def test_what_failed_or_took_too_much_memory_is_named(make_choice):
    away = {"failing": ("ia3@0.001",), "memory": {"dora": 9 * 10**9}}
    said = " ".join(verdict(make_choice(away=away, memory_bytes=2 * 10**9)))
    assert "1 of 3 pairs of a method and a learning rate failed, as the report says (IA3)." in said
    assert "were dropped for the memory they take (DoRA)." in said


def test_what_is_no_better_than_the_most_frequent_class_is_said_before_all_else(make_choice):
    # One of the rare ones is found, and one of the others taken for it.
    answers = tuple(int(n in (0, 100)) for n in range(200))
    lines = verdict(make_choice(answers=answers, labels=RARE))
    assert lines[1].startswith("BUT ALWAYS ANSWERING 'no' MAY BE AS GOOD: with a probability of")
    assert "97.0% against 97.0% on the test examples" in lines[1]


def test_what_always_gives_one_answer_has_learned_nothing_and_it_is_said(make_choice):
    choice = make_choice(answers=(0,) * 200, labels=RARE, words=0.95)
    lines = verdict(choice)
    assert lines[1].startswith(
        "BUT IT HAS LEARNED NOTHING: it answers 'no' to every test example; give a longer budget"
    )
    assert "may be all that this task needs" not in lines[2]
    said = " ".join(lines)
    # Of "no", found are all of 194 and right are 194 of 200; of "yes" none.
    assert "macro-F1, the mean over classes, is 49.2%, and Matthews' correlation 0.00" in said
    assert "It finds none of the test examples of the class 'yes' (6)." in said
    content = to_json(choice)
    assert content["test_macro_f1"] == pytest.approx(194 / (194 + 3) / 2)
    assert content["always"] == {
        "class": "no",
        "test_accuracy": 0.97,
        "probability_as_good": pytest.approx(0.69, abs=0.1),
    }


def test_the_report_tells_each_class_and_each_row_beyond_accuracy(make_choice):
    choice = make_choice(answers=right_but(RARE, 3), labels=RARE, words=0.1)
    text = report(choice, [])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    by_name = {row[0]: row for row in rows}
    # Three of six are found: those with the least found come first, and beside them the words'.
    assert by_name["yes"][1:] == ["6", "6", "50.0", "0.0"]
    assert by_name["no"][1:] == ["194", "194", "100.0", "87.6"]
    chosen = by_name[f"**{choice.decision.chosen.words}**"]
    f1 = (2 * 194 / (194 + 197) + 2 * 3 / (6 + 3)) / 2
    assert f"{100 * f1:.1f}" in [cell for row in rows if row[0] == chosen[0] for cell in row]
    assert by_name["Always 'no'"][3:] == ["97.0%", "49.2", "0.000"]
    assert "partly luck" in text


@pytest.mark.parametrize(
    ("as_good", "expected"),
    [
        (0.95, "BUT BAG OF WORDS IS AS GOOD: with a probability of 95% it is no more than 0.5"),
        (0.60, "BUT BAG OF WORDS MAY BE AS GOOD: with a probability of 60% it is no more than"),
        (0.30, "Bag of words is probably not as good as"),
        (0.02, "Bag of words is not as good as"),
    ],
)
def test_what_must_be_beaten_is_called_as_good_as_surely_as_is_known(
    make_choice, as_good, expected
):
    (line,) = [one for one in verdict(make_choice(words=as_good)) if expected in one]
    assert f"a probability of {as_good:.0%} it is no more than 0.5 points worse" in line
    assert "85.0% against 90.0% on the test examples" in line


def test_names_that_are_markup_are_shown_and_not_obeyed(make_choice):
    hostile = ("<script>alert(1)</script>", "a|b\n# `c` [d](http://e)")
    choice = make_choice(classes=hostile, answers=(0,) * 200)
    text = report(choice, [])
    card = write_card(choice)
    before, _, rest = card.partition("```python")
    code, _, after = rest.partition("\n```\n")
    for shown in (text, before.partition("\n---\n")[2], after):
        assert "<script>" not in shown
        assert "<i>" not in shown
        assert "](http://e)" not in shown.replace("\\]", "")
        assert not any(line.startswith("# `c`") for line in shown.splitlines())
    table = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(table) == 1
    assert "classes = " in code
    compile(code, "card", "exec")
