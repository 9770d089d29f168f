"""The same learning step by step, from made-up records."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from peftcore.report.engines.equality import draw_equality, gather, section, verdict
from peftcore.results.records import Outcome
from peftcore.trials import Engine
from tests.report.engines.conftest import row, triple


def test_distances_are_those_of_the_right_two_runs() -> None:
    (found,) = gather(triple("lora"))
    # exact .70 .60 .50, Trainer .71 .60 .48, the engine .70 .61 .51
    assert found.between == pytest.approx(np.array([0.01, 0.01, 0.03]))
    assert found.from_exact(Engine.TRAINER) == pytest.approx(np.array([0.01, 0.0, 0.02]))
    assert found.from_exact(Engine.PEFTCORE) == pytest.approx(np.array([0.0, 0.01, 0.01]))
    assert found.loss_ratio == pytest.approx(0.02 / 0.03)
    assert found.weights_from_exact(Engine.TRAINER) == 0.02
    assert found.weights_from_exact(Engine.PEFTCORE) == 0.021
    assert found.weights_between == 0.03
    assert found.weight_ratio == pytest.approx(1.05)


def test_the_tables_state_each_distance_and_whether_it_is_within_its_bound() -> None:
    text = "\n\n".join(section(gather(triple("lora")), [], {}))
    tables = text.split("Final weights: how far")
    assert row(tables[0], "LoRA") == [
        *("LoRA", "0.03", "0.017", "0.02", "0.01", "0.01", "0.0067", "0.67", "yes"),
    ]
    assert row(tables[1], "LoRA") == [
        *("LoRA", "2.5", "0.02", "0.021", "0.03", "1.050", "yes"),
    ]
    assert "3 steps" in text
    assert "Losses of the two engines stay within 0.05 with LoRA." in text


@pytest.mark.parametrize(("engine", "good"), [(0.022, True), (0.0221, False), (0.001, True)])
def test_the_bound_on_weights_is_a_tenth_more_than_trainers(engine: float, good: bool) -> None:
    triples = gather(triple("full", engine=engine))
    words = verdict(triples)
    assert ("no further from those in 32 bits than 1.1 times Trainer's with Full" in words) is good
    assert ("**They are further with Full" in words) is not good
    text = "\n\n".join(section(triples, [], {}))
    assert row(text.split("Final weights: how far")[1], "Full")[-1] == ("yes" if good else "**no**")


def test_losses_too_far_apart_are_told_with_their_distance() -> None:
    apart = ((0.7, 0.6), (0.7, 0.6), (0.7, 0.66))
    text = "\n\n".join(section(gather(triple("ia3", losses=apart)), [], {}))
    assert "**They don't with IA3 (0.06 apart).**" in text
    assert row(text, "IA3")[-1] == "**no**"
    # Trainer's losses are those in 32 bits to the bit, so there is no ratio to them.
    assert row(text, "IA3")[-2] == "—"


def test_a_method_with_a_run_missing_is_left_out() -> None:
    exact, trainer, ours = triple("lora")
    failed = dataclasses.replace(trainer, outcome=Outcome.OOM, measurement=None, error="no memory")
    assert gather([exact, failed, ours]) == []
    words = section([], [exact, failed, ours], {})[1]
    assert words.startswith("Not all runs that would be compared ended well")
    assert [t.method.slug for t in gather([exact, failed, ours, *triple("full")])] == ["full"]


def test_several_seeds_stand_apart_and_share_a_median() -> None:
    triples = gather([*triple("lora", 42, engine=0.02), *triple("lora", 43, engine=0.03)])
    text = "\n\n".join(section(triples, [], {}))
    assert row(text, "LoRA, seed 42")
    assert "**They are further with LoRA, seed 43 (1.50 times).**" in text
    assert "The median ratio over these 2 is 1.25 [1.00, 1.50]." in text


def test_weights_that_were_not_compared_are_told() -> None:
    exact, trainer, ours = triple("lora")
    assert ours.measurement is not None
    bare = dataclasses.replace(ours.measurement, weights_apart={})
    triples = gather([exact, trainer, dataclasses.replace(ours, measurement=bare)])
    assert "Weights were not compared with LoRA." in verdict(triples)


def test_the_plot_has_a_panel_a_method_and_no_zero_on_a_logarithmic_axis() -> None:
    plot = draw_equality(gather([*triple("full"), *triple("lora")]))
    assert plot is not None
    titles = [axes.get_title(loc="left") for axes in plot.figure.axes]
    assert titles == ["Full", "LoRA"]
    dots = plot.figure.axes[0].lines[0].get_ydata()
    assert dots == pytest.approx([0.01, np.nan, 0.02], nan_ok=True)
    assert draw_equality([]) is None


def test_without_records_it_says_how_to_get_them() -> None:
    assert "-k equality`" in section([], [], {})[1]
