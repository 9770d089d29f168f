"""The same methods by two protocols: how much of a gap is the learning rate's, not the method's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.inference import tested_together
from peftcore.report.markdown import escape, table
from peftcore.report.metrics import ACCURACY, MISSING
from peftcore.report.pairing import PairedAccuracy, Standing, change_of_gap, pair
from peftcore.report.style import looks, plain
from peftcore.report.summary import BASELINE, MethodSummary, Summary
from peftcore.report.tables import paired_cells
from peftcore.results.records import Record
from peftcore.scenarios import Protocol

HEADING = "Rate or method?"

_ORDER = (Protocol.STUDY, Protocol.DECLARED, Protocol.TUNED)
"""From the protocol that knows least of a method to the one that knows most."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One method by two protocols.

    Attributes:
        before: its trials by the one that knows less of it.
        after: those by the other.
        gained: its accuracy after less before; ``None`` where no seed is in both.
        gaps: its accuracy less Full's, before and after; ``None`` of Full, or where it has none.
        closed: by how much its gap to Full has changed; ``None`` where there is no gap.
    """

    before: MethodSummary
    after: MethodSummary
    gained: PairedAccuracy | None
    gaps: tuple[PairedAccuracy | None, PairedAccuracy | None]
    closed: PairedAccuracy | None


@dataclass(frozen=True, kw_only=True)
class TwoProtocols:
    """All methods that were run by both of two protocols.

    Attributes:
        before: the protocol that knows less of a method.
        after: the one that knows more.
        methods: in the order of the report.
    """

    before: Protocol
    after: Protocol
    methods: tuple[Compared, ...]

    @property
    def figure(self) -> str:
        """The name of the figure that shows them."""
        return f"protocols_{self.before}_{self.after}"


def protocol_of(record: Record) -> Protocol:
    """Return the protocol that a record's trial was run by."""
    return Protocol(record.trial.get("protocol") or Protocol.DECLARED)


def by_protocol(records: Sequence[Record]) -> list[list[Record]]:
    """Return the records of each protocol: the first one's, which a report is about, before others.

    Where there are no records there is one list, and it is empty.
    """
    if not records:
        return [[]]
    own = protocol_of(records[0])
    order = [own, *(protocol for protocol in _ORDER if protocol is not own)]
    groups = [[one for one in records if protocol_of(one) is protocol] for protocol in order]
    return [group for group in groups if group]


def compare_protocols(summary: Summary, other: Summary) -> TwoProtocols:
    """Return what two protocols came to, side by side."""
    before, after = sorted((summary, other), key=lambda one: _ORDER.index(_protocol(one)))
    return TwoProtocols(
        before=_protocol(before), after=_protocol(after), methods=_compare(before, after)
    )


def _protocol(summary: Summary) -> Protocol:
    return protocol_of(summary.records[0])


def _compare(before: Summary, after: Summary) -> tuple[Compared, ...]:
    # A bag of words has no learning rate.
    earlier = {method.slug: method for method in before.methods if rate_of(method) is not None}
    shared = [method for method in after.methods if method.slug in earlier]
    gained: dict[str, PairedAccuracy] = {}
    closed: dict[str, PairedAccuracy] = {}
    for method in shared:
        sides = _measured(method), _measured(earlier[method.slug])
        gain = pair(*sides) if all(sides) else None
        if gain is not None:
            gained[method.slug] = gain
        fulls = tuple(_measured(full) for one in (after, before) if (full := one.find(BASELINE)))
        if method.slug == BASELINE or len(fulls) < 2 or not all((*sides, *fulls)):
            continue
        change = change_of_gap((sides[0], fulls[0]), (sides[1], fulls[1]))
        if change is not None:
            closed[method.slug] = change
    gained, closed = tested_together(gained), tested_together(closed)
    return tuple(
        Compared(
            before=earlier[method.slug],
            after=method,
            gained=gained.get(method.slug),
            gaps=(_gap(before, method.slug), _gap(after, method.slug)),
            closed=closed.get(method.slug),
        )
        for method in shared
    )


def _measured(method: MethodSummary) -> list[Record]:
    return [record for record in method.finished if ACCURACY.value(record) is not None]


def _gap(summary: Summary, slug: str) -> PairedAccuracy | None:
    return None if slug == BASELINE else summary.inference.paired(slug, BASELINE)


def rate_of(method: MethodSummary) -> float | None:
    """Return the learning rate of a method; ``None`` of one that is not trained by steps."""
    rates = {float(record.trial["recipe"]["learning_rate"]) for record in method.records}
    trained = any(r.measurement and r.measurement.losses for r in method.records)
    return rates.pop() if len(rates) == 1 and trained else None


