"""The setup: all that was held equal, and where it ran."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isclose
from typing import Any

from peftcore.accelerations import ALL
from peftcore.measuring.environment import machine_of
from peftcore.methods import Trains
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import GPU_MEMORY, MISSING
from peftcore.report.summary import MethodSummary, Summary, gather, method_names
from peftcore.results.records import Record
from peftcore.scenarios import SCENARIOS, Protocol, Scenario, Split
from peftcore.trials import Part


def setup_table(summary: Summary, *, leave_out: Collection[str] = ()) -> str:
    """Return the setup as a table of two columns; values that differ between trials are listed.

    Args:
        summary: of the trials.
        leave_out: names of rows that are told elsewhere.
    """
    records = summary.records

    def trial(*path: str) -> str:
        return _distinct(_at(record.trial, *path) for record in records)

    def machine(*path: str) -> str:
        return _distinct(_at(record.environment, *path) for record in records)

    rows = {
        "Scenario": f"{escape(summary.scenario)}: {escape(summary.title)}",
        "Changed from the scenario as declared": _departures(records),
        "Backbone": f"{trial('backbone', 'name')}, {trial('weights')} weights",
        "Backbone's identity": trial("backbone", "identity"),
        "Backbone on the hub": trial("backbone", "revision"),
        "Data": trial("data", "name"),
        "Data's identity": trial("data", "identity"),
        "Data on the hub": trial("data", "revision"),
        "Examples": f"{trial('task', 'train_examples')} for training, "
        f"{trial('task', 'test_examples')} for accuracy ({trial('task', 'split')} split), "
        f"{trial('task', 'labels')} labels",
        "Most frequent label": _distinct(_majority(record) for record in records),
        "Longest text": f"{trial('task', 'max_length')} tokens",
        "Epochs": trial("recipe", "epochs"),
        "Batch size": trial("recipe", "batch_size"),
        "Optimiser": f"AdamW, weight decay {trial('recipe', 'weight_decay')}, "
        f"gradients clipped at {trial('recipe', 'max_gradient_norm')}",
        "Schedule": "linear decay to zero, no warm-up",
        "Learning rates": _rates(summary),
        "Precision": trial("recipe", "precision"),
        "Dropout": _distinct(_dropout(record) for record in records),
        "Seeds": ", ".join(str(seed) for seed in summary.seeds),
        "Training loop": trial("engine"),
        "Accelerations": _distinct(_accelerations(record) for record in records),
        "Processor": _distinct(_processor(record.environment) for record in records),
        "GPU": _gpus(summary),
        "GPU driver and CUDA": f"{machine('hardware', 'driver')}, {machine('hardware', 'cuda')}",
        "Platform": f"{machine('platform')}, Python {machine('python')}",
        "Packages": _distinct(_packages(record.environment) for record in records),
        "Commit": _distinct(_commit(record.environment) for record in records),
        "Hash of peftcore's sources": machine("sources_sha256"),
        "Recorded": _period(records),
    }
    return table(
        ["Setup", ""], [[n, v] for n, v in rows.items() if n not in leave_out], text_columns=2
    )


def protocols_table(records: Sequence[Record]) -> str:
    """Return what each part of a comparison of the engines ran, a row a part."""
    parts: dict[str, list[Record]] = {}
    for record in records:
        parts.setdefault(str(record.trial.get("part") or Part.PAIRS), []).append(record)
    columns: dict[str, Callable[[Sequence[Record]], str]] = {
        "Trials": lambda found: str(len(found)),
        "Training examples": _values("task", "train_examples"),
        "Test examples": _values("task", "test_examples"),
        "Longest text": _values("task", "max_length"),
        "Batch size": _values("recipe", "batch_size"),
        "Epochs": _values("recipe", "epochs"),
        "Precision": _values("recipe", "precision"),
        "Dropout": lambda found: _distinct(_dropout(record) for record in found),
        "Learning rates": lambda found: _rates(gather(found)),
        "Seeds": lambda found: ", ".join(str(seed) for seed in sorted({r.seed for r in found})),
        "Recorded": _period,
    }
    rows = [
        [escape(part), *(show(parts[part]) for show in columns.values())]
        for part in sorted(parts, key=lambda part: list(Part).index(Part(part)))
    ]
    return table(["Part", *columns], rows, text_columns=len(columns) + 1)


def _values(*path: str) -> Callable[[Iterable[Record]], str]:
    def show(records: Iterable[Record]) -> str:
        return _distinct(sorted({_at(record.trial, *path) for record in records}))

    return show


def methods_table(summary: Summary) -> str:
    """Return what each method is, with its hyperparameters."""
    rows = []
    for method in summary.methods:
        declared = method.declared
        what = escape(declared.summary) if declared else MISSING
        if declared and declared.paper:
            what += f" ([paper]({declared.paper}))"
        rows.append([escape(method.name), what, _hyperparameters(method)])
    return table(["Method", "What it does", "Hyperparameters"], rows, text_columns=3)


def notes(summary: Summary) -> list[str]:
    """Return what a reader must know before any number: notes on sources, mixed machines."""
    found: dict[str, None] = {}
    for record in summary.records:
        for kind in ("backbone", "data"):
            note = _at(record.trial, kind, "note")
            if note:
                found[f"{kind.capitalize()}: {escape(note)}"] = None
    machines = {
        str(machine_of(_at(record.environment, "hardware") or {})) for record in summary.records
    }
    if len(machines) > 1:
        found[
            "The trials ran on different machines (see the setup), so their times and memory "
            "can't be compared."
        ] = None
    return list(found)


def rates_notes(summary: Summary) -> list[str]:
    """Return what must be known of learning rates before any accuracy is read."""
    _, borrowed = _own_and_borrowed(summary)
    if not borrowed:
        return []
    return [
        f"For {method_names(borrowed)} no learning rate was chosen here: each has that of the "
        "method it comes nearest to, or a multiple of it (see the setup). What learned little may "
        "learn more by another: `--peft-protocol tuned` searches for it."
    ]


def _own_and_borrowed(summary: Summary) -> tuple[list[MethodSummary], list[MethodSummary]]:
    """Return the methods that the scenario has a rate for, and those trained with their kin's.

    Both are empty where rates are not the scenario's.
    """
    scenario = _scenario(summary)
    if scenario is None or _origin_elsewhere(summary) is not None:
        return [], []
    declared = [(one, one.declared) for one in summary.methods if one.declared is not None]
    own = [one for one, method in declared if method.slug in scenario.rates]
    borrowed = [
        one
        for one, method in declared
        if method.slug not in scenario.rates and method.rate_of in scenario.rates
    ]
    return own, borrowed


def _at(content: Any, *path: str) -> Any:
    """Return what is at this path of nested mappings; ``None`` where any part is missing."""
    for key in path:
        if not isinstance(content, Mapping):
            return None
        content = content.get(key)
    return content


def _distinct(values: Iterable[Any]) -> str:
    """Return the different values as escaped text; a dash where there is none."""
    texts = [
        ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
        for value in values
        if value is not None
    ]
    return "; ".join(escape(text) for text in dict.fromkeys(texts) if text) or MISSING


def _departures(records: Iterable[Record]) -> str:
    """Return what was changed; of a search over rates without them, which have their own row."""
    lists = {tuple(_at(record.trial, "overrides") or ()) for record in records}
    if len(lists) > 1:
        lists = {tuple(t for t in texts if not t.startswith("learning_rate=")) for texts in lists}
    return _distinct(sorted(lists))


def _by_method(summary: Summary, value: Callable[[Record], object]) -> dict[str, list[str]]:
    """Return the methods' names under each value; the bag of words, which trains otherwise, out."""
    grouped: dict[str, list[str]] = {}
    for method in summary.methods:
        if method.declared and method.declared.trains is Trains.BAG_OF_WORDS:
            continue
        text = _distinct(value(record) for record in method.records)
        grouped.setdefault(text, []).append(escape(method.name))
    return grouped


