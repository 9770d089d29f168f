"""Equality: with nothing left to chance, how far rounding takes each engine from 32 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines.runs import (
    COLOURS,
    LINES,
    NAMES,
    engine_of,
    measured,
    not_measured,
    of_parts,
)
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.report.render import image
from peftcore.report.style import plain
from peftcore.report.summary import MethodSummary, by_method
from peftcore.results.records import Measurement, Record
from peftcore.scenarios import Precision
from peftcore.trials import Engine, Part

EQUALITY = "equality"
"""Name of the plot."""

DISTANCE_BOUND = 1.1
"""How many times Trainer's distance from 32 bits the engine's may be."""

LOSS_BOUND = 0.05
"""How far apart the two engines' losses may be at any step, in nats.

What the project lets bf16 change in logits of about one; a loss moves no more than they do.
"""

_SMOOTHED = 10
"""Steps of the running mean in the plot."""


@dataclass(frozen=True)
class Triple:
    """One method and seed: in 32 bits, and in bf16 by both engines.

    Attributes:
        method: the method.
        seed: the seed.
        exact: the plain run in 32 bits, with its trial's id.
        trainer: Trainer's in bf16, with its trial's id.
        engine: the engine's in bf16, with its accelerations.
    """

    method: MethodSummary
    seed: int
    exact: tuple[str, Measurement]
    trainer: tuple[str, Measurement]
    engine: Measurement

    def losses_apart(self, first: Measurement, second: Measurement) -> NDArray[np.float64]:
        """Return the distance of two runs' losses at each step that both have."""
        one, other = ({point[0]: point[1] for point in m.losses} for m in (first, second))
        return np.array([abs(one[step] - other[step]) for step in sorted(one.keys() & other)])

    @property
    def between(self) -> NDArray[np.float64]:
        """How far the engine's losses are from Trainer's."""
        return self.losses_apart(self.engine, self.trainer[1])

    def from_exact(self, engine: Engine) -> NDArray[np.float64]:
        """Return how far an engine's losses are from those in 32 bits."""
        run = self.trainer[1] if engine is Engine.TRAINER else self.engine
        return self.losses_apart(run, self.exact[1])

    def weights_from_exact(self, engine: Engine) -> float | None:
        """Return how far an engine's trained weights are from those in 32 bits."""
        run = self.trainer[1] if engine is Engine.TRAINER else self.engine
        return run.weights_apart.get(self.exact[0])

    @property
    def weights_between(self) -> float | None:
        """How far the engine's trained weights are from Trainer's."""
        return self.engine.weights_apart.get(self.trainer[0])

    @property
    def loss_ratio(self) -> float | None:
        """The engine's mean distance from the losses in 32 bits over Trainer's."""
        ours, theirs = self.from_exact(Engine.PEFTCORE), self.from_exact(Engine.TRAINER)
        return float(ours.mean() / theirs.mean()) if theirs.size and theirs.mean() else None

    @property
    def weight_ratio(self) -> float | None:
        """The engine's distance from the weights in 32 bits over Trainer's."""
        ours, theirs = (self.weights_from_exact(e) for e in (Engine.PEFTCORE, Engine.TRAINER))
        return ours / theirs if ours is not None and theirs else None

    @property
    def name(self) -> str:
        """The method's name, with the seed where it has several."""
        seeds = {record.seed for record in self.method.records}
        return f"{self.method.name}, seed {self.seed}" if len(seeds) > 1 else self.method.name


def gather(records: Sequence[Record]) -> list[Triple]:
    """Return the triples of which all three runs ended well, by method and seed."""
    found = []
    for method in by_method(of_parts(records, Part.EQUALITY)):
        by_seed: dict[int, dict[str, tuple[str, Measurement]]] = {}
        for record in method.records:
            measurement = measured(record)
            if measurement is None:
                continue
            exact = record.trial["recipe"]["precision"] == Precision.FP32
            kind = "exact" if exact else str(engine_of(record))
            by_seed.setdefault(record.seed, {})[kind] = (record.id, measurement)
        found += [
            Triple(method, seed, runs["exact"], runs[Engine.TRAINER], runs[Engine.PEFTCORE][1])
            for seed, runs in by_seed.items()
            if len(runs) == 3
        ]
    return found


