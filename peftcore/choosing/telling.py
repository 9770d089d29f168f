"""What a choice says: its verdict in a few sentences, and the same as JSON."""

from __future__ import annotations

from typing import Any

from peftcore.choosing.arms import End
from peftcore.choosing.asking import Cost
from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import Reference, last_run
from peftcore.choosing.testing import Always, always, classes_of, missed, tested_accuracy
from peftcore.choosing.wording import percent
from peftcore.report.markdown import listed
from peftcore.results.records import Record

AS_GOOD = 0.5
"""What must be beaten and is more probably as good than not, is named before anything else."""

LEAST_LENGTH = 64
"""To fewer tokens than this no text is advised to be cut."""

SURELY = 0.9
"""From this probability on it is said to be so, and not that it may be."""

_COSTS = {
    Cost.PARAMETERS: "trains the fewest weights",
    Cost.TIME: "trains in the least time",
    Cost.MEMORY: "takes the least memory",
}

_LEFT_OUT = {
    End.UNTRIED: "could not be tried in this time, and nothing is known of them",
    End.FAILED: "failed, as the report says",
    End.MEMORY: "were dropped for the memory they take",
}

_NAMED = 3
"""So many classes are named in a sentence."""


def verdict(choice: Choice) -> list[str]:
    """Return what was found, in plain sentences, the most important first."""
    decision, constant = choice.decision, always(choice)
    chosen = decision.chosen
    lines = [f"Use {chosen.method.name} with a learning rate of {chosen.rate:g}."]
    lines += _warnings(choice, constant)
    _, low, high = tested_accuracy(choice.record)
    lines.append(
        f"The accuracy of {chosen.method.name} on {_answers(choice.record):,} test examples, "
        f"{how_new(choice)}, is {_tested(choice)} (95% interval of this one trained model: "
        f"{low:.1f}% to {high:.1f}%)."
    )
    found = classes_of(choice.record)
    lines.append(
        f"Its macro-F1, the mean over classes, is {found.macro_f1:.1f}%, and Matthews' correlation "
        f"{found.matthews:.2f}; always answering {constant.name!r} would be right for "
        f"{constant.accuracy:.1f}%."
    )
    lines += _missed(choice)
    lines += _probabilities(choice)
    lines += [_beaten(choice, one) for one in decision.references if one.as_good < AS_GOOD]
    lines += [*_left_out(choice), *choice.race.notes, *_for_more(choice)]
    if compared(choice) and decision.within < AS_GOOD:
        lines.append(
            "That is not sure: with a longer budget, more examples or a wider tolerance (--within) "
            "it would be surer."
        )
    return lines


def _for_more(choice: Choice) -> list[str]:
    """Return what would let a race go further that was on a part of the data, in a sentence."""
    if choice.race.top == choice.race.train:
        return []
    half = choice.parts.task.max_length // 2
    shorter = f" or texts cut shorter (--set max_length={half})" if half >= LEAST_LENGTH else ""
    return [f"A longer budget{shorter} would let it race on more of them."]


def _warnings(choice: Choice, constant: Always) -> list[str]:
    """Return what a reader must not miss: that less than what was chosen may do as well."""
    lines = []
    answers = set(choice.record.predictions or ())
    if len(answers) == 1:
        lines.append(
            "BUT IT HAS LEARNED NOTHING: it answers "
            f"{choice.parts.task.class_of(*answers)!r} to every test example; give a longer "
            "budget, more examples of the other classes, or more epochs (--set epochs=…)."
        )
    elif constant.as_good >= AS_GOOD:
        accuracies = f"{constant.accuracy:.1f}% against {_tested(choice)} on the test examples"
        lines.append(
            _loud(choice, f"ALWAYS ANSWERING {constant.name!r}", constant.as_good, accuracies)
            + "; accuracy tells little here."
        )
    for one in choice.decision.references:
        if one.as_good >= AS_GOOD:
            name, what = one.run.arm.method.name.upper(), _MEANING[one.run.arm.method.slug]
            # Of what has learned nothing nothing follows for the task.
            meaning = "" if len(answers) == 1 else f"; {what}"
            lines.append(f"{_loud(choice, name, one.as_good, _against(choice, one))}{meaning}.")
    return lines


def how_new(choice: Choice) -> str:
    """Return whether the test examples are new to what was chosen, as a clause."""
    seen = choice.parts.seen_tests
    if not seen:
        return "which nothing was trained on or chosen by"
    return f"which nothing was chosen by, but {seen:,} of them are in the training set too"


def compared(choice: Choice) -> bool:
    """Return whether there were arms to compare: what is the only one is the best of nothing."""
    return len(choice.decision.belief.standings) > 1


def epochs_of(choice: Choice) -> str:
    """Return how often the examples were gone through, as ``3 epochs``."""
    epochs = choice.trial.recipe.epochs
    return f"{epochs} epoch" if epochs == 1 else f"{epochs} epochs"


def _probabilities(choice: Choice) -> list[str]:
    """Return how sure the choice is, and what came second, in sentences."""
    decision, tolerance = choice.decision, f"{choice.request.within:g} points"
    if not compared(choice):
        return [
            "It is the only one that could be compared: how much better others would be is not "
            "known."
        ]
    lines = [
        f"The probability that it is within {tolerance} of the best of the "
        f"{len(decision.belief.standings)} pairs of a method and a learning rate that were tried "
        f"is {percent(decision.within)}; that it is the best of them, {percent(decision.best)}."
    ]
    highest, probability = decision.highest
    if highest != decision.chosen:
        lines.append(
            f"{highest.words} is within {tolerance} with a probability of {percent(probability)}, "
            f"nearly the same; of those so close the one is taken that "
            f"{_COSTS[choice.request.cost]}."
        )
    if decision.runner_up is not None:
        arm, probability = decision.runner_up
        size = last_run(choice.race, arm).examples
        believed = (
            f"; that is believed and was not seen, as it was trained on {size:,} examples alone"
            if probability > decision.within and size < choice.race.top
            else ""
        )
        lines.append(
            f"The runner-up is {arm.words}: within {tolerance} with a probability of "
            f"{percent(probability)}{believed}."
        )
    return lines


