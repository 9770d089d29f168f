import pytest

from peftcore.report.markdown import escape, listed, signed, table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert('x')</script>", "&lt;script&gt;alert('x')&lt;/script&gt;"),
        ("**bold** _it_ `code`", r"\*\*bold\*\* \_it\_ \`code\`"),
        ("![x](http://y)", r"!\[x\](http://y)"),
        ("one\ntwo\r\n\tthree", "one two three"),
        ("a\\|b", r"a\\\|b"),
        ("&amp;", "&amp;amp;"),
        ("$x$", r"\$x\$"),
        ("bell\x07 and override\u202e", "bell and override"),
    ],
)
def test_escape_leaves_nothing_to_interpret(text, expected):
    assert escape(text) == expected


def test_a_cell_can_not_add_a_row_or_a_column():
    text = table(["a", "b"], [[escape("x | y\n| z |"), "1"]])
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[2].replace(r"\|", "").count("|") == 3


def test_numbers_stay_as_they_were_formatted():
    assert "1.50" in table(["a", "b"], [["x", "1.50"]])
    assert "007" in table(["a", "b"], [["007", "1"]])


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.25, "+0.25"), (-0.25, "−0.25"), (0.001, "0.00"), (-0.001, "0.00"), (-1234.5, "−1,234.50")],
)
def test_signed(number, expected):
    assert signed(number, 2) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], ""), (["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C"], "A, B and C")],
)
def test_listed(names, expected):
    assert listed(names) == expected
