"""Whether records hold together: each by itself, and all of one report.

Numbers are computed again from what else the record holds, identities from its own description. A
key that a record lacks (old ones lack new keys) is not checked, and is not an error.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from peftcore.audit.consistency_serving import check_serving
from peftcore.audit.findings import Ledger
from peftcore.audit.reading import PublishedRecord
from peftcore.methods import Trains
from peftcore.trials import fingerprint

CLOCK_SLACK = 0.05
"""Processor time may be more than wall time on every core by this share: two clocks tell them."""

WARM_UP_STEPS = 10
"""No more steps than this are left out of the median of step times."""


def check_records(records: Sequence[PublishedRecord], ledger: Ledger) -> None:
    """Check each record by itself, then all of them together."""
    for one in records:
        _check_identity(one, ledger)
        _check_ending(one, ledger)
        measured = one.content["measurement"]
        if measured is not None:
            _check_answers(one, measured, ledger)
            _check_training(one, measured, ledger)
            _check_parameters(one, measured, ledger)
            _check_costs(one, measured, ledger)
            _check_rates(one, measured, ledger)
            check_serving(one, measured, ledger)
    _check_together(records, ledger)


def setting_of(trial: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what ``setting_id`` is the fingerprint of; ``None`` if the description is not whole.

    It is what :meth:`peftcore.trials.Trial.setting` gives, which knows paths that are not public.
    """
    try:
        recipe = dict(trial["recipe"])
        del recipe["learning_rate"]
        setting = {
            "scenario": trial["scenario"],
            "backbone": trial["backbone"]["identity"],
            "data": trial["data"]["identity"],
            "weights": trial["weights"],
            "task": trial["task"],
            "recipe": recipe,
            "engine": trial["engine"],
        }
    except KeyError:
        return None
    # What is left out where there is none, so that ids stay what they were before.
    names = ("part", "protocol", "serving")
    return setting | {name: trial[name] for name in names if trial.get(name)}


def _check_identity(one: PublishedRecord, ledger: Ledger) -> None:
    trial, where = one.content["trial"], one.where
    setting = setting_of(trial)
    if setting is None or "hyperparameters" not in trial:
        return
    ledger.that(
        trial["setting_id"] == fingerprint(setting),
        where,
        "trial.setting_id is not the fingerprint of the setting that the record describes",
        published=trial["setting_id"],
        follows=fingerprint(setting),
    )
    identity = {
        **setting,
        "method": trial["method"],
        "hyperparameters": trial["hyperparameters"],
        "learning_rate": trial["recipe"]["learning_rate"],
        "seed": trial["seed"],
    }
    follows = f"{trial['method']}-{trial['scenario']}-s{trial['seed']}-{fingerprint(identity)}"
    ledger.that(
        trial["id"] == follows,
        where,
        "trial.id is not that of the trial that the record describes (method, hyperparameters, "
        "seed, learning rate and setting)",
        published=trial["id"],
        follows=follows,
    )


