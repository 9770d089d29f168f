"""The second way: it agrees with the first, shares no code with it, and finds what rendering hides.

Reports are composed without their figures, which it doesn't read.
"""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
import pytest
from scipy import stats

from peftcore.audit import second
from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_comparison import COLUMNS, SUMS, recompute_comparison
from peftcore.audit.recomputing_engines import recompute_engines
from peftcore.audit.recomputing_rates import recompute_rates
from peftcore.report import rates
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines import render as engines
from peftcore.report.metrics import ACCURACY, METRICS
from peftcore.report.render import compose
from peftcore.report.summary import summarise
from peftcore.results.records import Outcome
from peftcore.statistics.variance import Components, components, fit_prior
from tests.report.engines.conftest import every_part
from tests.report.test_rates import search, tried  # noqa: F401 (a fixture)


def composed(records):
    plot = Plot(name="overview", caption="", alt="", figure=new_figure(1))
    return compose(summarise(records), [plot])


def check(records, text=None, recompute=recompute_comparison):
    """Return what the second way finds in the report of these records, and how much it checked."""
    ledger = Ledger()
    contents = [record.to_json() for record in records]
    recompute(composed(records) if text is None else text, contents, ledger)
    return [finding.sentence() for finding in ledger.findings], ledger.checked


def test_every_column_of_the_tables_of_metrics_is_known():
    of_parts = {metric.heading for metric in METRICS if metric.parts}
    assert set(SUMS) == of_parts
    assert set(COLUMNS) == {metric.heading for metric in METRICS} - {ACCURACY.heading} - of_parts


def test_one_seed(study):
    found, checked = check(study)
    assert found == []
    assert checked > 200


def test_several_seeds(over_seeds):
    found, checked = check(over_seeds)
    assert found == []
    assert checked > 400


def test_seeds_that_differ_between_methods_and_a_method_that_failed(record, over_seeds):
    kept = [r for r in over_seeds if (r.method, r.seed) not in {("lora", 43), ("ia3", 42)}]
    kept = [r for r in kept if r.method != "qlora" or r.seed == 42]
    kept.append(record("zeta|*_", seed=42, accuracy=0.9))
    kept.append(record("eta", seed=42, outcome="oom", error="x"))
    assert check(kept)[0] == []


@pytest.mark.parametrize("draw", range(8))
def test_trials_that_failed_at_random(record, draw):
    """What leads over seeds in common may depend on the order, and a single seed may be left."""
    chance = random.Random(draw)
    records = [
        record(method, seed=s, accuracy=0.8 + chance.random() / 10)
        if chance.random() > 0.5
        else record(method, seed=s, outcome="oom", error="x")
        for method in ("full", "lora", "qlora", "ia3", "bow")
        for s in (1, 2, 3)
    ]
    assert check(records)[0] == []


def test_trials_of_one_seed_of_several_that_were_planned(record):
    failed = [record(m, seed=2, outcome="oom", error="x") for m in ("full", "lora", "bow")]
    records = [record(m, seed=1) for m in ("full", "lora", "bow")]
    assert check([*records, *failed])[0] == []


def test_equal_answers_and_answers_without_an_error(record):
    labels = tuple(n % 2 for n in range(60))
    records = [
        record(m, seed=s, predictions=labels, labels=labels)
        for m, s in itertools.product(("full", "lora", "ia3"), (1, 2))
    ]
    assert check(records)[0] == []


def test_what_has_no_accuracy_is_checked_in_the_rest(record):
    random = [record(m, weights="random") for m in ("full", "lora", "bow")]
    unkept = [record(m, keep_predictions=False) for m in ("full", "lora")]
    for records in (random, unkept):
        found, checked = check(records)
        assert found == []
        assert checked > 20


@pytest.mark.parametrize("records", ["study", "over_seeds"])
def test_each_headline_number_is_checked(request, records):
    """One changed number in each table of accuracies, in the cell that it is told for."""
    records = request.getfixturevalue(records)
    text = composed(records)
    lines = text.split("\n")
    seen = 0
    for heading, column in (
        ("## Key metrics", 3),
        ("## Key metrics", 6),
        ("## Accuracy: what can be told apart", 3),
        ("## Accuracy: what can be told apart", 4),
        ("## Differences from Full", 2),
        ("## Differences from Full", 5),
        ("## Differences from the reference rows", 2),
        ("## Which examples flipped", 3),
        ("## Agreement between methods", 2),
        ("## More measurements", 3),
    ):
        start = lines.index(heading)
        row = next(n for n in range(start, len(lines)) if lines[n].startswith("| LoRA"))
        cells = lines[row].split("|")
        digit = next(n for n in range(len(cells[column]) - 1, 0, -1) if cells[column][n].isdigit())
        other = "7" if cells[column][digit] != "7" else "3"
        cells[column] = cells[column][:digit] + other + cells[column][digit + 1 :]
        changed = [*lines[:row], "|".join(cells), *lines[row + 1 :]]
        found, _ = check(records, "\n".join(changed))
        assert len(found) == 1, (heading, column, found)
        assert f"line {row + 1}, row “LoRA”" in found[0]
        seen += 1
    assert seen == 10


