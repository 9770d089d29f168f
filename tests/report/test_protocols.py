"""The same methods by two protocols."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest

from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_comparison import recompute_comparison
from peftcore.report.metrics import ACCURACY
from peftcore.report.protocols import (
    Compared,
    by_protocol,
    compare_protocols,
    draw_protocols,
    protocols_section,
)
from peftcore.report.render import write_report
from peftcore.report.summary import summarise
from peftcore.results.records import Record, read_records
from peftcore.scenarios import Protocol
from tests.report.conftest import MakeRecord, build

STUDY_RATE = 2e-5


def by(protocol: Protocol, record: Record, rate: float) -> Record:
    """Return a record as one of this protocol with this rate."""
    trial = {
        **record.trial,
        "id": f"{record.id}-{protocol}",
        "setting_id": f"of {protocol}",
        "protocol": str(protocol),
        "recipe": {**record.trial["recipe"], "learning_rate": rate},
    }
    return dataclasses.replace(record, trial=trial)


def both(
    accuracies: dict[str, tuple[float, float]], seeds: tuple[int, ...] = (42, 43, 44, 45)
) -> list[Record]:
    """Return records of each method by the protocols tuned and study, with these accuracies."""
    records = []
    for protocol, side in ((Protocol.TUNED, 1), (Protocol.STUDY, 0)):
        for method, known in accuracies.items():
            for seed in seeds:
                shift = random.Random(f"{method} {seed} {protocol}").gauss(0, 0.002)
                made = build(method, seed=seed, accuracy=known[side] + shift)
                rate = STUDY_RATE if protocol is Protocol.STUDY else 3 * STUDY_RATE
                records.append(by(protocol, made, rate))
    return records


GAPS = {
    "full": (0.91, 0.912),
    "lora": (0.86, 0.911),  # The rate's: nothing is left of it.
    "qlora": (0.87, 0.872),  # The method's: its own rate does not help.
    "ia3": (0.80, 0.88),  # Both.
    "bow": (0.87, 0.87),
}


def compared(records: list[Record]) -> dict[str, Compared]:
    own, other = (summarise(group) for group in by_protocol(records))
    return {one.after.slug: one for one in compare_protocols(own, other).methods}


def words(records: list[Record]) -> dict[str, str]:
    own, other = (summarise(group) for group in by_protocol(records))
    text = "\n".join(protocols_section([compare_protocols(own, other)], {}))
    gaps = text[text.index("Less Full") :]
    return dict(re.findall(r"^\| (\S+) .*\| +([a-z' ]+) \|$", gaps, re.MULTILINE))


def recomputed(text: str, records: list[Record]) -> Ledger:
    """Return what came of computing a report's tables in a second way."""
    ledger = Ledger()
    recompute_comparison(text, [one.to_json() for one in records], ledger)
    return ledger


def test_a_report_is_about_the_protocol_of_its_first_record() -> None:
    records = both(GAPS)
    groups = by_protocol(records)
    assert [one.trial["protocol"] for one in (groups[0][0], groups[1][0])] == ["tuned", "study"]
    assert by_protocol(records[::-1])[0][0].trial["protocol"] == "study"
    assert by_protocol([]) == [[]]


def test_whichever_a_report_is_about_it_compares_the_one_that_knows_more_with_the_other() -> None:
    records = both(GAPS)
    forth, back = compared(records), compared(records[::-1])
    for slug in ("full", "lora"):
        assert forth[slug].gained is not None
        assert forth[slug].gained == back[slug].gained


def test_a_bag_of_words_has_no_rate_to_be_compared() -> None:
    assert list(compared(both(GAPS))) == ["full", "lora", "qlora", "ia3"]


def test_a_gap_is_the_rates_or_the_methods_or_both() -> None:
    assert words(both(GAPS)) == {
        "LoRA": "the rate's",
        "QLoRA": "the method's",
        "IA3": "the rate's and the method's",
    }


def test_what_can_not_be_told_is_open_or_untested() -> None:
    assert words(both({"full": (0.9, 0.9), "lora": (0.9, 0.9)})) == {"LoRA": "none to explain"}
    wider = both({"full": (0.86, 0.92), "lora": (0.86, 0.88)})
    assert words(wider) == {"LoRA": "wider with rates of their own"}
    # A method that leads has no gap, whatever becomes of its lead.
    for full, lora in (((0.86, 0.86), (0.88, 0.92)), ((0.80, 0.90), (0.85, 0.905))):
        assert words(both({"full": full, "lora": lora})) == {"LoRA": "none to explain"}
    assert words(both(GAPS, seeds=(42,))) == dict.fromkeys(("LoRA", "QLoRA", "IA3"), "untested")


