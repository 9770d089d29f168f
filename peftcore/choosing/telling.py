"""What a choice says to people: its verdict in a few sentences, and a short report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from peftcore.choosing.arms import Arm, End
from peftcore.choosing.asking import Cost
from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import Reference, last_run
from peftcore.choosing.delivering import ADAPTER_FOLDER, CARD_FILE, RECORDS_FILE
from peftcore.choosing.racing import gigabytes, percent
from peftcore.choosing.trialling import peak_of
from peftcore.report.canvas import Plot
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.results.records import Record
from peftcore.statistics.variance import wilson

AS_GOOD = 0.5
"""A reference row that is more probably as good than not is named before anything else."""

_COSTS = {
    Cost.PARAMETERS: "trains the fewest weights",
    Cost.TIME: "trains in the least time",
    Cost.MEMORY: "takes the least memory",
}


def verdict(choice: Choice) -> list[str]:
    """Return what was found, in plain sentences, the most important first."""
    decision, request = choice.decision, choice.request
    tolerance = f"{request.within:g} points"
    chosen = decision.chosen
    lines = [f"Use {chosen.method.name} with a learning rate of {chosen.rate:g}."]
    lines += [_loud(choice, one) for one in decision.references if one.as_good >= AS_GOOD]
    tested, low, high = test_accuracy(choice.record)
    lines.append(
        f"The accuracy of {chosen.method.name} on {_answers(choice.record):,} test examples, which "
        f"were used for nothing else, is {tested:.1f}% [{low:.1f}, {high:.1f}]."
    )
    raced = len(decision.belief.standings)
    lines.append(
        f"The probability that it is within {tolerance} of the best of the {raced} arms that were "
        f"tried is {percent(decision.within)}; that it is the best of them, "
        f"{percent(decision.best)}."
    )
    highest, probability = decision.highest
    if highest != chosen:
        lines.append(
            f"{highest.words} is within {tolerance} with a probability of {percent(probability)}, "
            f"nearly the same; of arms so close the one is taken that {_COSTS[request.cost]}."
        )
    if decision.runner_up is not None:
        arm, probability = decision.runner_up
        lines.append(
            f"The runner-up is {arm.words}: within {tolerance} with a probability of "
            f"{percent(probability)}."
        )
    quiet = [one for one in decision.references if one.as_good < AS_GOOD]
    lines += [_beaten(choice, one) for one in quiet]
    untried = sum(_fate(choice, arm) is End.UNTRIED for arm in choice.race.arms)
    if untried:
        lines.append(
            f"{untried} of {len(choice.race.arms)} arms could not be tried in this time: nothing "
            "is known of them."
        )
    lines += choice.race.notes
    if decision.within < AS_GOOD:
        lines.append(
            "That is not sure: with a longer budget, more examples or a wider tolerance (--within) "
            "it would be surer."
        )
    return lines


def _loud(choice: Choice, reference: Reference) -> str:
    name = reference.run.arm.method.name.upper()
    what = {
        "bow": "words counted, with no language model at all, may be all that this task needs",
        "head": "the backbone may not have to be adapted at all",
    }[reference.run.arm.method.slug]
    return (
        f"BUT {name} IS AS GOOD: with a probability of {percent(reference.as_good)} it is no more "
        f"than {choice.request.within:g} points worse ({_against(choice, reference)}); {what}."
    )


def _beaten(choice: Choice, reference: Reference) -> str:
    name, chosen = reference.run.arm.method.name, choice.decision.chosen.method.name
    return f"{name} is not as good as {chosen}: {_against(choice, reference)}."


def _against(choice: Choice, reference: Reference) -> str:
    """Return a reference row's accuracy beside that of what was chosen, where they are compared."""
    if reference.test is not None:
        its, ours = test_accuracy(reference.test)[0], test_accuracy(choice.record)[0]
        return f"{its:.1f}% against {ours:.1f}% on the test examples"
    ours_there = _chosen_accuracy(choice)
    return f"{_accuracy(reference)} against {ours_there} on the validation examples"


def _accuracy(reference: Reference) -> str:
    return f"{100 * (reference.run.accuracy or 0.0):.1f}%"


def _chosen_accuracy(choice: Choice) -> str:
    (standing,) = [
        one for one in choice.decision.belief.standings if one.arm == choice.decision.chosen
    ]
    return f"{100 * standing.accuracy:.1f}%"