def section(
    triples: Sequence[Triple], records: Sequence[Record], plots: Mapping[str, Plot]
) -> list[str]:
    """Return the section as Markdown blocks."""
    heading = "## The same learning, step by step"
    if not triples:
        return [heading, not_measured("equality", tried=bool(of_parts(records, Part.EQUALITY)))]
    steps = sorted({len(triple.engine.losses) for triple in triples})
    return [
        heading,
        "Dropout is 0, so that nothing is left to chance. Each method is trained three times from "
        f"the same weights on the same batches, {listed([str(n) for n in steps])} steps: in 32 "
        "bits by the plain loop without accelerations, and in bf16 by Trainer and by the engine "
        "with all its accelerations. (Where the backbone is stored in 4 bits it is so in all "
        "three: 32 bits are those of the arithmetic.) Both bf16 runs round; the question is "
        "whether the engine's rounding takes it further from 32 bits than Trainer's own does. "
        f"The bounds: losses of the two engines at most {LOSS_BOUND} apart at every step, and "
        f"final weights no further from those in 32 bits than {DISTANCE_BOUND} times Trainer's "
        "(distances are Euclidean, over all trained weights).",
        verdict(triples),
        _loss_table(triples),
        "Final weights: how far training moved them, how far each run in bf16 ends from the one in "
        "32 bits, how far the two are from each other:",
        _weight_table(triples),
        *(image(plots[name]) for name in (EQUALITY,) if name in plots),
    ]


def answer(triples: Sequence[Triple]) -> str:
    """Return in a sentence with which methods the engine's rounding is within the bounds."""
    held = [escape(t.name) for t in triples if _losses_hold(t) and _weights_hold(t)]
    others = [escape(t.name) for t in triples if not (_losses_hold(t) and _weights_hold(t))]
    parts = [f"is within the stated bounds with {listed(held)}"] if held else []
    parts += [f"is not shown to be with {listed(others)}"] if others else []
    return f"With dropout 0, how far the engine's bf16 is from 32 bits {' and '.join(parts)}."


def verdict(triples: Sequence[Triple]) -> str:
    """Return in words which methods are within the bounds, and which are not."""
    sentences = []
    good = [t for t in triples if _losses_hold(t)]
    bad = [t for t in triples if not _losses_hold(t)]
    if good:
        names = listed([escape(t.name) for t in good])
        sentences.append(f"Losses of the two engines stay within {LOSS_BOUND} with {names}.")
    if bad:
        each = [f"{escape(t.name)} ({_number(_largest(t.between))} apart)" for t in bad]
        sentences.append(f"**They don't with {listed(each)}.**")
    known = [(t, t.weight_ratio) for t in triples]
    held = [escape(t.name) for t, ratio in known if ratio is not None and ratio <= DISTANCE_BOUND]
    missed = [
        f"{escape(t.name)} ({ratio:.2f} times)"
        for t, ratio in known
        if ratio is not None and ratio > DISTANCE_BOUND
    ]
    unknown = [escape(t.name) for t, ratio in known if ratio is None]
    if held:
        sentences.append(
            f"The engine's final weights are no further from those in 32 bits than "
            f"{DISTANCE_BOUND} times Trainer's with {listed(held)}."
        )
    if missed:
        sentences.append(
            f"**They are further with {listed(missed)}.** Rounding errors are chance: one pair "
            "that is further is not yet a bias, and one that is nearer no proof against it."
        )
    if unknown:
        sentences.append(f"Weights were not compared with {listed(unknown)}.")
    ratios = [ratio for _, ratio in known if ratio is not None]
    if len(ratios) > 1:
        sentences.append(
            f"The median ratio over these {len(ratios)} is {median(ratios):.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]."
        )
    return " ".join(sentences)