def _rates(summary: Summary) -> str:
    grouped = _by_method(summary, lambda record: _rate(_at(record.trial, "recipe")))
    if not grouped:
        return MISSING
    each = ", ".join(f"{rate} for {listed(names)}" for rate, names in grouped.items())
    text = f"{next(iter(grouped))} for every method" if len(grouped) == 1 else each
    elsewhere = _origin_elsewhere(summary)
    if elsewhere is not None:
        return f"{text} ({elsewhere})" if elsewhere else text
    origin = escape(summary.rates_origin or "")
    own, borrowed = _own_and_borrowed(summary)
    if borrowed:
        chosen = f"{origin}, for {method_names(own)}; all others have "
        origin = f"{chosen if own else ''}that of their kin, or a multiple of it"
    today = _declared_otherwise(summary)
    if today:
        listing = listed([f"{rate:g} for {listed(names)}" for rate, names in today.items()])
        origin += f"{', ' if origin else ''}as declared then; today the scenario has {listing}"
    return f"{text} ({origin})" if origin else text


_OWN_RATES = (Protocol.STUDY, Protocol.TUNED)
"""The protocols whose rates are not those that a scenario declares."""


def _origin_elsewhere(summary: Summary) -> str | None:
    """Return where the rates come from if not from the scenario, ``None`` if they are its own."""
    trials = [record.trial for record in summary.records]
    if any(_at(trial, "task", "split") == Split.TUNING for trial in trials):
        return "the best of those tried"
    if any("learning_rate" in str(_at(trial, "overrides")) for trial in trials):
        return "changed from the scenario's"
    if any(_at(trial, "protocol") in _OWN_RATES for trial in trials):
        return escape(summary.rates_origin or "")
    return None


