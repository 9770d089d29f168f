"""The page in a real browser: headless Chromium, started once for all tests of this file.

Locally a test is skipped where there is no Chromium; where ``CI`` is set, it fails.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peftcore.methods import find_methods
from peftcore.results.records import Record
from tests.report.conftest import build
from tests.report.page.conftest import page_of
from tests.security.test_injection import ATTACK, hostile_records

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

Open = Callable[..., Any]


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI has to bring it")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, or the reason why there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("needs playwright: install the extra 'test'")
    known = [os.environ.get("PEFTCORE_CHROMIUM"), *map(shutil.which, EXECUTABLES)]
    executable = next((path for path in known if path), None)
    if executable is None:
        missing("needs Chromium: install it, or name its executable in PEFTCORE_CHROMIUM")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=executable)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, pages: dict[str, Path]) -> Iterator[Open]:
    """Return a function that opens a page, of which nothing may go wrong and nothing be asked.

    It takes the page's name or path, and what sets up the browser: a width, dark or light, …
    """
    contexts, requests, troubles = [], [], []

    def opened(which: str | Path, width: int = 1200, **settings: Any) -> Any:
        path = which if isinstance(which, Path) else pages[which]
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("request", lambda request: requests.append((path.as_uri(), request.url)))
        page.on("console", lambda said: troubles.append(said.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        return page

    opened.requests, opened.troubles = requests, troubles  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
    for own, asked in requests:
        assert asked in (own, "data:,"), f"the page asked for {asked}"
    assert requests


def first_column(page: Any) -> list[str]:
    names = page.locator("#table tbody tr:visible th").all_inner_texts()
    return [re.sub(r" ▼| \(reference\)", "", name) for name in names]


def heading(page: Any, name: str) -> Any:
    return page.locator("#table thead").get_by_role("button", name=name, exact=True)


def test_the_table_is_sorted_by_a_press_and_by_the_keyboard(open_page: Open) -> None:
    page = open_page("seeds")
    reported = ["Full", "LoRA", "QLoRA", "IA3", "DoRA", "Bag of words", "Head only"]
    assert first_column(page) == reported
    heading(page, "Peak GPU memory (GB)").click()
    # The least first; a method without a number and one that was not measured come last.
    least = ["Head only", "QLoRA", "LoRA", "Full", "IA3"]
    assert first_column(page)[:5] == least
    column = page.locator("#table th", has_text="Peak GPU memory (GB)")
    assert column.get_attribute("aria-sort") == "ascending"
    heading(page, "Peak GPU memory (GB)").press("Enter")
    assert first_column(page)[:5] == least[::-1]
    assert set(first_column(page)[5:]) == {"DoRA", "Bag of words"}
    heading(page, "Peak GPU memory (GB)").press("Space")
    assert first_column(page) == reported
    # Of accuracy the most is best, and comes first.
    heading(page, "Accuracy (%)").click()
    assert first_column(page)[:2] == ["Full", "LoRA"]
    assert column.get_attribute("aria-sort") is None
    heading(page, "Trainable parameters").click()
    assert first_column(page)[:3] == ["Head only", "IA3", "QLoRA"]


def test_rows_and_columns_are_chosen(open_page: Open) -> None:
    page = open_page("seeds")
    page.get_by_label("Filter").fill("lora")
    assert first_column(page) == ["LoRA", "QLoRA"]
    assert page.locator("#count").inner_text() == "2 of 7 rows"
    page.get_by_label("Filter").fill("")
    page.get_by_label("Rows").select_option("candidates")
    assert first_column(page) == ["Full", "LoRA", "QLoRA", "IA3", "DoRA"]
    page.get_by_label("Rows").select_option("finished")
    assert "DoRA" not in first_column(page)
    page.get_by_label("Rows").select_option("level")
    assert "Full" in first_column(page)
    assert "IA3" not in first_column(page)
    page.get_by_label("Filter").fill("nothing is called this")
    assert first_column(page) == []
    assert page.locator("#count").inner_text() == "0 of 7 rows"
    heads = page.locator("#table thead th:visible")
    assert "Utilisation (%)" not in heads.all_inner_texts()
    page.get_by_label("Columns").select_option("machine")
    assert "Utilisation (%)" in heads.all_inner_texts()
    assert "Train time (s)" not in heads.all_inner_texts()
    assert "Accuracy (%)" in heads.all_inner_texts()
    page.get_by_label("Columns").select_option("all")
    assert {"Train time (s)", "Training loss (nats)"} <= set(heads.all_inner_texts())


def test_details_show_where_a_point_is_hovered_or_focused(open_page: Open) -> None:
    page = open_page("seeds")
    figure = page.locator("figure[data-cost=gpu_peak_bytes]")
    figure.scroll_into_view_if_needed()
    details = page.locator("#details")
    assert details.is_hidden()
    figure.locator(".point[data-method=lora]").hover()
    told = details.inner_text().split("\n")
    shown = page.locator("#table tr[data-method=lora] td").all_inner_texts()
    assert told[0] == "LoRA"
    assert told[1] == f"Accuracy (%): {shown[1]}"
    assert any(line.startswith("Peak GPU memory (GB): 1.482") for line in told)
    assert any("LoRA and Full can't be told apart" in line or "LoRA is" in line for line in told)
    box, window = details.bounding_box(), page.viewport_size
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= window["width"]
    assert box["y"] >= 0
    page.mouse.move(5, 5)
    assert details.is_hidden()
    # By keyboard: the tab key comes to the cheapest, the arrows go on to the dearest.
    points = figure.locator(".point")
    points.first.focus()
    seen = []
    for _ in range(points.count()):
        seen.append(details.inner_text().split("\n")[0])
        page.keyboard.press("ArrowRight")
    assert seen == ["QLoRA", "LoRA", "Full", "IA3"]
    page.keyboard.press("Home")
    assert details.inner_text().startswith("QLoRA")
    assert figure.locator(".point[tabindex='0']").count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "QLoRA. Accuracy (%): "
    )
    page.keyboard.press("Escape")
    assert details.is_hidden()


def test_a_method_that_is_pressed_stands_out_everywhere_until_escape(open_page: Open) -> None:
    page = open_page("seeds")
    button = page.locator("#fronts .legend").get_by_role("button", name="QLoRA", exact=True)
    button.press("Enter")
    page.mouse.move(0, 0)
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("#table tr.on").get_attribute("data-method") == "qlora"
    assert page.locator("#curves .series.on").count() == 2
    assert page.locator("#fronts .point.off[data-method=lora]").count() > 0
    # In a field of text, Escape is the field's own.
    search = page.get_by_label("Filter")
    search.fill("full")
    search.press("Escape")
    search.blur()
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    button.blur()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator(".on, .off").count() == 0


def test_a_point_keeps_the_focus_when_the_charts_are_drawn_anew(open_page: Open) -> None:
    page = open_page("seeds")
    for figure, slug in (
        (page.locator("figure[data-cost=train_seconds]"), "full"),
        (page.locator("figure[data-curve=epochs]"), "lora"),
    ):
        figure.locator(f".point[data-method={slug}]").nth(-1).focus()
        told = page.locator("#details").inner_text()
        for width in (900, 1200):
            page.set_viewport_size({"width": width, "height": 900})
            focused = page.locator(":focus")
            page.wait_for_function(
                "width => Math.abs(document.querySelector('figure svg').clientWidth - width) < 2",
                arg=page.locator("figure .plot").first.evaluate("e => e.clientWidth"),
            )
            assert focused.get_attribute("data-method") == slug
            assert focused.get_attribute("tabindex") == "0"
            assert focused.evaluate("e => e.closest('figure').outerHTML") == figure.evaluate(
                "e => e.outerHTML"
            )
            assert page.locator("#details").inner_text() == told
            assert page.locator("#table tr.on").get_attribute("data-method") == slug
            assert figure.locator(".point[tabindex='0']").count() == 1


def test_fronts_hold_what_no_method_beats_and_say_what_is_left_out(open_page: Open) -> None:
    page = open_page("seeds")
    shown = page.locator("#fronts figure").evaluate_all("all => all.map(e => e.dataset.cost)")
    assert shown == [
        "gpu_peak_bytes",
        "train_seconds",
        "trainable_parameters",
        "adapter_file_bytes",
        "train_gpu_energy",
    ]
    memory = page.locator("figure[data-cost=gpu_peak_bytes]")
    for slug, on in (("full", True), ("lora", True), ("qlora", True), ("ia3", False)):
        label = memory.locator(f".point[data-method={slug}]").get_attribute("aria-label")
        assert ("No other candidate is cheaper and as accurate" in label) is on
        # IA3 alone is under the bag of words; no point's memory is known to be more than its own.
        assert "cheaper and at least as accurate" not in label
    said = "Bag of words (reference) is cheaper and at least as accurate, by the means"
    time = page.locator("figure[data-cost=train_seconds]")
    for slug, beaten in (("full", False), ("lora", False), ("ia3", True)):
        label = time.locator(f".point[data-method={slug}]").get_attribute("aria-label")
        assert (said in label) is beaten
    # Head only is ten points under the best.
    assert memory.locator(".point[data-method=head]").count() == 0
    assert "Head only (81." in page.locator("#fronts .far").inner_text()
    assert page.locator("figure[data-curve=epochs] .series").count() == 4
    page.get_by_label("Every method").first.check()
    assert page.get_by_label("Every method").last.is_checked()
    assert page.locator("figure[data-curve=epochs] .series").count() == 5
    assert memory.locator(".point[data-method=head]").count() == 1
    assert memory.locator(".point[data-method=lora] line.error").count() >= 3
    shapes = {
        memory.locator(f".point[data-method={slug}] .marker").evaluate(
            "e => e.tagName + e.getAttribute('points')"
        )
        for slug in ("full", "lora", "qlora", "ia3", "head")
    }
    assert (
        len(shapes) >= 4
    )  # A reference row is told from the candidate of its shape by being hollow.


def ask(page: Any, **asked: Any) -> str:
    for name, given in asked.items():
        control = page.locator(f"#chooser [name={name}]")
        if isinstance(given, bool):
            control.set_checked(given)
        elif name in ("goal", "against", "evidence"):
            control.select_option(given)
        else:
            control.fill(str(given))
    return str(page.locator("#choice").inner_text())


def test_the_chooser_answers_with_the_reason(open_page: Open) -> None:
    page = open_page("seeds")
    # Any loss: the least of what is asked for. IA3 is under the bag of words.
    text = ask(page, loss=50, goal="memory")
    assert text.startswith("Use QLoRA.")
    assert "it is the one with the least peak memory, by the means: 1.356 GB" in text
    assert "Accuracy: QLoRA less Full: −" in text
    assert "Of the 3 methods" in text
    text = ask(page, goal="time")
    assert text.startswith("Use LoRA.")
    text = ask(page, goal="energy")
    assert text.startswith("Use LoRA.")
    assert "kJ" in text
    # Fifty adapters: the backbone once and fifty files, computed before the reader's eyes.
    text = ask(page, goal="room", adapters=50)
    assert text.startswith("Use QLoRA.")
    assert "Full's file of 498.61 MB, + 50 × 4.14 MB ≈ 705.7 MB" in text
    assert "where Full takes 50 × 498.61 MB ≈ 24.93 GB" in text
    assert "How long it takes to swap adapters, and what several at once take in memory" in text
    # A limit: by the driver's count, which is more than what tensors took.
    text = ask(page, goal="loss", memory=2.5, adapters=1)
    assert text.startswith("Use LoRA.")
    assert "it took 2.082 GB in training (GPU memory by the driver), of 2.5 GB" in text
    # No loss at all: only the most accurate itself is sure of that.
    text = ask(page, loss=0, memory="", goal="balance")
    assert text.startswith("Use Full, to be sure of the loss.")
    assert "No other method within the limits is shown to keep within the loss." in text
    assert "Less time × memory, but a larger loss is not excluded: LoRA (−" in text
    # Unless it is enough that a loss is not shown: then what can't be told apart will do.
    text = ask(page, evidence="open")
    assert text.startswith("Use LoRA, as far as these records tell.")
    assert "the interval holds both more and less than a loss of 0 points" in text
    ask(page, evidence="shown")
    # Methods under the bag of words come in where they are asked for.
    assert page.locator("#fared tr", has_text="IA3").locator("td").first.text_content() == "out"
    text = ask(page, loss=50, goal="room", adapters=2, under=True)
    assert text.startswith(
        "Use IA3. The bag of words, which needs no backbone, is more accurate by the means: 86.85%."
    )


def test_the_chooser_names_what_takes_as_little(open_page: Open) -> None:
    """Of two that take the same, the more accurate; and it is not called the one with the least."""
    page = open_page("ties")
    text = ask(page, loss=50, goal="room", adapters=50)
    assert text.startswith("Use LoRA.")
    assert "none has less room for the adapters, and QLoRA has as much, by the means" in text
    assert "it is the one with the least" not in text


def of_one_size(**options: Any) -> list[Record]:
    """Return records in which adapters of LoRA and of QLoRA, the more accurate, are as large."""
    of = {"full": (0.90, 90_000_000), "lora": (0.85, 4_000_000), "qlora": (0.88, 4_000_000)}
    return [
        build(slug, seed=seed, accuracy=accuracy, adapter_file_bytes=size, **options)
        for slug, (accuracy, size) in of.items()
        for seed in (42, 43, 44)
    ]


def test_of_what_takes_the_same_the_chooser_takes_the_more_accurate(
    open_page: Open, tmp_path: Path
) -> None:
    path = tmp_path / "same.html"
    path.write_text(page_of(of_one_size()), encoding="utf-8")
    text = ask(open_page(path), loss=50, goal="room", adapters=50)
    assert text.startswith("Use QLoRA.")
    path.write_text(page_of(of_one_size(weights="random")), encoding="utf-8")
    text = ask(open_page(path), goal="room", adapters=50)
    assert "The least room for the adapters is that of LoRA and QLoRA: 290.0 MB." in text


def test_the_chooser_says_what_can_not_be(open_page: Open) -> None:
    page = open_page("seeds")
    text = ask(page, memory=0.5)
    assert text.startswith("Nothing that was measured here fits.")
    assert "Over the memory limit of 0.5 GB: Full, LoRA and QLoRA." in text
    assert "The least of them is QLoRA's: 1.956 GB" in text
    assert "Less accurate, by the means, than the bag of words" in text
    assert "No trial finished: DoRA." in text
    text = ask(page, memory="", room=0.4, adapters=50)
    assert "Over the room of 0.4 GB: Full, LoRA and QLoRA." in text
    # What is left is sure to lose more than is allowed.
    text = ask(page, room="", memory=2.05, loss=0, adapters=1)
    assert "QLoRA less Full" in text
    assert not text.startswith("Use")
    for name, wrong, said in (
        ("memory", -1, "The memory limit must be a number of GB, 0 or more, or empty."),
        ("adapters", 1.5, "The number of adapters must be a whole number, 1 or more."),
        ("loss", "", "The accuracy to lose must be a number of points, 0 or more."),
    ):
        text = ask(page, **{name: wrong})
        assert text == said
        field = page.locator(f"#chooser [name={name}]")
        assert field.get_attribute("aria-invalid") == "true"
        ask(page, **{name: 1})
        assert field.get_attribute("aria-invalid") == "false"


def test_the_chooser_knows_what_records_can_not_tell(open_page: Open) -> None:
    text = ask(open_page("one-seed"), memory=2.5, loss=5)
    assert text.startswith("The records can't tell: LoRA and QLoRA may fit")
    assert "one seed says nothing about other seeds" in text
    assert "Run more seeds to know." in text
    page = open_page("processor")
    text = ask(page, memory=8, loss=50)
    assert text.startswith("Use ")
    assert "what a GPU would need these records can't tell" in text
    text = ask(page, memory=0.1)
    assert text.startswith("Nothing")
    assert "what a GPU would need these records can't tell" in text
    text = ask(open_page("uncounted"), loss=50, goal="energy")
    assert text.startswith("Use LoRA.")
    assert "QLoRA is shown to keep within the loss too, but the energy of training was not" in text
    # One of the processor alone is no less than one of the GPU.
    text = ask(open_page("mixed"), loss=50, goal="energy")
    assert text.startswith("The records can't tell.")
    assert "Full, LoRA and QLoRA fit, but the energy of training can't be compared" in text
    text = ask(open_page("corpus"), loss=50)
    assert text.startswith("On this corpus the rules pick ")
    page = open_page("random")
    text = ask(page, memory=8)
    assert text.startswith("The records can't tell")
    assert "no accuracy is known" in text
    assert rivals(page) == ["best"]


def rivals(page: Any) -> list[str]:
    return page.locator("#chooser [name=against] option").evaluate_all(  # type: ignore[no-any-return]
        "all => all.map((option) => option.value)"
    )


def test_whatever_is_asked_there_is_an_answer(open_page: Open, tmp_path: Path) -> None:
    """Each rival, each goal and with or without evidence; a thrown error fails the page."""
    bare = tmp_path / "bare.html"
    records = [build("full", accuracy=None), build("lora"), build("ia3", accuracy=0.9)]
    bare.write_text(page_of(records), encoding="utf-8")
    for which in ("seeds", "one-seed", "random", "corpus", "processor", bare):
        page = open_page(which)
        goals = page.locator("#chooser [name=goal] option").evaluate_all(
            "all => all.map((option) => option.value)"
        )
        for under in (False, True):
            if page.locator("#under-choice").is_visible():
                ask(page, under=under)
            for rival in rivals(page):
                for goal in goals:
                    text = ask(page, against=rival, goal=goal, loss=1)
                    assert text.startswith(("Use ", "On this", "The records", "Nothing")), text
                    if which == "random":
                        assert text.startswith("The records can't tell: no accuracy is known.")
                        assert "share no seed" not in page.locator("#fared").text_content()
    # What has no accuracy is nothing to be held against, and no seed is to blame.
    assert rivals(page) == ["best"]
    assert "its accuracy is not known" in page.locator("#fared").text_content()


def test_the_most_accurate_is_named_whatever_is_chosen(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "under.html"
    accuracies = {"full": 0.85, "lora": 0.86, "bow": 0.87}
    records = [build(slug, accuracy=accuracy) for slug, accuracy in accuracies.items()]
    path.write_text(page_of(records), encoding="utf-8")
    page = open_page(path)
    assert rivals(page) == ["best", "full"]
    option = page.locator("#chooser [name=against] option").first
    assert option.inner_text() == "the most accurate"
    ask(page, against="full")
    ask(page, under=True)
    assert option.inner_text() == "the most accurate, LoRA"
    ask(page, under=False)
    assert option.inner_text() == "the most accurate"


def test_of_many_methods_the_chooser_names_a_few(open_page: Open, tmp_path: Path) -> None:
    others = [method.slug for method in find_methods("all") if not method.reference][1:]
    records = [build("full"), *(build(slug, accuracy=0.9, train_seconds=90.0) for slug in others)]
    path = tmp_path / "many.html"
    path.write_text(page_of(records), encoding="utf-8")
    page = open_page(path)
    text = ask(page, loss=0.5)
    assert text.startswith("Use Full, to be sure of the loss.")
    assert f"; and {len(others) - 3} more, listed below." in text
    assert page.locator("#fared tbody tr").count() == len(others) + 1
    # Full and IA3 take more.
    text = ask(page, memory=2.5)
    assert text.startswith(f"The records can't tell: {len(others) - 1} methods may fit")
    assert len(text) < 1500


def contrast(page: Any, selector: str, of: str = "color") -> float:
    """Return the contrast of an element's text with the page, as WCAG defines it."""
    # A canvas gives whatever colour as three numbers.
    colours = page.evaluate(
        """([selector, of]) => {
          const made = document.createElement("canvas");
          const canvas = made.getContext("2d", { willReadFrequently: true });
          return [[selector, of], ["body", "backgroundColor"]].map(([element, name]) => {
            canvas.fillStyle = getComputedStyle(document.querySelector(element))[name];
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
          });
        }""",
        [selector, of],
    )
    lights = []
    for colour in colours:
        shares = [part / 255 for part in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_and_light_follow_the_system_until_somebody_says_otherwise(open_page: Open) -> None:
    page = open_page("seeds", color_scheme="dark")
    dark = background(page)
    assert contrast(page, "body") > 10
    for selector in ("#table thead th", ".notes", "footer", "nav a"):
        assert contrast(page, selector) > 4.5
    button = page.get_by_role("button", name="Theme")
    assert button.inner_text() == "Theme: auto"
    button.press("Enter")
    assert button.inner_text() == "Theme: light"
    light = background(page)
    assert light != dark
    assert contrast(page, "body") > 10
    for selector in ("#table thead th", ".notes", "footer", "nav a"):
        assert contrast(page, selector) > 4.5
    page.reload()
    assert background(page) == light
    button.click()
    assert (button.inner_text(), background(page)) == ("Theme: dark", dark)
    assert background(open_page("seeds", color_scheme="light")) == light


def test_lines_of_every_colour_can_be_seen(open_page: Open, tmp_path: Path) -> None:
    """Of the seven colours some are light, and one is a dark blue: WCAG asks for 3 to 1."""
    slugs = ("full", "lora", "qlora", "ia3", "dora", "rslora", "pissa")
    path = tmp_path / "colours.html"
    path.write_text(page_of([build(slug) for slug in slugs]), encoding="utf-8")
    for scheme in ("light", "dark"):
        page = open_page(path, color_scheme=scheme)
        for slug in slugs:
            line = f"figure[data-curve=losses] .series[data-method={slug}] .curve"
            assert contrast(page, line, "stroke") >= 3, (scheme, slug)


def test_the_whole_page_is_reached_by_the_tab_key(open_page: Open) -> None:
    page = open_page("seeds")
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                """() => { const e = document.activeElement;
                return e.name || e.id || e.closest('[data-cost], [data-curve]')?.dataset.cost
                || e.closest('.legend')?.parentNode.id || e.textContent; }"""
            )
        )
    assert {"theme", "memory", "goal", "filter", "columns", "gpu_peak_bytes", "fronts"} <= reached
    assert {"flip-method", "Accuracy (%)", "report.md"} <= reached


