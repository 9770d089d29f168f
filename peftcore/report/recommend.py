"""Which method to use for what, and how sure that is: rules applied to the records, no opinions.

Only candidates that finished are recommended, and none whose mean accuracy is under the bag of
words' or no better than always answering the most frequent label. Whether the bag of words is told
from what it leaves out is said beside it.
The default is the cheapest method whose accuracy can't be told apart from the best one's, and whose
own interval holds an equal one; cheapest means the smallest product of train time and peak memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from peftcore.methods import Trains
from peftcore.report.analysis import (
    as_far_as_told,
    best_of,
    cost_phrases,
    mean_with_unit,
    with_unit,
)
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import (
    ACCURACY,
    FILE_SIZE,
    MISSING,
    SHARED_MARK,
    TRAIN_TIME,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.report.summary import BAG_OF_WORDS, BASELINE, MethodSummary, Summary
from peftcore.report.wording import ONE_SEED, compared

_Z_95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """What somebody needs, the methods that serve it best here, and why; both as Markdown."""

    need: str
    methods: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Default:
    """The default recommendation.

    Attributes:
        method: what to use.
        best: the most accurate candidate; it may be the same.
        equals: candidates whose accuracy can't be told apart from the best one's, itself left out.
        behind: candidates that can't be told apart from it among so many, but whose own interval
            is wholly below.
        untested: candidates that could not be tested against the best one.
        alone: whether nothing else qualified.
        whole: whether all candidates with an accuracy did.
    """

    method: MethodSummary
    best: MethodSummary
    equals: tuple[MethodSummary, ...]
    behind: tuple[MethodSummary, ...]
    untested: tuple[MethodSummary, ...]
    alone: bool
    whole: bool


def eligible(summary: Summary) -> list[MethodSummary]:
    """Return the candidates that may be recommended."""
    return [
        method
        for method in summary.candidates
        if method.finished
        and not summary.under_bag_of_words(method)
        and not summary.learned_nothing(method)
    ]


def default(summary: Summary) -> Default | None:
    """Return the default recommendation; ``None`` where accuracy carries none."""
    methods = [method for method in eligible(summary) if method.mean(ACCURACY) is not None]
    if not methods:
        return None
    best = summary.most_accurate(methods)
    if best is None:
        return None
    pairs = {m.slug: summary.paired(best, m) for m in methods if m is not best}
    standings = {slug: paired.standing if paired else None for slug, paired in pairs.items()}
    level = [m for m in methods if standings.get(m.slug) is Standing.OPEN]
    # The more methods there are, the harder any two are to tell apart: that must not recommend one
    # which by itself is shown to be worse.
    equals = tuple(m for m in level if not _is_ahead(pairs[m.slug]))
    untested = tuple(
        m for m in methods if m is not best and standings[m.slug] in (None, Standing.UNTESTED)
    )
    contenders = [best, *equals]
    return Default(
        method=min(contenders, key=lambda method: _cost(summary, method, contenders)),
        best=best,
        equals=equals,
        behind=tuple(m for m in level if m not in equals),
        untested=untested,
        alone=len(methods) == 1,
        whole=all(m in methods for m in summary.candidates if m.mean(ACCURACY) is not None),
    )


def _is_ahead(paired: PairedAccuracy | None) -> bool:
    """Return whether the interval of a difference is wholly above zero, taken by itself."""
    interval = paired.interval_points if paired else None
    return interval is not None and interval[0] > 0


def _cost(summary: Summary, method: MethodSummary, contenders: Sequence[MethodSummary]) -> float:
    """Return train time times peak memory, of what was measured for every contender."""
    metrics = [
        metric
        for metric in (TRAIN_TIME, summary.memory)
        if all(contender.mean(metric) is not None for contender in contenders)
    ]
    return math.prod(method.mean(metric) or 0.0 for metric in metrics)


def _names(methods: Sequence[MethodSummary]) -> str:
    return listed(_escaped(*methods))


def _lowest(need: str, metric: Metric, methods: Sequence[MethodSummary], what: str) -> UseCase:
    """Return the use case that the lowest value of a metric serves."""
    leaders = best_of(methods, metric)
    if not leaders:
        why = f"no {what} was measured" if methods else "nothing qualifies"
        return UseCase(need=need, methods=MISSING, why=why)
    known = [method for method in methods if method.mean(metric) is not None]
    least = mean_with_unit(leaders[0], metric)
    why = f"{least} is the least of those measured{as_far_as_told(known, metric)}"
    if len(methods) == 1:
        why = f"{least}; nothing else qualifies"
    elif len(known) == 1:
        why = f"{least}; of no other that qualifies the {what} was measured"
    accuracy = leaders[0].mean(ACCURACY)
    if accuracy is not None and len(leaders) == 1:
        why += f", at {ACCURACY.show(accuracy)}% accuracy"
    return UseCase(need=need, methods=_names(leaders), why=why)


def use_cases(summary: Summary) -> list[UseCase]:
    """Return what each need is served by best."""
    methods = eligible(summary)
    adapters = [m for m in methods if m.declared and m.declared.trains is Trains.ADAPTER]
    memory = "GPU memory" if summary.memory.key.startswith("gpu") else "memory"
    return [
        _best_balance(summary),
        _highest_accuracy(summary),
        _lowest(f"The smallest {memory}", summary.memory, methods, "memory"),
        _lowest("The shortest training", TRAIN_TIME, methods, "train time"),
        _lowest(
            "Many tasks on one backbone: small files to keep and swap",
            FILE_SIZE,
            adapters,
            "adapter's file",
        ),
        UseCase(
            need="The lowest latency in use",
            methods=MISSING,
            why="`pytest benchmarks/test_serving.py` measures it, in a report of its own",
        ),
    ]


def use_cases_table(summary: Summary) -> str:
    """Return the use cases as a table."""
    rows = [
        [case.need, f"**{case.methods}**" if case.methods != MISSING else MISSING, case.why]
        for case in use_cases(summary)
    ]
    return table(["Need", "Recommended", "Why"], rows, text_columns=3)


def excluded(summary: Summary) -> list[str]:
    """Return a sentence for each reason that keeps candidates out of every recommendation."""
    sentences = []
    failed = [method for method in summary.candidates if not method.finished]
    under = [method for method in summary.candidates if summary.under_bag_of_words(method)]
    if failed:
        sentences.append(f"Left out, because no trial finished: {_names(failed)}.")
    if under:
        sentences.append(
            "Left out, because the mean accuracy is under that of the bag of words: "
            f"{_names(under)}."
        )
        sentences += _level_with_bag_of_words(summary)
    idle = [method for method in summary.candidates if summary.learned_nothing(method)]
    if idle:
        sentences.append(
            "Left out, because always answering the most frequent label is as accurate: "
            f"{_names(idle)}."
        )
    if summary.pretrained and summary.find(BAG_OF_WORDS) is None:
        sentences.append("No bag of words was measured, so nothing is left out for being under it.")
    return sentences


def _level_with_bag_of_words(summary: Summary) -> list[str]:
    """Return what the tests say of methods that are under the bag of words by the mean."""
    reference = summary.find(BAG_OF_WORDS)
    level, untested = [], []
    for method in summary.candidates:
        if reference is None or not summary.under_bag_of_words(method):
            continue
        paired = summary.paired(method, reference)
        if paired is None or paired.standing is Standing.UNTESTED:
            untested.append(method)
        elif paired.standing is Standing.OPEN:
            level.append(method)
    sentences = []
    if level:
        sentences.append(f"Not told apart from the bag of words: {_names(level)}.")
    if untested:
        sentences.append(f"Not tested against the bag of words: {_names(untested)}.")
    return sentences


def _no_accuracy(summary: Summary) -> str:
    if not summary.pretrained:
        return "the weights are random, so accuracy is unknown"
    if not any(method.finished for method in summary.candidates):
        return "no method finished"
    if any(method.mean(ACCURACY) is not None for method in summary.candidates):
        floors = "the most frequent label's"
        if summary.find(BAG_OF_WORDS) is not None:
            floors = f"the bag of words' and {floors}"
        return f"no method has a mean accuracy above {floors}"
    return "no accuracy was measured"


def _best_balance(summary: Summary) -> UseCase:
    need = "The best balance: the default"
    choice = default(summary)
    if choice is None:
        return UseCase(need=need, methods=MISSING, why=_no_accuracy(summary))
    return UseCase(need=need, methods=escape(choice.method.name), why=_why(choice))


def _why(choice: Default) -> str:
    if choice.alone:
        return "the only method with an accuracy that qualifies"
    if choice.untested and not choice.equals:
        return "the most accurate; whether a cheaper one equals it can't be tested"
    if choice.method is choice.best and not choice.equals:
        others = "every other method" if choice.whole else "every other method that qualifies"
        if choice.behind:
            return f"the most accurate, and the interval of {others} is below it"
        return f"the most accurate, and {others} is told apart from it"
    doubt = as_far_as_told([choice.best, *choice.equals], TRAIN_TIME)
    if choice.method is choice.best:
        return (
            f"the most accurate, and the cheapest of those that can't be told apart from it "
            f"({_names(choice.equals)}){doubt}"
        )
    best = escape(choice.best.name)
    return f"the cheapest whose accuracy can't be told apart from the best, {best}'s{doubt}"


def _highest_accuracy(summary: Summary) -> UseCase:
    need = "The highest accuracy, at any cost"
    choice = default(summary)
    if choice is None:
        return UseCase(need=need, methods=MISSING, why=_no_accuracy(summary))
    best = choice.best
    accuracy = with_unit(ACCURACY, best.mean(ACCURACY))
    leaders = best_of(eligible(summary), ACCURACY)
    if best in leaders:
        why = f"{accuracy} is the highest"
    else:
        # Another's mean is over other seeds, and on those that both have it is lower.
        leaders, why = [best], f"{accuracy}, the most accurate with the seeds in common"
    level = [method for method in (*choice.equals, *choice.behind) if method not in leaders]
    if level:
        why += f"; not told apart from it: {_names(level)}"
    return UseCase(need=need, methods=_names(leaders), why=why)


def answer(summary: Summary) -> str:
    """Return the report's answer in a few sentences."""
    choice = default(summary)
    if choice is None:
        sentences = [f"There is no default to recommend: {_no_accuracy(summary)}."]
        sentences += _level_with_bag_of_words(summary)
        sentences += [
            f"{case.need}: {case.methods} ({case.why})."
            for case in use_cases(summary)[2:4]
            if case.methods != MISSING
        ]
        return " ".join(sentences)
    return " ".join([*_choice_sentences(summary, choice), how_sure(summary, choice)])