def test_verdicts_and_letters_are_checked(over_seeds):
    text = composed(over_seeds)
    found, _ = check(over_seeds, text.replace("yes, p < 0.001", "no, p < 0.001"))
    assert len(found) > 3
    ia3 = next(line for line in text.split("\n") if line.startswith("| IA3 ▼") and " c |" in line)
    found, _ = check(over_seeds, text.replace(ia3, ia3.replace(" c |", " a |")))
    assert any("share one, but p is" in sentence for sentence in found)


def test_counts_of_mcnemars_test_are_checked(study):
    text = composed(study)
    assert "examples are right in LoRA alone" in text
    found, _ = check(
        study, text.replace(" examples are right in LoRA", "1 examples are right in LoRA")
    )
    assert len(found) == 1
    assert "counts of McNemar's test" in found[0]


def test_an_error_of_the_code_that_renders_is_found(over_seeds, monkeypatch):
    """Rendering again would agree with it; this is what the second way is for."""
    right = Components.on_texts_like_these

    def wrong(self, prior=None):
        found = right(self, prior)
        return found and dataclasses.replace(found, standard_error=1.1 * found.standard_error)

    monkeypatch.setattr(Components, "on_texts_like_these", wrong)
    found, _ = check(over_seeds)
    assert any("column “On texts like these”" in sentence for sentence in found)


def test_a_search_over_rates(search):  # noqa: F811
    text = rates.compose(search)
    found, checked = check(search, text, recompute_rates)
    assert found == []
    assert checked == 22
    found, _ = check(search, text.replace("87.0", "87.1"), recompute_rates)
    assert len(found) == 1
    assert "row “Full”, column “3e-05”" in found[0]
    text = text.replace("**88.0**", "88.0").replace("87.0", "**87.0**")
    assert "another rate is better" in check(search, text, recompute_rates)[0][0]


def test_a_comparison_of_the_engines():
    records = every_part()
    text = engines.compose(records, [])
    found, checked = check(records, text, recompute_engines)
    assert found == []
    assert checked > 60
    # A run that failed leaves its other half out of the medians.
    lone = [
        dataclasses.replace(r, outcome=Outcome.OOM, measurement=None, predictions=None, error="x")
        if r.trial["part"].startswith("growth") and r.trial["engine"] == "trainer" and r.seed == 42
        else r
        for r in records
    ]
    assert lone != records
    assert check(lone, engines.compose(lone, []), recompute_engines)[0] == []
    for old in ("2.00 [", "3.00 ["):
        assert old in text
        assert check(records, text.replace(old, "2.50 [", 1), recompute_engines)[0]


def test_squares_are_those_of_the_first_way():
    values = np.random.default_rng(3).integers(-1, 2, (4, 90))
    ours, theirs = second.squares(values), components(values, unit=100)
    assert ours.mean == pytest.approx(theirs.mean)
    assert ours.of_seeds == pytest.approx(theirs.seed_square)
    assert ours.of_examples == pytest.approx(theirs.example_square)
    assert ours.of_rest == pytest.approx(theirs.rest_square)


@pytest.mark.parametrize("seed", range(6))
def test_priors_are_those_of_the_first_way(seed):
    random = np.random.default_rng(seed)
    spreads = random.choice([0.1, 1.0, 4.0], 5)
    means = [random.normal(90, s, random.integers(2, 6)).tolist() for s in spreads]
    found = second.common_variance(means)
    first = fit_prior([np.var(m, ddof=1) for m in means], [len(m) - 1 for m in means])
    assert found.variance == pytest.approx(first.variance)
    assert found.degrees == pytest.approx(first.degrees)


def test_single_tests_are_scipys():
    assert second.mcnemar(3, 11) == pytest.approx(stats.binomtest(3, 14).pvalue)
    assert second.mcnemar(0, 0) == 1.0
    assert second.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
