"""Text against text: the number that differs is named with its line, row and column."""

from __future__ import annotations

import random

import pytest

from peftcore.audit.findings import Ledger, shown
from peftcore.audit.lines import compare_texts
from peftcore.report.markdown import table

TEXT = "# Title\n\n" + table(
    ["Method", "Accuracy (%)", "Time (s)"],
    [["Full", "90.11 [77.16, 99.00]", "7.3 ± 0.8"], ["LoRA", "**90.06**", "1,204.8"]],
) + "\n\nLoRA is 0.05 points below Full over 3 seeds, p < 0.001.\n"  # fmt: skip


def differences(published, follows=TEXT, name="report.md"):
    ledger = Ledger()
    compare_texts(name, published, follows, ledger)
    return [finding.sentence() for finding in ledger.findings]


def test_equal_texts_are_counted_number_by_number():
    ledger = Ledger()
    compare_texts("report.md", TEXT, TEXT, ledger)
    assert ledger.findings == []
    # Eight numbers, and five lines without one, of which two are empty and one is after the end.
    assert ledger.checked == 3 + 2 + 2 + 3 + 6


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "77.16",
            "77.61",
            "report.md, line 5, row “Full”, column “Accuracy (%)”: another number follows; "
            "published is 77.61; what follows is 77.16",
        ),
        (
            "1,204.8",
            "204.8",
            "report.md, line 6, row “LoRA”, column “Time (s)”: another number follows; "
            "published is 204.8; what follows is 1,204.8",
        ),
        (
            "0.05 points",
            "0.5 points",
            "report.md, line 8: another number follows; published is 0.5; what follows is 0.05",
        ),
    ],
)
def test_a_number_is_named_by_line_row_and_column(old, new, told):
    assert differences(TEXT.replace(old, new)) == [told]


def test_other_words_are_told_from_where_they_part():
    (sentence,) = differences(TEXT.replace("below Full", "above Full"))
    assert sentence.startswith("report.md, line 8: other words follow; published is ")
    assert "above Full" in sentence
    assert "below Full" in sentence


def test_lines_that_are_missing_or_added_are_told_alone():
    lines = TEXT.split("\n")
    (missing,) = differences("\n".join(lines[:4] + lines[5:]))
    assert "a line is missing" in missing
    assert "Full" in missing
    (added,) = differences("\n".join([*lines[:7], "Buy now.", *lines[7:]]))
    assert added == (
        "report.md, line 8: this line does not follow from the records; published is Buy now."
    )


def test_alignment_does_not_count_and_bold_does():
    assert differences(TEXT.replace("| LoRA     |", "| LoRA |")) == []
    assert len(differences(TEXT.replace("**90.06**", "90.06"))) == 1


def test_rows_of_csv_are_matched_by_method_and_example():
    follows = "method,example,row\nlora,1,5\nlora,2,6\nia3,1,5\n"
    (sentence,) = differences(follows.replace("lora,1,5\n", ""), follows, "flips.csv")
    assert "what follows is lora,1,5" in sentence
    (sentence,) = differences(follows.replace("2,6", "2,7"), follows, "flips.csv")
    assert sentence == (
        "flips.csv, line 3: another number follows; published is 7; what follows is 6"
    )


def test_huge_texts_of_equal_lines_take_no_quadratic_time():
    assert len(differences("1 x\n" * 5000, "2 x\n" * 5000)) == 5000


def test_what_is_shown_is_one_line_that_a_terminal_shows_as_it_is():
    hostile = "a\nb\r\x1b[2J\u202ec\x00\u2028" + "d" * 1000
    text = shown(hostile)
    assert text.isprintable()
    assert text.startswith("a\\nb\\r\\u001b[2J\\u202ec\\u0000\\u2028ddd")
    assert len(text) < 1100
    random.seed(0)
    junk = "".join(chr(random.choice([*range(32), 0x202E, 0xD800, 0x1F600])) for _ in range(200))
    assert shown(junk).isprintable()