def test_accuracy(record: Record) -> tuple[float, float, float]:
    """Return a record's accuracy on the test set with its 95% interval, in percent."""
    predictions, labels = record.predictions or (), record.labels or ()
    right = sum(mine == its for mine, its in zip(predictions, labels, strict=True))
    low, high = wilson(right, len(labels))
    return 100 * right / len(labels), 100 * low, 100 * high


def _answers(record: Record) -> int:
    return len(record.labels or ())


def report(choice: Choice, plots: Sequence[Plot]) -> str:
    """Return the report, as Markdown."""
    request, parts = choice.request, choice.parts
    first, *others = verdict(choice)
    delivered = choice.delivered
    blocks = [
        f"# Which method for {escape(parts.name)}",
        f"**{escape(first)}**",
        *(f"**{escape(line)}**" if line.startswith("BUT ") else escape(line) for line in others),
        f"The trained model is in [`{ADAPTER_FOLDER}/`]({ADAPTER_FOLDER}), its model card in "
        f"[`{CARD_FILE}`]({CARD_FILE}), every trial in [`{RECORDS_FILE}`]({RECORDS_FILE}). Loaded "
        f"again, it answered {delivered.equal} of {delivered.tried} test examples as it did when "
        "it was trained.",
        "## The race",
        *(f"![{plot.alt}](figures/{plot.name}.png)\n\n*{plot.caption}*" for plot in plots),
        _arms_table(choice),
        f"*Accuracy in percent on {parts.validation:,} validation examples, by how many were "
        "trained on. Believed: the central 95% of what is believed of its accuracy on texts like "
        f"these, over seeds, once trained on {choice.race.top:,} examples. Best, within: the "
        f"probability that it is the best of all, and within {request.within:g} points of it.*",
        "## Rows to be beaten",
        _references_table(choice),
        "## Data, time and memory",
        _listing(_facts(choice)),
        "## How to read the probabilities",
        _assumptions(choice),
        f"The race was for a tolerance of {request.within:g} points and had a budget of "
        f"{_minutes(request.budget_seconds)}. The same command with a longer budget goes on from "
        "here.",
    ]
    return "\n\n".join(blocks) + "\n"


def _arms_table(choice: Choice) -> str:
    race, decision = choice.race, choice.decision
    belief = decision.belief
    within, best = belief.within(choice.request.within / 100), belief.best()
    sizes = sorted({run.examples for run in race.runs})
    headings = ["Arm", "What became of it", *(f"{size:,}" for size in sizes)]
    headings += ["Believed (%)", "Best", "Within", "Trained weights", "Seconds", "Peak"]
    tried = {one.arm.key for one in belief.standings}
    order = sorted(
        (arm for arm in race.arms if _fate(choice, arm) is not End.UNTRIED),
        key=lambda arm: (-within.get(arm.key, -1.0), -best.get(arm.key, -1.0)),
    )
    rows = []
    for arm in order:
        name = f"**{escape(arm.words)}**" if arm == decision.chosen else escape(arm.words)
        well = [run for run in race.runs if run.arm == arm and run.right is not None]
        cells = [name, _became(choice, arm), *(_mean(choice, arm, size) for size in sizes)]
        interval = belief.interval(arm.key) if arm.key in tried else None
        cells.append(
            MISSING if interval is None else f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        )
        cells += [
            percent(which[arm.key]) if arm.key in which else MISSING for which in (best, within)
        ]
        run = last_run(race, arm) if well else None
        weights = None if run is None else run.trained_parameters
        peak = None if run is None else run.peak_bytes
        cells.append(MISSING if weights is None else f"{weights:,}")
        cells.append(MISSING if run is None else f"{run.train_seconds:.1f}")
        cells.append(MISSING if peak is None else gigabytes(peak))
        rows.append(cells)
    return table(headings, rows, text_columns=2)


def _became(choice: Choice, arm: Arm) -> str:
    """Return what became of an arm, on one line."""
    race = choice.race
    fate = race.fates.get(arm.key)
    if fate is None:
        return MISSING
    seeds = sum(
        run.arm == arm and run.examples == race.top and run.right is not None for run in race.runs
    )
    more = f", {seeds} seeds" if fate.end is End.FINISHED and seeds > 1 else ""
    return escape(fate.words.partition("\n")[0] + more)