def test_flipped_examples_are_listed_by_method(open_page: Open) -> None:
    page = open_page("seeds")
    rows = page.locator("#flip-table tbody tr")
    page.locator("#flip-method").select_option("ia3")
    count = page.locator("#flip-count").inner_text()
    shown, whole = re.fullmatch(r"(\d+) of (\d+) examples", count).groups()
    assert rows.count() == int(shown) < int(whole)
    page.get_by_role("button", name="Show all").click()
    assert rows.count() == int(whole)
    assert page.locator("#flip-more").is_hidden()
    assert page.locator(":focus").get_attribute("aria-label") == "Table of flipped examples"
    full, own = (int(text) for text in rows.first.locator("td").all_inner_texts()[3:])
    assert (full >= 2, own <= 1) == (True, True)
    page.locator("#flip-kind").select_option("gained")
    full, own = (int(text) for text in rows.first.locator("td").all_inner_texts()[3:])
    assert (full <= 1, own >= 2) == (True, True)


def test_on_paper_there_is_nothing_to_press(open_page: Open) -> None:
    page = open_page("seeds", color_scheme="dark")
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"
    for selector in ("nav", "#filter", "#theme", "#chooser select >> nth=0"):
        assert page.locator(selector).is_hidden() is (selector != "#chooser select >> nth=0")
    # What the controls say is said by the caption.
    caption = page.locator("#flip-table caption")
    assert caption.inner_text() == "LoRA: Full right, it wrong"
    assert caption.bounding_box()["width"] > 100
    assert page.locator("#table").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    # All that was folded is open on paper.
    assert page.locator("#fared").evaluate("e => e.open")


