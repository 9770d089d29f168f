"""Pages to look at, made of made-up records."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peftcore.report.flips import gather_flips
from peftcore.report.page.rendering import compose_page
from peftcore.report.render import warnings
from peftcore.report.summary import summarise
from peftcore.results.records import PhaseCost, Record
from tests.report.conftest import STUDY, build


def spread() -> Iterator[Record]:
    """Return the study's methods and the reference rows with three seeds and counted energy."""
    for method, known in STUDY.items():
        for seed in (42, 43, 44):
            draw = random.Random(f"{method} {seed} page")
            accuracy = known["accuracy"] + draw.gauss(0, 0.003)
            seconds = known["train_seconds"] * (1 + draw.gauss(0, 0.02))
            made = build(method, seed=seed, accuracy=accuracy, train_seconds=seconds)
            assert made.measurement is not None
            joules = None if method == "bow" else 120 * seconds
            cost = PhaseCost(seconds=seconds, cpu_seconds=1.0, peak_bytes=None, gpu_joules=joules)
            yield replace(made, measurement=replace(made.measurement, phases={"train": cost}))


def counting(record: Record, **joules: float) -> Record:
    """Return a record of which these energies of training were counted, and no others."""
    assert record.measurement is not None
    train = replace(record.measurement.phases["train"], gpu_joules=None, **joules)
    return replace(record, measurement=replace(record.measurement, phases={"train": train}))


def page_of(records: list[Record]) -> str:
    summary = summarise(records)
    return compose_page(summary, gather_flips(summary), warnings=warnings(summary))


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages that are opened, by name."""
    folder = tmp_path_factory.mktemp("pages")
    failed = build("dora", outcome="oom", error="it did not fit")
    made = {
        "seeds": [*spread(), failed],
        "one-seed": [build(method) for method in STUDY],
        "random": [build(method, weights="random") for method in STUDY],
        "corpus": [build(slug, scenario="embedded", seed=s) for slug in STUDY for s in (1, 2)],
        "uncounted": [counting(r) if r.method == "qlora" else r for r in spread()],
        "mixed": [
            counting(r, processor_joules=1.0) if r.method == "qlora" else r for r in spread()
        ],
        "ties": [
            replace(one, measurement=replace(one.measurement, adapter_file_bytes=4_140_808))
            if one.method == "lora" and one.measurement
            else one
            for one in spread()
        ],
        "processor": [build(method, gpu=False, seed=s) for method in STUDY for s in (1, 2)],
    }
    found = {}
    for name, records in made.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(page_of(records), encoding="utf-8")
    return found