def _mean(choice: Choice, arm: Arm, size: int) -> str:
    found = [
        run.accuracy
        for run in choice.race.runs
        if run.arm == arm and run.examples == size and run.accuracy is not None
    ]
    return f"{100 * fmean(found):.1f}" if found else MISSING


def _references_table(choice: Choice) -> str:
    rows = []
    tested, low, high = test_accuracy(choice.record)
    rows.append(
        [
            f"**{escape(choice.decision.chosen.words)}**",
            _chosen_accuracy(choice),
            MISSING,
            f"{tested:.1f}% [{low:.1f}, {high:.1f}]",
        ]
    )
    for one in choice.decision.references:
        method = one.run.arm.method
        test = MISSING
        if one.test is not None:
            its, low, high = test_accuracy(one.test)
            test = f"{its:.1f}% [{low:.1f}, {high:.1f}]"
        rows.append([escape(method.name), _accuracy(one), percent(one.as_good), test])
    within = f"As good, to {choice.request.within:g} points"
    return table(["", "Validation accuracy", within, "Test accuracy"], rows)


def _facts(choice: Choice) -> list[str]:
    request, parts, race = choice.request, choice.parts, choice.race
    facts = [
        f"{parts.train:,} examples to train on, {parts.validation:,} to compare by, and "
        f"{parts.test:,} for the last test"
        + (", which came with the data" if parts.own_test else ", cut by the data's own content")
        + ".",
        *(escape(note) for note in parts.notes),
        f"Before the last test it was trained once more, on {choice.trial.task.train_examples:,} "
        "examples: those of the race and those it was compared by.",
        f"{_minutes(choice.spent_seconds)} of {_minutes(request.budget_seconds)} were used, for "
        f"{len(choice.records)} trials.",
    ]
    untried = [arm.words for arm in race.arms if _fate(choice, arm) is End.UNTRIED]
    if untried:
        facts.append(f"For want of time nothing was tried of {escape(listed(untried))}.")
    peak = peak_of(choice.record.measurement)
    if peak is not None:
        limit = "" if request.memory_bytes is None else f" of {gigabytes(request.memory_bytes)}"
        facts.append(f"The last training took {gigabytes(peak)}{limit} of memory at its peak.")
    return facts


def _assumptions(choice: Choice) -> str:
    spread = 100 * choice.decision.belief.seed_spread
    return (
        "They are about true accuracies: on texts like these and over seeds. Answers are compared "
        "pair by pair, example by example. One trained model is taken to differ from another of "
        f"the same arm by {spread:.1f} points (standard deviation), by what repeated arms showed "
        "and by what is usual; an arm that stopped early is taken to gain what the others gained "
        "from there, or what its own last step promised. Only arms that were tried are spoken of. "
        "How it is computed, and how often it is right, is in peftcore's docs/choose.md."
    )


def _fate(choice: Choice, arm: Arm) -> End | None:
    fate = choice.race.fates.get(arm.key)
    return None if fate is None else fate.end


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s"


def _listing(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def to_json(choice: Choice) -> dict[str, Any]:
    """Return the choice as JSON values."""
    decision, belief = choice.decision, choice.decision.belief
    tested, low, high = test_accuracy(choice.record)
    within, best = belief.within(choice.request.within / 100), belief.best()
    return {
        "chosen": {"method": decision.chosen.method.slug, "learning_rate": decision.chosen.rate},
        "within": choice.request.within,
        "probability_within": decision.within,
        "probability_best": decision.best,
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
        "references": [
            {
                "method": one.run.arm.method.slug,
                "validation_accuracy": one.run.accuracy,
                "test_accuracy": None if one.test is None else test_accuracy(one.test)[0] / 100,
                "probability_as_good": one.as_good,
            }
            for one in decision.references
        ],
        "arms": [
            {
                "method": arm.method.slug,
                "learning_rate": arm.rate,
                "end": None if (fate := _fate(choice, arm)) is None else str(fate),
                "probability_within": within.get(arm.key),
                "probability_best": best.get(arm.key),
            }
            for arm in choice.race.arms
        ],
        "spent_seconds": choice.spent_seconds,
        "budget_seconds": choice.request.budget_seconds,
        "out": str(choice.request.out),
    }
