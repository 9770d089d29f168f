"""The short report of a choice, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from peftcore.choosing.arms import Arm, End
from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import last_run
from peftcore.choosing.delivering import ADAPTER_FOLDER, CARD_FILE, RECORDS_FILE, base_of
from peftcore.choosing.telling import compared, epochs_of, seen_accuracy, verdict
from peftcore.choosing.testing import always, classes_of, classes_table, tested_accuracy
from peftcore.choosing.trialling import peak_of
from peftcore.choosing.wording import gigabytes, in_minutes, percent
from peftcore.report.canvas import Plot
from peftcore.report.classes import ByClass
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.results.records import Record


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
        f"*An arm is a method with a learning rate. Accuracy in percent on {parts.validation:,} "
        "validation examples, by how many were trained on. Believed: the central 95% of what is "
        "believed of its accuracy on texts like these, over seeds, once trained on "
        f"{choice.race.top:,} examples. Best, within: the probability that it is the best of all, "
        f"and within {request.within:g} points of it. Seconds of training and peak of memory are "
        "of the largest part that it was trained on.*",
        "## Rows to be beaten",
        _references_table(choice),
        "*Arms are compared by validation accuracy, so that of what was chosen is partly luck; "
        "nothing was chosen by test accuracy. As good: the probability that a row is no more than "
        f"{request.within:g} points below what was chosen, by the test set where it was tested. "
        "Macro-F1 is the mean over classes of the harmonic mean of precision and recall, and "
        "Matthews' correlation is 0 for guessing and 1 for no error; both are of the test set.*",
        "## Class by class",
        classes_table(choice),
        "## Data, time and memory",
        _listing(_facts(choice)),
        "## How to read the probabilities",
        _assumptions(choice),
        f"The race was for a tolerance of {request.within:g} points and had a budget of "
        f"{in_minutes(request.budget_seconds)}. The same command with a longer budget goes on from "
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
    tried = {one.arm.key for one in belief.standings} if compared(choice) else set()
    order = sorted(
        (arm for arm in race.arms if race.end_of(arm) is not End.UNTRIED),
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
            percent(which[arm.key]) if arm.key in tried else MISSING for which in (best, within)
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
    decision, constant = choice.decision, always(choice)
    (ours,) = [one for one in decision.belief.standings if one.arm == decision.chosen]
    rows = [
        [
            f"**{escape(decision.chosen.words)}**",
            f"{100 * ours.accuracy:.1f}%",
            MISSING,
            *_tested(choice.record),
        ]
    ]
    for one in decision.references:
        as_good = percent(one.as_good)
        tested = [MISSING] * 3 if one.test is None else _tested(one.test)
        rows.append([escape(one.run.arm.method.name), seen_accuracy(one), as_good, *tested])
    rows.append(
        [
            f"Always {escape(repr(constant.name))}",
            MISSING,
            percent(constant.as_good),
            f"{constant.accuracy:.1f}%",
            *_by_class(constant.classes),
        ]
    )
    within = f"As good, to {choice.request.within:g} points"
    return table(
        ["", "Validation accuracy", within, "Test accuracy", "Macro-F1 (%)", "Matthews"], rows
    )


def _tested(record: Record) -> list[str]:
    accuracy, low, high = tested_accuracy(record)
    return [f"{accuracy:.1f}% [{low:.1f}, {high:.1f}]", *_by_class(classes_of(record))]


def _by_class(found: ByClass) -> list[str]:
    return [f"{found.macro_f1:.1f}", f"{found.matthews:.3f}".replace("-", "−")]


def _facts(choice: Choice) -> list[str]:
    request, parts, race, trial = choice.request, choice.parts, choice.race, choice.trial
    recipe, (base, revision) = trial.recipe, base_of(trial.backbone)
    facts = [
        f"{parts.train:,} examples to train on, {parts.validation:,} to compare by, and "
        f"{parts.test:,} for the last test"
        + (", which came with the data" if parts.own_test else ", cut by the data's own content")
        + ".",
        *(escape(note) for note in parts.notes),
        f"The backbone is {escape(base if revision else trial.backbone.name)}, trained for "
        f"{epochs_of(choice)} in batches of {recipe.batch_size}, in {recipe.precision}. Of a "
        f"text {trial.task.max_length} tokens are read at most (`--set max_length=…`); the rest is "
        "cut.",
        f"Before the last test it was trained once more, on {trial.task.train_examples:,} of the "
        f"{parts.train + parts.validation:,} examples of the race and of the comparison.",
        f"{in_minutes(choice.spent_seconds)} of {in_minutes(request.budget_seconds)} were used, "
        f"for {len(choice.records)} trials.",
    ]
    untried = [arm.words for arm in race.arms if race.end_of(arm) is End.UNTRIED]
    if untried:
        facts.append(f"For want of time nothing was tried of {escape(listed(untried))}.")
    peak = peak_of(choice.record.measurement)
    if peak is not None:
        limit = "" if request.memory_bytes is None else f" of {gigabytes(request.memory_bytes)}"
        facts.append(f"The last training took {gigabytes(peak)}{limit} of memory at its peak.")
    return facts


def _assumptions(choice: Choice) -> str:
    belief = choice.decision.belief
    repeated = any(len(one.accuracies) > 1 for one in belief.standings)
    by = "by what repeated arms showed and by what is usual" if repeated else "as is usual"
    return (
        "They are about true accuracies: on texts like these and over seeds. Answers are compared "
        "pair by pair, example by example. One trained model is taken to differ from another of "
        f"the same arm by {100 * belief.seed_spread:.1f} points (standard deviation), {by}; an arm "
        "that stopped early is taken to gain what the others gained from there, or what its own "
        "last step promised. Only arms that were tried are spoken of. How it is computed, and how "
        "often it is right, is in peftcore's docs/choose.md."
    )


def _listing(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