def test_the_change_of_a_gap_is_that_of_its_four_means() -> None:
    lora = compared(both(GAPS))["lora"]
    assert lora.gained is not None
    assert lora.closed is not None
    before, after = (gap.mean_points for gap in lora.gaps if gap is not None)
    assert lora.closed.mean_points == pytest.approx(after - before)
    interval = lora.closed.interval_points
    assert interval is not None
    assert interval[0] < after - before < interval[1]


@pytest.mark.parametrize("seeds", [(42,), (42, 43, 44)])
def test_it_can_be_computed_in_a_second_way(seeds: tuple[int, ...], tmp_path: Path) -> None:
    records = both(GAPS, seeds)
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    whole = recomputed(text, records)
    assert whole.findings == []
    section = text.index("## Rate or method?")
    without = recomputed(text[:section] + text[text.index("## The source") :], records)
    assert whole.checked - without.checked > 40
    # Each number of its tables is checked.
    end = text.index("\n![", section)
    for found in re.finditer(r"\d+\.\d+", text[section:end]):
        place = section + found.start()
        if text[text.rindex("\n", 0, place) + 1] != "|" or text[place - 2] == "<":
            continue
        ledger = recomputed(text[:place] + str(9 - int(text[place])) + text[place + 1 :], records)
        assert ledger.findings or len(seeds) == 1, text[place - 40 : place + 20]


def test_the_report_is_the_same_from_the_records_it_writes(tmp_path: Path) -> None:
    first = write_report(both(GAPS), tmp_path / "first")
    again = write_report(
        list(read_records(tmp_path / "first" / "records.jsonl")), tmp_path / "again"
    )
    assert again.read_bytes() == first.read_bytes()
    text = first.read_text(encoding="utf-8")
    assert "figures/protocols_study_tuned.png" in text
    assert (tmp_path / "again" / "figures" / "protocols_study_tuned.png").is_file()
    assert "each the best of a search of its own" in text


def test_one_method_with_one_seed_leaves_the_others_checked(tmp_path: Path) -> None:
    records = [one for one in both(GAPS) if one.method != "qlora" or one.seed == 42]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    assert recomputed(text, records).findings == []
    section = text.index("The gap is ")
    end = text.index("\n\n", section)
    for right in ("the rate's and the method's", "untested"):
        place = text.rindex(right, section, end)
        changed = text[:place] + text[place:].replace(right, "the method's", 1)
        assert recomputed(changed, records).findings, right


def test_the_bar_is_of_the_seeds_that_both_protocols_have() -> None:
    """Its means are of all seeds, by which a bar could end on the wrong side of its own dot."""
    records = both({"full": (0.91, 0.912), "lora": (0.60, 0.911)})
    few = [
        dataclasses.replace(one, measurement=dataclasses.replace(one.measurement, accuracy=0.99))
        if one.seed > 43 and one.trial["protocol"] == "tuned" and one.measurement
        else one
        for one in records
        if one.seed < 44 or one.trial["protocol"] == "tuned"
    ]
    own, other = (summarise(group) for group in by_protocol(few))
    protocols = compare_protocols(own, other)
    plot = draw_protocols(protocols)
    assert plot is not None
    (axes,) = plot.figure.axes
    bars = [lines.get_segments()[0] for lines in axes.collections]
    ends = sorted((round(float(bar[0, 0]), 6), round(float(bar[1, 0]), 6)) for bar in bars)
    expected = []
    for one in protocols.methods:
        after, gained = one.after.mean(ACCURACY), one.gained
        assert after is not None
        assert gained is not None
        assert gained.interval_points is not None
        low, high = gained.interval_points
        without = after - gained.mean_points
        expected.append((round(without + low, 6), round(without + high, 6)))
    assert ends == sorted(expected)


def test_with_one_protocol_there_is_no_such_section(record: MakeRecord, tmp_path: Path) -> None:
    text = write_report([record("full"), record("lora")], tmp_path).read_text(encoding="utf-8")
    assert "Rate or method?" not in text