_MEANING = {
    "bow": "words counted, with no language model at all, may be all that this task needs",
    "head": "the backbone may not have to be adapted at all",
}
"""What it means that a reference row is as good."""


def _left_out(choice: Choice) -> list[str]:
    """Return which arms the probabilities are not of, and why, in sentences."""
    race, lines = choice.race, []
    for end, words in _LEFT_OUT.items():
        arms = [arm for arm in race.arms if race.end_of(arm) is end]
        names = listed(list(dict.fromkeys(arm.method.name for arm in arms)))
        if arms:
            lines.append(
                f"{len(arms)} of {len(race.arms)} pairs of a method and a learning rate {words} "
                f"({names})."
            )
    return lines


def _loud(choice: Choice, name: str, as_good: float, accuracies: str) -> str:
    surely = "IS" if as_good >= SURELY else "MAY BE"
    return (
        f"BUT {name} {surely} AS GOOD: with a probability of {percent(as_good)} it is no "
        f"more than {choice.request.within:g} points worse ({accuracies})"
    )


def _beaten(choice: Choice, reference: Reference) -> str:
    name, chosen = reference.run.arm.method.name, choice.decision.chosen.method.name
    probably = "" if reference.as_good <= 1 - SURELY else "probably "
    return (
        f"{name} is {probably}not as good as {chosen}: {_against(choice, reference)}; with a "
        f"probability of {percent(reference.as_good)} it is no more than "
        f"{choice.request.within:g} points worse."
    )


def _missed(choice: Choice) -> list[str]:
    """Return in a sentence of which classes nothing is found; nothing where there are none."""
    classes = missed(choice)
    if not classes:
        return []
    named = [f"{name!r} ({examples:,})" for name, examples in classes[:_NAMED]]
    if len(classes) > _NAMED:
        named.append(f"{len(classes) - _NAMED} more")
    noun = "class" if len(classes) == 1 else "classes"
    return [f"It finds none of the test examples of the {noun} {listed(named)}."]


def _against(choice: Choice, reference: Reference) -> str:
    """Return a reference row's accuracy beside that of what was chosen, where they are compared."""
    if reference.test is not None:
        its = tested_accuracy(reference.test)[0]
        return f"{its:.1f}% against {_tested(choice)} on the test examples"
    ours_there = _chosen_accuracy(choice)
    return f"{seen_accuracy(reference)} against {ours_there} on the validation examples"


def _tested(choice: Choice) -> str:
    return f"{tested_accuracy(choice.record)[0]:.1f}%"


def seen_accuracy(reference: Reference) -> str:
    """Return a reference row's accuracy on the validation examples, in percent."""
    return f"{100 * (reference.run.accuracy or 0.0):.1f}%"


def _chosen_accuracy(choice: Choice) -> str:
    (standing,) = [
        one for one in choice.decision.belief.standings if one.arm == choice.decision.chosen
    ]
    return f"{100 * standing.accuracy:.1f}%"


def _answers(record: Record) -> int:
    return len(record.labels or ())


def to_json(choice: Choice) -> dict[str, Any]:
    """Return the choice as JSON values."""
    decision, belief = choice.decision, choice.decision.belief
    tested, low, high = tested_accuracy(choice.record)
    # What is the only one is the best of nothing.
    sure = compared(choice)
    within = belief.within(choice.request.within / 100) if sure else {}
    best = belief.best() if sure else {}
    found, constant = classes_of(choice.record), always(choice)
    return {
        "chosen": {"method": decision.chosen.method.slug, "learning_rate": decision.chosen.rate},
        "within": choice.request.within,
        "probability_within": within.get(decision.chosen.key),
        "probability_best": best.get(decision.chosen.key),
        "runner_up": None
        if decision.runner_up is None
        else {
            "method": decision.runner_up[0].method.slug,
            "learning_rate": decision.runner_up[0].rate,
            "probability_within": decision.runner_up[1],
        },
        "test_accuracy": tested / 100,
        "test_interval": [low / 100, high / 100],
        "test_examples": _answers(choice.record),
        "test_macro_f1": found.macro_f1 / 100,
        "test_matthews": found.matthews,
        "always": {
            "class": constant.name,
            "test_accuracy": constant.accuracy / 100,
            "probability_as_good": constant.as_good,
        },
        "references": [
            {
                "method": one.run.arm.method.slug,
                "validation_accuracy": one.run.accuracy,
                "test_accuracy": None if one.test is None else tested_accuracy(one.test)[0] / 100,
                "probability_as_good": one.as_good,
            }
            for one in decision.references
        ],
        "arms": [
            {
                "method": arm.method.slug,
                "learning_rate": arm.rate,
                "end": None if (fate := choice.race.end_of(arm)) is None else str(fate),
                "probability_within": within.get(arm.key),
                "probability_best": best.get(arm.key),
            }
            for arm in choice.race.arms
        ],
        "notes": [*choice.parts.notes, *choice.race.notes],
        "spent_seconds": choice.spent_seconds,
        "budget_seconds": choice.request.budget_seconds,
        "out": str(choice.request.out),
    }