def _choice_sentences(summary: Summary, choice: Default) -> list[str]:
    name, accuracy = escape(choice.method.name), ACCURACY.show(choice.method.mean(ACCURACY))
    opening = "Use" if summary.caveat is None else "On this corpus the rules pick"
    sentences = [f"{opening} **{name}** ({accuracy}%): it is {_why(choice)}."]
    full = summary.find(BASELINE)
    if full is not None and choice.method is not full:
        phrases = cost_phrases(summary, choice.method, full)
        if phrases:
            sentences.append(f"Against {escape(full.name)} it took {listed(phrases)}.")
    contenders = [choice.method, choice.best, *choice.equals]
    against = [] if full is None else [full]
    if any(method.says_little(TRAIN_TIME) for method in (*contenders, *against)):
        sentences.append(
            f"Times ({SHARED_MARK}) were taken while other trials ran on the machine, so which is "
            "really faster these records can't tell."
        )
    return sentences


def how_sure(summary: Summary, choice: Default) -> str:
    """Return what the recommendation rests on."""
    count = len(choice.method.values(ACCURACY))
    examples = f" and {summary.test_examples:,} test examples" if summary.test_examples else ""
    if count == 1:
        text = f"This rests on one seed{examples}, so another seed may change it"
    else:
        text = f"This rests on {count} seeds{examples}"
    rival = choice.best if choice.method is not choice.best else _rival(summary, choice.method)
    paired = summary.paired(choice.method, rival) if rival else None
    if rival is None or paired is None:
        return f"{text}."
    sentences = [f"{text}.", f"{compared(paired, *_escaped(choice.method, rival))}."]
    if paired.single:
        sentences.append(f"The interval is of these two trained models: {ONE_SEED}.")
    return " ".join(sentences)


