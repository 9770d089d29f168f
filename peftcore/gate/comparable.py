"""Why two sides of a comparison can't be compared: what makes a cell INVALID."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from peftcore.gate.evidence import Evidence, differences, held_equal, software
from peftcore.gate.metrics import DISPATCHED, DISPATCHING
from peftcore.report.metrics import TRAIN_TIME, Metric

_HARDWARE = "hardware: "


def faults(
    before: Sequence[Evidence], after: Sequence[Evidence], planned: Collection[int]
) -> list[str]:
    """Return in words why a method can't be judged at all, whatever the metric.

    Args:
        before: its trials in the baseline.
        after: its trials now.
        planned: the seeds that it should have now.
    """
    if not before:
        return ["the baseline does not have this method: make a new baseline with it"]
    missing = sorted(set(planned) - {one.seed for one in after})
    found = [f"no trial with seed {', '.join(map(str, missing))}"] if missing else []
    found += [one.fault for one in after if one.fault]
    found += [f"in the baseline, {one.fault}" for one in before if one.fault]
    if not after and not missing:
        found.append("no trial")
    if not found:
        unlike = _unlike(before, after)
        found += [one for one in unlike if not one.startswith(_HARDWARE)]
    return found


def obstacles(metric: Metric, before: Sequence[Evidence], after: Sequence[Evidence]) -> list[str]:
    """Return in words why one metric of comparable trials can't be compared.

    Other hardware makes every number another but those that are counted. Of these, what torch
    dispatches and holds depends on torch and on whether there is a GPU.
    """
    hardware = [one for one in _unlike(before, after) if one.startswith(_HARDWARE)]
    found = hardware if metric.margin is not None else []
    changes = environment_changes(before, after)
    if metric.key in DISPATCHED:
        found += [one for one in hardware if one.startswith(f"{_HARDWARE}gpu")]
        found += [one for one in changes if one.partition(" ")[0] in DISPATCHING]
    if metric is TRAIN_TIME:
        found += changes
    if metric is TRAIN_TIME:
        for side, name in ((before, "the baseline"), (after, "the run")):
            shared = [str(one.seed) for one in side if one.measured.shared]
            resumed = [str(one.seed) for one in side if one.measured.resumed]
            if shared:
                found.append(
                    f"other trials ran at the same time in {name} (seed {', '.join(shared)})"
                )
            if resumed:
                found.append(f"{name} went on from a checkpoint (seed {', '.join(resumed)})")
    return list(dict.fromkeys(found))


def environment_changes(before: Sequence[Evidence], after: Sequence[Evidence]) -> list[str]:
    """Return in words what differs in the software that trials ran with, across both sides."""
    reference = software(before[0].record)
    found = [differences(reference, software(one.record)) for one in [*before, *after]]
    return list(dict.fromkeys(words for one in found for words in one))


def hardware_changes(before: Sequence[Evidence], after: Sequence[Evidence]) -> list[str]:
    """Return in words what differs in the hardware, across both sides."""
    return [one for one in _unlike(before, after) if one.startswith(_HARDWARE)]


def _unlike(before: Sequence[Evidence], after: Sequence[Evidence]) -> list[str]:
    reference = held_equal(before[0].record)
    found = [differences(reference, held_equal(one.record)) for one in [*before, *after]]
    return list(dict.fromkeys(words for one in found for words in one))