def protocols_section(compared: Sequence[TwoProtocols], images: Mapping[str, str]) -> list[str]:
    """Return the section on what learning rates are worth, none without a second protocol.

    Args:
        compared: each two protocols.
        images: the report's figures as Markdown, by name.
    """
    known = [one for one in compared if one.methods]
    blocks = [f"## {HEADING}"] if known else []
    for one in known:
        blocks += [
            f"Each method by the protocol `{one.before}` ({_WORDS[one.before]}) and by "
            f"`{one.after}` ({_WORDS[one.after]}), on the same test examples. What was gained is "
            "with the seeds that both have.",
            _rates_table(one),
        ]
        gaps = _gaps_table(one)
        if gaps:
            blocks += [
                "How much of each gap to Full was the learning rate's, and how much is left where "
                f"both have the rates of `{one.after}`. What the rate closed is tested itself: "
                "that one of the two gaps is told from none and the other is not would show "
                "nothing. “The rate's” says that the gap has closed and that what is left can't be "
                "told from none, not that nothing is left.",
                gaps,
            ]
        blocks += [images[one.figure]] if one.figure in images else []
    return blocks


_WORDS = {
    Protocol.STUDY: "one learning rate for all, as in the source study",
    Protocol.DECLARED: "the rates that the scenario declares",
    Protocol.TUNED: "a rate by a search of its own for each method, all of one length",
}


def _rates_table(protocols: TwoProtocols) -> str:
    rows = []
    for one in protocols.methods:
        cells = [escape(one.after.name)]
        for side in (one.before, one.after):
            rate = rate_of(side)
            cells += [MISSING if rate is None else f"{rate:g}", ACCURACY.show(side.mean(ACCURACY))]
        rows.append(cells + paired_cells(one.gained))
    headings = ["Method"]
    for protocol in (protocols.before, protocols.after):
        headings += [f"Rate, {protocol}", f"Accuracy (%), {protocol}"]
    return table([*headings, "Gained (points)", "Told apart?"], rows)


def _gaps_table(protocols: TwoProtocols) -> str | None:
    rows = [
        [
            escape(one.after.name),
            *(paired_cells(gap)[0] for gap in one.gaps),
            *paired_cells(one.closed),
            _explained(one),
        ]
        for one in protocols.methods
        if one.after.slug != BASELINE and one.closed is not None
    ]
    if not rows:
        return None
    headings = [
        "Method",
        f"Less Full, {protocols.before} (points)",
        f"Less Full, {protocols.after} (points)",
        "Closed by the rate (points)",
        "Told from none?",
        "The gap is",
    ]
    return table(headings, rows)


def _explained(one: Compared) -> str:
    """Return in words what a gap to Full comes from, as far as that can be told."""
    standings = [gap.standing if gap else Standing.UNTESTED for gap in one.gaps]
    closed = one.closed.standing if one.closed else Standing.UNTESTED
    if Standing.UNTESTED in (*standings, closed):
        return "untested"
    before, after = standings
    was, left = (gap is not None and gap.mean_points < 0 for gap in one.gaps)
    # Of a method that does as well as Full there is no gap, whatever its lead has come to.
    if closed is Standing.ABOVE and was:
        return "the rate's and the method's" if after is Standing.BELOW else "the rate's"
    if closed is Standing.BELOW and left:
        return "wider with rates of their own"
    if after is Standing.BELOW:
        return "the method's" if before is Standing.BELOW else "open"
    return "open" if before is Standing.BELOW else "none to explain"


def draw_protocols(protocols: TwoProtocols) -> Plot | None:
    """Draw each method's accuracy by both protocols, joined by a line."""
    drawn = [
        (one, before, after)
        for one in protocols.methods
        if (before := one.before.mean(ACCURACY)) is not None
        and (after := one.after.mean(ACCURACY)) is not None
    ]
    if not drawn:
        return None
    figure = new_figure(1.2 + 0.34 * len(drawn))
    axes = figure.subplots()
    style = looks([one.after.slug for one, _, _ in drawn])
    for place, (one, before, after) in enumerate(drawn):
        look = style[one.after.slug]
        axes.plot([before, after], [place, place], color=look.colour, linewidth=1.5)
        axes.plot(before, place, "o", color=look.colour, markerfacecolor="white", markersize=8)
        interval = one.gained.interval_points if one.gained else None
        if one.gained is not None and interval is not None:
            # Of the difference with the seeds that both have, which may be fewer than either has.
            gained = one.gained.mean_points
            error = [[gained - interval[0]], [interval[1] - gained]]
            axes.errorbar(after, place, xerr=error, color=look.colour, capsize=3, linewidth=1)
        axes.plot(after, place, "o", color=look.colour, markersize=8)
    axes.set_yticks(range(len(drawn)), [plain(one.after.name) for one, _, _ in drawn])
    axes.invert_yaxis()
    axes.set_xlabel("Accuracy (%); axis doesn't start at 0")
    axes.grid(axis="x")
    return Plot(
        name=protocols.figure,
        caption=f"Accuracy of each method, hollow by the protocol `{protocols.before}` and full by "
        f"`{protocols.after}`: the line between is what the learning rate is worth, the bar the "
        "95% interval of that difference on texts like these.",
        alt=f"Accuracy of {len(drawn)} methods by two protocols, joined by a line for each",
        figure=figure,
    )
