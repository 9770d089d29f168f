"""How time and memory grow, from made-up records."""

from __future__ import annotations

import dataclasses

import pytest

from peftcore.report.engines.growth import draw_growth, gather, section
from peftcore.report.engines.runs import COSTS
from peftcore.results.records import Outcome, Record
from peftcore.trials import Engine, Part
from tests.report.engines.conftest import grown, row


@pytest.fixture
def records() -> list[Record]:
    """LoRA at two lengths with two seeds, and two methods as shares."""
    return [
        record
        for seed in (42, 43)
        for pair in (
            grown("lora", Part.LENGTH, 128, 8, seed),
            grown("lora", Part.LENGTH, 64, 8, seed),
            grown("full", Part.SHARE, 128, 8, seed),
            grown("ia3", Part.SHARE, 128, 8, seed),
        )
        for record in pair
    ]


def test_cells_go_from_small_to_large(records: list[Record]) -> None:
    assert [(c.length, c.batch) for c in gather(records, Part.LENGTH)] == [(64, 8), (128, 8)]
    # Shares by what is trained, whatever the order of the declarations.
    assert [c.method.slug for c in gather(records, Part.SHARE)] == ["ia3", "full"]
    assert gather(records, Part.BATCH) == []


def test_a_cell_is_the_median_of_its_pairs(records: list[Record]) -> None:
    small, _ = gather(records, Part.LENGTH)
    # 64 tokens by 8 texts at 10 microseconds: 5.12 ms with seed 42, one percent more with 43.
    middle = small.middle(Engine.PEFTCORE, COSTS["Step"])
    assert middle == pytest.approx(5.12e-3 * 1.005)
    assert small.middle(Engine.TRAINER, COSTS["Step"]) == pytest.approx(3 * 5.12e-3 * 1.005)
    assert small.gain(COSTS["Step"]).ratios == pytest.approx((3.0, 3.0))
    assert small.tokens == 32.0


def test_the_table_holds_both_engines_of_each_cell(records: list[Record]) -> None:
    text = "\n\n".join(section(records, {}))
    cells = row(text, "Longest text", "LoRA", "64")
    assert cells[3:6] == ["8", "32", "1,181,954"]
    assert cells[6:9] == ["15.4", "5.1", "3.00 [3.00, 3.00]"]
    assert cells[9:] == ["0.801", "0.401", "2.00 [2.00, 2.00]"]
    assert row(text, "Trained share", "Full")[5] == "124,647,170"
    assert "11 steps a run" in text
    assert (
        "Longest text of LoRA from 64 to 128: the step grows 2.0 times with Trainer and 2.0 times "
        "with peftcore; the memory grows 1.0 times with Trainer and 1.0 times with peftcore."
        in text
    )
    # What was not swept is said not to be.
    assert "Batch size: No record here is of this part" in text
    assert "-k growth-batch" in text


def test_a_run_without_its_other_half_counts_for_nothing(records: list[Record]) -> None:
    lone = [
        dataclasses.replace(r, outcome=Outcome.OOM, measurement=None, error="no memory")
        if r.trial["engine"] == "trainer" and r.trial["task"]["max_length"] == 128
        else r
        for r in records
    ]
    cells = row("\n\n".join(section(lone, {})), "Longest text", "LoRA", "128")
    assert cells[6:] == ["—"] * 6


def test_the_plot_has_a_column_a_sweep_and_a_line_an_engine(records: list[Record]) -> None:
    plot = draw_growth(records)
    assert plot is not None
    titles = [axes.get_title(loc="left") for axes in plot.figure.axes]
    assert [title for title in titles if title] == ["Longest text (tokens)", "Trained share"]
    (length, share, *_) = plot.figure.axes
    lines = [drawn.lines[0] for drawn in length.containers]
    assert [list(line.get_xdata()) for line in lines] == [[64, 128]] * 2
    assert lines[0].get_ydata() == pytest.approx([15.44, 30.87], abs=0.01)
    assert len(share.containers) == 2
    # A bar from the smallest run to the largest.
    (bars,) = length.containers[0].lines[2]
    for bar, middle in zip(bars.get_segments(), lines[0].get_ydata(), strict=True):
        assert bar[0][1] <= middle <= bar[1][1]
        assert bar[0][1] < bar[1][1]
    assert draw_growth([]) is None


def test_without_records_it_says_how_to_get_them() -> None:
    heading, words = section([], {})
    assert heading == "## How time and memory grow"
    assert "`pytest benchmarks/test_engine.py -k growth`" in words