def _scenario(summary: Summary) -> Scenario | None:
    return next((one for one in SCENARIOS if one.name == summary.scenario), None)


def _declared_otherwise(summary: Summary) -> dict[float, list[str]]:
    """Return the rates that the scenario declares today for methods that ran with another."""
    scenario = _scenario(summary)
    found: dict[float, list[str]] = {}
    for method in summary.methods:
        if scenario is None or method.declared is None:
            continue
        if method.declared.trains is Trains.BAG_OF_WORDS:
            continue
        rates = [_at(record.trial, "recipe", "learning_rate") for record in method.records]
        today = scenario.learning_rate(method.declared)
        if any(isinstance(rate, int | float) and not isclose(rate, today) for rate in rates):
            found.setdefault(today, []).append(escape(method.name))
    return found


def _rate(recipe: Any) -> str | None:
    rate = _at(recipe, "learning_rate")
    return format(rate, "g") if isinstance(rate, int | float) else None


def _majority(record: Record) -> str | None:
    share = record.measurement.majority_share if record.measurement else None
    return None if share is None else f"{100 * share:.1f}% of the test examples"


def _dropout(record: Record) -> str | None:
    recipe = _at(record.trial, "recipe")
    if not isinstance(recipe, Mapping) or "dropout" not in recipe:
        return None
    value = recipe["dropout"]
    if value is None:
        return "the backbone's and each method's own"
    return f"{value} in the backbone and in each adapter that has dropout of its own"


def _accelerations(record: Record) -> str | None:
    """Return which of the engine's accelerations were asked for, in words."""
    names = _at(record.trial, "recipe", "accelerations")
    if not isinstance(names, list | tuple):
        return None
    if set(names) == set(ALL):
        return "all that apply"
    return ", ".join(str(name) for name in names) or "none"


def _gigabytes(number: Any) -> str:
    return f"{number / 1e9:.1f} GB" if isinstance(number, int | float) else MISSING


def _processor(environment: Mapping[str, Any]) -> str | None:
    cpu = _at(environment, "hardware", "cpu")
    if cpu is None:
        return None
    cores = _at(environment, "hardware", "cores")
    threads = _at(environment, "threads")
    memory = _gigabytes(_at(environment, "hardware", "memory_bytes"))
    return f"{cpu}, {cores} cores, {threads} threads used, {memory} of memory"


def _gpu(environment: Mapping[str, Any]) -> str | None:
    gpu = _at(environment, "hardware", "gpu")
    if gpu is None:
        return None
    return f"{gpu}, {_gigabytes(_at(environment, 'hardware', 'gpu_memory_bytes'))}"


def _gpus(summary: Summary) -> str:
    text = _distinct(_gpu(record.environment) for record in summary.records)
    # The driver's GPU is listed wherever there is one; a torch without CUDA leaves it idle.
    idle = text != MISSING and summary.memory is not GPU_MEMORY
    return f"{text} (no trial ran on it)" if idle else text


def _packages(environment: Mapping[str, Any]) -> str | None:
    packages = _at(environment, "packages")
    if not isinstance(packages, Mapping):
        return None
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))


def _commit(environment: Mapping[str, Any]) -> str | None:
    commit = _at(environment, "git_commit")
    if commit is None:
        return None
    return f"{commit}, with changes not committed" if _at(environment, "git_dirty") else str(commit)


def _period(records: Iterable[Record]) -> str:
    moments = sorted(record.created for record in records if record.created)
    if not moments:
        return MISSING
    first, last = escape(moments[0]), escape(moments[-1])
    return first if first == last else f"{first} to {last}"


def _hyperparameters(method: MethodSummary) -> str:
    texts = []
    for record in method.records:
        values = _at(record.trial, "hyperparameters")
        if isinstance(values, Mapping):
            texts.append(
                ", ".join(f"{k} = {_plain(v)}" for k, v in sorted(values.items()) if v is not None)
            )
    return _distinct(texts)


def _plain(value: Any) -> str:
    return " and ".join(str(item) for item in value) if isinstance(value, list) else str(value)