def _check_ending(one: PublishedRecord, ledger: Ledger) -> None:
    content, where = one.content, one.where
    ok = content["outcome"] == "ok"
    numbers = ("measurement", "predictions", "labels")
    present = [name for name in numbers if content.get(name) is not None]
    if ok:
        ledger.that("measurement" in present, where, "it ended well but has no measurement")
        ledger.that(content["error"] is None, where, "it ended well but tells an error")
    else:
        ledger.that(not present, where, f"it did not end well but has {', '.join(present)}")
    created = content.get("created")
    if created is not None:
        ledger.that(_is_moment(created), where, "created is no date and time", published=created)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _check_answers(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check accuracy and all that is said of the test set against predictions and labels."""
    where, task = one.where, one.content["trial"].get("task") or {}
    predictions, labels = one.content["predictions"], one.content.get("labels")
    evaluated = measured.get("evaluated_examples")
    counts = {
        "test_examples of the task": task.get("test_examples"),
        "evaluated_examples": evaluated,
        "predictions": None if predictions is None else len(predictions),
        "labels": None if labels is None else len(labels),
    }
    known = {name: count for name, count in counts.items() if count is not None}
    ledger.that(
        len(set(known.values())) <= 1,
        where,
        "counts of test examples differ: " + ", ".join(f"{n} {c}" for n, c in known.items()),
    )
    if measured.get("drawn_from") is not None and evaluated is not None:
        ledger.that(measured["drawn_from"] >= evaluated, where, "more is evaluated than there is")
    if predictions is None or labels is None or len(predictions) != len(labels):
        return
    right = sum(p == y for p, y in zip(predictions, labels, strict=True))
    if measured.get("accuracy") is not None:
        ledger.equal(
            where,
            "measurement.accuracy is not the share of predictions that equal their labels",
            measured["accuracy"],
            right / len(labels),
        )
    if measured.get("majority_share") is not None:
        ledger.equal(
            where,
            "measurement.majority_share is not that of the most frequent label",
            measured["majority_share"],
            max(Counter(labels).values()) / len(labels),
        )
    if task.get("labels") is not None:
        highest = max(max(predictions), max(labels))
        ledger.that(
            highest < task["labels"],
            where,
            f"there are {task['labels']} labels, counted from 0, but one is {highest}",
        )


def _counts_to(numbers: Sequence[float], last: float) -> bool:
    """Return whether these are the whole numbers from 1 to the last, which may be any number."""
    return len(numbers) == last and all(a == b for a, b in enumerate(numbers, start=1))


def _check_training(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check what training left step by step and epoch by epoch."""
    where, trial = one.where, one.content["trial"]
    recipe, task = trial.get("recipe") or {}, trial.get("task") or {}
    epochs = measured.get("epoch_accuracies") or []
    if epochs:
        numbers = [number for number, _ in epochs]
        last = recipe.get("epochs", numbers[-1])
        at_the_end = recipe.get("evaluation") == "end"
        ledger.that(
            numbers == [last] if at_the_end else _counts_to(numbers, last),
            where,
            "epoch accuracies are not those of the epochs that were evaluated",
            published=f"{len(numbers)} epochs",
            follows=f"the last of {last}" if at_the_end else f"each of {last}",
        )
        if measured.get("accuracy") is not None:
            ledger.equal(
                where,
                "measurement.accuracy is not that after the last epoch",
                measured["accuracy"],
                epochs[-1][1],
            )
    losses = measured.get("losses") or []
    if losses and recipe and task:
        steps = recipe["epochs"] * math.ceil(_trained_on(task) / recipe["batch_size"])
        ledger.that(
            _counts_to([step for step, _ in losses], steps),
            where,
            "losses are not one a step",
            published=f"{len(losses)} losses",
            follows=f"{steps} steps of {recipe['epochs']} epochs",
        )
        step, whole = measured.get("step_seconds"), measured.get("train_seconds")
        if step is not None and whole is not None:
            # Half of the steps that count take at least their median.
            least = max(steps - WARM_UP_STEPS, 0) / 2 * step
            ledger.that(
                least <= whole,
                where,
                "half of the steps at their median take longer than all of training",
                published=f"train_seconds {whole}",
                follows=f"at least {least}",
            )
    if losses and epochs and measured.get("train_loss") is not None:
        last = [loss for _, loss in losses[-(len(losses) // epochs[-1][0]) :]]
        ledger.equal(
            where,
            "measurement.train_loss is not the mean of the last epoch's losses",
            measured["train_loss"],
            math.fsum(last) / len(last),
        )
    tokens = measured.get("train_tokens")
    if tokens is not None and recipe and task:
        texts = recipe["epochs"] * _trained_on(task)
        ledger.that(
            texts <= tokens <= texts * task["max_length"],
            where,
            "train_tokens can't be those of the training texts",
            published=tokens,
            follows=f"{texts} to {texts * task['max_length']}",
        )


def _trained_on(task: Mapping[str, Any]) -> int:
    """Return how many examples an epoch has: those that come several times count as often."""
    return int(task["train_examples"] * task.get("repeats", 1))


def _check_parameters(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check that what is trained is what the method says it trains."""
    total, trainable = measured.get("total_parameters"), measured.get("trainable_parameters")
    head, adapter = measured.get("head_parameters"), measured.get("adapter_parameters")
    if trainable is None or total is None:
        return
    ledger.that(trainable <= total, one.where, "more parameters are trained than there are")
    trains = (one.content["trial"].get("hyperparameters") or {}).get("trains")
    expected: dict[str, int | None] = {
        Trains.EVERYTHING: total,
        Trains.BAG_OF_WORDS: total,
        Trains.HEAD: head,
        Trains.ADAPTER: None if head is None or adapter is None else head + adapter,
    }
    follows = expected.get(str(trains))
    if follows is not None:
        ledger.that(
            trainable == follows,
            one.where,
            f"trainable_parameters are not those of a method that trains {trains}",
            published=trainable,
            follows=follows,
        )


def _check_costs(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check times and memory against those of the phases, which they are taken from."""
    where = one.where
    seconds, cpu = measured.get("train_seconds"), measured.get("train_cpu_seconds")
    reserved, peak = measured.get("peak_reserved_bytes"), measured.get("peak_bytes")
    if reserved is not None and peak is not None:
        ledger.that(reserved >= peak, where, "the allocator held less than tensors had allocated")
    files = measured.get("peak_file_bytes")
    if files is not None and peak is not None:
        ledger.that(files <= peak, where, "more of the peak were pages of files than all of it")
    cores = (one.content["environment"]["hardware"] or {}).get("cores")
    if seconds is not None and cpu is not None and isinstance(cores, int):
        most = seconds * cores * (1 + CLOCK_SLACK) + CLOCK_SLACK
        ledger.that(
            cpu <= most,
            where,
            f"train_cpu_seconds is more than {cores} cores have in train_seconds",
            published=cpu,
            follows=f"at most {most:.3f}",
        )
    phases = measured.get("phases") or {}
    # A trial that went on from a checkpoint sums its parts in its own way.
    if "train" not in phases or measured.get("resumed"):
        return
    train = phases["train"]
    for name, key in (
        ("train_seconds", "seconds"),
        ("train_cpu_seconds", "cpu_seconds"),
        ("peak_bytes", "peak_bytes"),
    ):
        if measured.get(name) is not None and train[key] is not None:
            ledger.equal(
                where, f"measurement.{name} is not that of phase train", measured[name], train[key]
            )
    if "evaluate" in phases and measured.get("eval_seconds") is not None:
        ledger.equal(
            where,
            "measurement.eval_seconds is not the mean of the evaluations",
            measured["eval_seconds"],
            phases["evaluate"]["seconds"] / max(len(measured.get("epoch_accuracies") or []), 1),
        )
    whole = measured.get("seconds_to_trained")
    if whole is not None and seconds is not None:
        ledger.that(whole >= seconds, where, "training ended before it could have")


def _check_rates(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check the ratios that a record holds for other tools' sake."""
    for name, above, below in (
        ("tokens_per_second", "train_tokens", "train_seconds"),
        ("model_flops_per_second", "model_flops", "train_seconds"),
        ("utilisation", "model_flops_per_second", "matmul_flops_per_second"),
    ):
        ratio = measured.get(name)
        numerator, denominator = measured.get(above), measured.get(below)
        if ratio is not None and numerator is not None and denominator:
            ledger.equal(
                one.where, f"measurement.{name} is not {above} / {below}", ratio,
                numerator / denominator,
            )  # fmt: skip


def _check_together(records: Sequence[PublishedRecord], ledger: Ledger) -> None:
    """Check that no trial is there twice and that all were asked the same questions."""
    seen: dict[str, str] = {}
    for one in records:
        trial = str(one.content["trial"]["id"])
        ledger.that(trial not in seen, one.where, f"the trial stands in {seen.get(trial)} as well")
        seen.setdefault(trial, one.where)
    scenarios = {str(one.content["trial"]["scenario"]) for one in records}
    ledger.that(
        len(scenarios) <= 1, "records", f"they are of {len(scenarios)} scenarios, not of one"
    )
    longest: dict[str, PublishedRecord] = {}
    for one in records:
        key = _test_set(one)
        if key is not None:
            best = longest.setdefault(key, one)
            if len(one.content["labels"]) > len(best.content["labels"]):
                longest[key] = one
    for one in records:
        key = _test_set(one)
        if key is None or longest[key] is one:
            continue
        labels, others = one.content["labels"], longest[key].content["labels"]
        differ = [n for n, (a, b) in enumerate(zip(labels, others, strict=False)) if a != b]
        # The smaller of two test samples is the beginning of the larger.
        ledger.that(
            not differ,
            one.where,
            f"its labels are not those of {longest[key].where}, whose test set is the same: "
            f"{len(differ)} differ, the first is that of example {differ[0] if differ else None}",
        )


def _test_set(one: PublishedRecord) -> str | None:
    """Return what names the examples that a trial was evaluated on, but for how many they are."""
    trial = one.content["trial"]
    if one.content.get("labels") is None or "task" not in trial or "data" not in trial:
        return None
    task = {k: v for k, v in trial["task"].items() if k in ("split", "label_column", "labels")}
    if trial["task"]["split"] == "tuning":
        # Drawn by the seed, behind the training examples.
        task = {**task, "seed": trial["seed"], "train_examples": trial["task"]["train_examples"]}
    return json.dumps([trial["data"]["identity"], task], sort_keys=True)
