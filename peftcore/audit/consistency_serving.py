"""Whether what a record tells of serving holds together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peftcore.audit.findings import Ledger
from peftcore.audit.reading import PublishedRecord

_TIMED = ("load", "exchange", "swap", "predict")


def check_serving(one: PublishedRecord, measured: Mapping[str, Any], ledger: Ledger) -> None:
    """Check that each figure is measured as often as it says, or says why it isn't."""
    serving, settings = measured.get("serving"), one.content["trial"].get("serving")
    if serving is None or settings is None:
        ledger.that(serving is settings, one.where, "it tells of serving in one place alone")
        return
    seen = set()
    for figure in serving["figures"]:
        name = tuple(figure[key] for key in ("what", "served", "residents", "examples"))
        told = f"its figure {', '.join(str(part) for part in name if part is not None)}"
        ledger.that(name not in seen, one.where, f"{told} is there twice")
        seen.add(name)
        _check_figure(one.where, told, figure, settings, ledger)
    expected = _expected(settings)
    ledger.that(
        seen == expected,
        one.where,
        "its figures are not those that its settings ask for",
        published=sorted(map(str, seen - expected)),
        follows=sorted(map(str, expected - seen)),
    )


def _check_figure(
    where: str,
    told: str,
    figure: Mapping[str, Any],
    settings: Mapping[str, Any],
    ledger: Ledger,
) -> None:
    if figure["status"] != "measured":
        ledger.that(not figure["seconds"], where, f"{told} is {figure['status']} but has times")
        ledger.that(bool(figure["detail"]), where, f"{told} is not measured and says not why")
        estimated = figure["status"] == "estimated"
        ledger.that(
            estimated is (figure["bytes"] is not None),
            where,
            f"{told} is {figure['status']}, and its bytes tell otherwise",
        )
        return
    if figure["what"] not in _TIMED:
        ledger.that(figure["bytes"] is not None, where, f"{told} is measured but has no bytes")
        return
    times = settings["singles"] if figure["examples"] == 1 else 1
    ledger.that(
        len(figure["seconds"]) == times * settings["rounds"],
        where,
        f"{told} was not measured in each round",
        published=len(figure["seconds"]),
        follows=times * settings["rounds"],
    )
    ledger.that(all(s > 0 for s in figure["seconds"]), where, f"{told} took no time")


def _expected(settings: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    sizes = (1, settings["batch_size"])
    counts = settings["residents"]
    ways = [("plain", 0), ("merged", 0), *(("attached", count) for count in counts)]
    found: set[tuple[Any, ...]] = {("load", None, 0, None), ("exchange", None, 1, None)}
    found |= {("swap", None, count, None) for count in counts if count > 1}
    for way, count in ways:
        found.add(("hold", way, count, None))
        found |= {("predict", way, count, size) for size in sizes}
    return found