def test_a_narrow_window_scrolls_in_no_direction_but_down(open_page: Open) -> None:
    page = open_page("seeds", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1000, "height": 700})
    wide = page.locator("figure svg").first.bounding_box()["width"]
    assert wide > 360


def test_without_a_script_there_is_the_table(open_page: Open) -> None:
    page = open_page("seeds", java_script_enabled=False)
    assert len(first_column(page)) == 7
    assert page.locator("#choose").is_hidden()
    assert page.locator("#fronts").is_hidden()
    assert "need JavaScript" in page.locator("noscript").inner_text()
    assert page.get_by_role("heading", name="Setup").is_visible()


def test_the_policy_refuses_what_is_not_the_page_s_own(open_page: Open) -> None:
    page = open_page("seeds")
    refused = page.evaluate(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation",
            (event) => refused.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "document.title = 'taken over'";
          document.body.append(script);
          const image = document.createElement("img");
          image.src = "https://example.invalid/x.png";
          document.body.append(image);
          await fetch("https://example.invalid/").catch(() => null);
          document.body.setAttribute("onclick", "document.title = 'taken over'");
          document.body.click();
          await new Promise((done) => setTimeout(done, 50));
          return refused;
        }"""
    )
    assert {"script-src-elem", "img-src", "connect-src", "script-src-attr"} <= set(refused)
    assert page.title() != "taken over"
    # Chromium says so on its console, four times.
    assert len(open_page.troubles) >= 4  # type: ignore[attr-defined]
    open_page.troubles.clear()  # type: ignore[attr-defined]
    open_page.requests[:] = open_page.requests[:1]  # type: ignore[attr-defined]


def test_hostile_text_stays_text(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page_of(hostile_records()), encoding="utf-8")
    page = open_page(path)
    # Every part that shows names is made to show them.
    page.get_by_label("Columns").select_option("all")
    for box in page.locator(".far:visible input >> nth=0, #under-choice input:visible").all():
        box.check()
    page.locator("#fared summary").click()
    for point in page.locator(".point[tabindex='0']").all():
        point.focus()
    assert page.locator("script").count() == 2
    tags = "img, iframe, object, embed, [onerror], [onclick], [style*=url], base"
    assert page.locator(tags).count() == 0
    addresses = page.locator("a").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
    own = r"#\w+|report\.md|records\.jsonl|flips\.csv|https://(arxiv\.org|aclanthology\.org|[\w.]+)/.*"
    assert all(re.fullmatch(own, address) for address in addresses), addresses
    assert not any("evil" in address for address in addresses)
    said = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    assert said in ATTACK
    for place in ("#table", "#fared", "main"):
        assert said in page.locator(place).text_content()
    page.wait_for_timeout(50)
