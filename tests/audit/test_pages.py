"""A page that was published, and the one that follows from the records."""

from __future__ import annotations

import pytest

from peftcore.audit.findings import Ledger
from peftcore.audit.pages import compare_pages
from tests.report.conftest import build
from tests.report.page.conftest import page_of


@pytest.fixture(scope="module")
def page():
    return page_of([build(method, examples=200) for method in ("full", "lora")])


def told(published, follows):
    ledger = Ledger()
    compare_pages("report.html", published, follows, ledger)
    return ledger.checked, [finding.sentence() for finding in ledger.findings]


def test_the_same_page_is_checked_number_by_number(page):
    checked, sentences = told(page, page)
    assert sentences == []
    assert checked > 500


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</style>", " </style>"),
        ("</script>\n</body>", "//</script>\n</body>"),
        ("default-src 'none'", "default-src *"),
        ("</body>", '<script type="module">alert(1)</script></body>'),
        ("</body>", "<style>p {}</style></body>"),
    ],
    ids=["style", "script", "policy", "another script", "another style"],
)
def test_another_style_script_or_policy_is_told_as_one(page, old, new):
    _, sentences = told(page.replace(old, new, 1), page)
    assert sentences[0].startswith("report.html: its style, script or policy is not what this")
    assert "peftcore import and peftcore report write it anew" in sentences[0]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("<p>", "<p><script>alert(1)</script>", "other words follow"),
        ("</main>", "</main>\n<iframe></iframe>", "this line does not follow from the records"),
        ('"points":-', '"points":-1', "another number follows"),
        ("<tr>", "<tr> ", "other words follow"),
    ],
)
def test_another_text_is_told_with_its_line(page, old, new, why):
    _, sentences = told(page.replace(old, new, 1), page)
    assert sentences[0].startswith("report.html, line ")
    assert why in sentences[0]


def test_what_no_line_shows_is_told_too(page):
    """Lines of tables are compared by their cells, and a page must be equal to the byte."""
    follows = page.replace("</main>", "</main>\n| a | b |\n|---|---|\n")
    _, sentences = told(follows.replace("|---|", "|----|"), follows)
    assert sentences == ["report.html: the page that follows from the records has other bytes"]