def _rival(summary: Summary, method: MethodSummary) -> MethodSummary | None:
    """Return what the most accurate method is held against: Full, or else the next best."""
    others = [other for other in eligible(summary) if other is not method]
    full = [other for other in others if other.slug == BASELINE]
    return summary.most_accurate(full or others)


def _escaped(*methods: MethodSummary) -> list[str]:
    return [escape(method.name) for method in methods]


def what_would_settle(summary: Summary) -> str | None:
    """Return what to run next to be surer; ``None`` where nothing is recommended."""
    choice = default(summary)
    if choice is None or choice.alone:
        return None
    texts = []
    if max(len(method.finished) for method in summary.candidates) < 5:
        texts.append("more seeds (`--peft-seeds 5`), which show whether it holds with them")
    needed = _examples_to_tell_apart(summary, choice)
    if needed is not None:
        texts.append(
            f"about {needed:,} test examples: as many as McNemar's test would take to tell "
            f"{escape(choice.method.name)} from {escape(choice.best.name)} if they differ by as "
            "much as they did here"
        )
    if not texts:
        return None
    return f"What would make it surer: {'; and '.join(texts)}."


def _examples_to_tell_apart(summary: Summary, choice: Default) -> int | None:
    """Return the size of test set at which the measured difference would have p near 0.05.

    From the normal approximation of McNemar's test with the measured share of discordant examples,
    rounded to two digits; ``None`` where it can't be known or would be no more than there are.
    """
    paired = summary.paired(choice.method, choice.best)
    if paired is None or len(paired.seeds) != 1 or choice.method is choice.best:
        return None
    (seed,) = paired.seeds
    if seed.discordant is None or not seed.examples or seed.discordant[0] == seed.discordant[1]:
        return None
    first, second = seed.discordant
    needed = _Z_95**2 * (first + second) * seed.examples / (first - second) ** 2
    digits = 1 - math.floor(math.log10(needed))
    rounded = int(round(needed, digits))
    return rounded if rounded > seed.examples else None


def conclusion(summary: Summary) -> str:
    """Return the report's last word: the answer and what would settle it."""
    return " ".join(text for text in (answer(summary), what_would_settle(summary)) if text)