def _weights_hold(triple: Triple) -> bool:
    return triple.weight_ratio is not None and triple.weight_ratio <= DISTANCE_BOUND


def _losses_hold(triple: Triple) -> bool:
    return triple.between.size > 0 and float(triple.between.max()) <= LOSS_BOUND


def _loss_table(triples: Sequence[Triple]) -> str:
    rows = []
    for triple in triples:
        distances = (
            triple.between,
            triple.from_exact(Engine.TRAINER),
            triple.from_exact(Engine.PEFTCORE),
        )
        numbers = [_number(how(d)) for d in distances for how in (_largest, _mean)]
        ratio = triple.loss_ratio
        rows.append(
            [
                escape(triple.name),
                *numbers,
                MISSING if ratio is None else f"{ratio:.2f}",
                "yes" if _losses_hold(triple) else "**no**",
            ]
        )
    headings = [
        "Losses",
        "Engines apart: largest",
        "mean",
        "Trainer from 32 bits: largest",
        "mean",
        "peftcore from 32 bits: largest",
        "mean",
        "Ratio of means",
        f"Apart at most {LOSS_BOUND}",
    ]
    return table(headings, rows)


def _weight_table(triples: Sequence[Triple]) -> str:
    rows = []
    for triple in triples:
        ratio = triple.weight_ratio
        distances = (
            triple.exact[1].weights_moved,
            triple.weights_from_exact(Engine.TRAINER),
            triple.weights_from_exact(Engine.PEFTCORE),
            triple.weights_between,
        )
        rows.append(
            [
                escape(triple.name),
                *(_number(distance) for distance in distances),
                MISSING if ratio is None else f"{ratio:.3f}",
                MISSING if ratio is None else ("yes" if ratio <= DISTANCE_BOUND else "**no**"),
            ]
        )
    headings = [
        "Weights",
        "Moved in 32 bits",
        "Trainer from 32 bits",
        "peftcore from 32 bits",
        "Engines apart",
        "Ratio",
        f"At most {DISTANCE_BOUND} times",
    ]
    return table(headings, rows)


def _largest(distances: NDArray[np.float64]) -> float | None:
    return float(distances.max()) if distances.size else None


def _mean(distances: NDArray[np.float64]) -> float | None:
    return float(distances.mean()) if distances.size else None


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2g}"


def draw_equality(triples: Sequence[Triple]) -> Plot | None:
    """Draw how far each engine's loss is from that in 32 bits, step by step, a panel a method."""
    if not triples:
        return None
    columns = min(len(triples), 4)
    rows = -(-len(triples) // columns)
    figure = new_figure(2.7 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, triple in zip(panels.flat, triples, strict=False):
        for engine in (Engine.TRAINER, Engine.PEFTCORE):
            distances = triple.from_exact(engine)
            steps = np.arange(1, len(distances) + 1)
            # An exact zero has no place on a logarithmic axis.
            dots = np.where(distances > 0, distances, np.nan)
            axes.plot(steps, dots, ".", color=COLOURS[engine], alpha=0.3, markersize=4)
            width = min(_SMOOTHED, len(distances))
            smooth = np.convolve(distances, np.ones(width) / width, mode="valid")
            axes.plot(
                steps[width - 1 :] - (width - 1) / 2,
                np.where(smooth > 0, smooth, np.nan),
                color=COLOURS[engine],
                linestyle=LINES[engine],
                linewidth=1.8,
                label=NAMES[engine],
            )
        axes.set_yscale("log")
        axes.set_title(plain(triple.name), loc="left", fontweight="bold")
        axes.grid(axis="y")
        axes.set_xlabel("step")
    for axes in list(panels.flat)[len(triples) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("loss, distance from 32 bits")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    names = listed([escape(triple.name) for triple in triples])
    return Plot(
        name=EQUALITY,
        caption="How far the loss of each step in bf16 is from that in 32 bits, dropout 0: dots "
        f"are steps, lines running means of {_SMOOTHED}.",
        alt=f"Lines of the distance of both engines' losses from those in 32 bits for {names}",
        figure=figure,
    )
