"""The page without a browser: its parts, its policy, and that it says what report.md says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest

from peftcore.report.page.gathering import MOST_FLIPS, MOST_POINTS, embedded, gather_page
from peftcore.report.page.prose import to_html
from peftcore.report.page.rendering import SCRIPTS, STYLES, joined
from peftcore.report.render import write_report
from peftcore.report.summary import summarise
from tests.report.conftest import build
from tests.report.page.conftest import page_of, spread
from tests.report.test_protocols import both as records_by_protocol


class Tables(HTMLParser):
    """The texts of a page's tables: of each its rows, of each its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1][-1][-1] += data


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return the page and the Markdown of a report with three seeds and a method that failed."""
    folder = tmp_path_factory.mktemp("report")
    failed = build("dora", outcome="failed", error="it broke")
    report = write_report([*spread(), failed], folder)
    return (folder / "report.html").read_text(encoding="utf-8"), report.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    )


def plain(cell):
    """Return a cell of Markdown as text."""
    cell = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", cell)
    return re.sub(r"\\(.)", r"\1", cell.strip().replace("**", "").replace("*", ""))


def markdown_tables(text):
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [
        [[plain(cell) for cell in line.strip("|").split("|")] for line in block.split("\n")]
        for block in blocks
    ]


def test_every_number_of_the_table_is_that_of_the_report(both):
    page, report = both
    head, *rows = Tables(page).found[0]
    shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    seen = 0
    for table in markdown_tables(report):
        columns, _, *lines = table
        if columns[1] != "Seeds" or not set(columns) <= set(head):
            continue
        for line in lines:
            told = dict(zip(columns, line, strict=True))
            if "failed" in line[2]:
                assert shown[told["Method"]][head[2]] == line[2]
                continue
            assert {name: shown[told["Method"]][name] for name in columns} == told
            seen += len(columns)
    assert seen > 100


def test_the_page_has_the_tables_of_the_report_word_for_word(both):
    page, report = both
    found = Tables(page).found
    told = markdown_tables(report)
    for heading in ("Letters", "Told apart?", "More than seeds", "Setup", "Macro-F1 (%)"):
        (table,) = [one for one in told if heading in one[0] and "Above Bag" not in str(one[0])]
        assert [table[0], *table[2:]] in found, heading


def test_both_protocols_are_on_the_page_where_the_report_has_both(tmp_path):
    measured = {"full": (0.9, 0.92), "lora": (0.85, 0.91)}
    report = write_report(records_by_protocol(measured), tmp_path).read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (gained,) = [one for one in markdown_tables(report) if "Gained (points)" in one[0]]
    assert [gained[0], *gained[2:]] in Tables(page).found
    assert "<img" not in page


def test_what_is_drawn_is_what_is_told(both):
    page, report = both
    for method in data_of(page)["methods"]:
        for key, value in method["values"].items():
            assert f" {value['text']} " in report.replace("**", " ")
            number = float(value["text"].split(" ")[0].replace(",", ""))
            digits = len(value["text"].split(" ")[0].partition(".")[2])
            assert number == pytest.approx(value["mean"], abs=0.501 * 10**-digits), key
    lora = next(m for m in data_of(page)["methods"] if m["slug"] == "lora")
    assert lora["against"]["full"]["figures"] in report
    assert lora["against"]["full"]["words"] in report


def test_the_policy_names_the_page_s_own_style_and_script_and_nothing_else(both):
    page, _ = both
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    hashes = {}
    for kind, pattern in (
        ("script-src", r'<script type="module">(.*?)</script>'),
        ("style-src", r"<style>(.*?)</style>"),
    ):
        (text,) = re.findall(pattern, page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind] = f"'sha256-{digest}'"
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        **hashes,
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"\son[a-z]+=|\sstyle=|<(?:img|iframe|object|embed|base)\b", page)
    assert re.findall(r'\ssrc="[^"]*"', page) == []
    assert re.findall(r"<link [^>]*>", page) == ['<link rel="icon" href="data:,">']


def test_the_script_never_reads_text_as_html():
    script = joined("script", SCRIPTS)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(|"
        r"setAttribute\(\"on|createContextualFragment|setHTML",
        script,
    )
    assert "</script" not in script.lower()


@pytest.mark.parametrize(("name", "files"), [("script", SCRIPTS), ("style", STYLES)])
def test_every_file_is_joined(name, files):
    folder = resources.files("peftcore.report.page").joinpath(name)
    assert sorted(files) == sorted(entry.name for entry in folder.iterdir())


def test_data_can_not_end_its_tag():
    text = "</script><!--<script>&\u2028\u2029"
    found = embedded({"one": text, "many": [text, {"a": None}], "none": []})
    assert not re.search("[<>&\u2028\u2029]", found)
    assert json.loads(found) == {"one": text, "many": [text, {"a": None}], "none": []}
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"one": float("nan")})


def test_markdown_of_the_report_becomes_no_markup_of_somebody_else_s():
    found = to_html("<b onclick=x>a</b> ![i](http://e/x.png) [l](javascript:x) [p](https://e/)")
    assert "<b" not in found
    assert "<img" not in found
    assert 'href="javascript' not in found
    assert '<a href="https://e/" rel="noopener noreferrer">p</a>' in found
    table = to_html("| a | b |\n|:--|--:|\n| 1 | 2 |")
    assert '<td class="number">2</td>' in table
    assert "style=" not in table


def test_what_curves_are_of_is_said_as_in_the_report(both):
    page, report = both
    of_training = "Training loss by step (running mean over a twentieth of the steps) and accuracy"
    assert of_training in report
    assert of_training in page
    assert ("from the lowest to the highest" in report) is ("from the lowest to the" in page)
    assert ("95% interval of one trained model on texts" in report) is (
        "for the 95% interval of one trained model on texts" in page
    )


def test_a_long_curve_is_thinned_from_its_end():
    losses = [[step, 1 / step] for step in range(1, 1001)]
    data = gather_page(summarise([build("lora", losses=losses)]), [])
    (curve,) = data["losses"]
    assert len(curve["x"]) <= MOST_POINTS
    # The middle of the last window of fifty.
    assert curve["x"][-1] == 975.5


def test_a_long_list_of_flips_is_cut_and_counted():
    labels = tuple(n % 2 for n in range(1400))
    wrong = tuple(label if n < 200 else 1 - label for n, label in enumerate(labels))
    data = data_of(
        page_of(
            [
                build("full", predictions=labels, labels=labels),
                build("lora", predictions=wrong, labels=labels),
            ]
        )
    )
    (flips,) = data["flips"]
    assert (len(flips["lost"]), len(flips["gained"])) == (MOST_FLIPS, 0)
    assert flips["counts"] == {"lost": 1200, "gained": 0}
    assert flips["lost"][1] == [201, 163, 1, 1, 0]


def test_a_page_without_accuracies_shows_costs_alone():
    slugs = ("full", "lora", "bow", "head")
    page = page_of([build(slug, weights="random") for slug in slugs])
    assert "weights are random" in page
    assert "data-cost" not in page
    for accuracy in ("91.4", "91.15", "81.2"):
        assert accuracy not in page.partition("<main>")[2].partition("</main>")[0]


def test_a_page_of_one_bare_record():
    full = build("full")
    trial = {key: full.trial[key] for key in
             ("id", "method", "scenario", "seed", "setting_id", "weights")}  # fmt: skip
    page = page_of([type(full)(trial=trial, outcome=full.outcome, measurement=full.measurement)])
    assert data_of(page)["methods"][0]["slug"] == "full"
