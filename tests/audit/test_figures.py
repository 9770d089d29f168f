"""Figures: equal ones pass whatever rounded a coordinate, and another drawing is told."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from peftcore.audit import figures
from peftcore.audit.findings import Ledger
from peftcore.report.style import applied


def drawn(ending: str, value: float = 3.0, text: str = "90.11") -> bytes:
    out = io.BytesIO()
    with applied():
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.set_xlim(0, 5)
        axes.barh([0, 1], [value, 2])
        axes.plot([1, 2], [0.2, 0.8], "o")
        axes.text(0.5, 0.5, text)
        figure.savefig(out, format=ending, metadata={"Date": None} if ending == "svg" else None)
    return out.getvalue()


def difference(published: bytes, follows: bytes, ending: str) -> str | None:
    ledger = Ledger()
    figures.compare_figures(f"figures/one.{ending}", published, follows, ledger)
    assert ledger.checked == 1
    return ledger.findings[0].sentence() if ledger.findings else None


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_equal_figures_pass_and_others_are_named(ending):
    figure = drawn(ending)
    assert difference(figure, drawn(ending), ending) is None
    for other in (drawn(ending, value=3.1), drawn(ending, text="90.17")):
        sentence = difference(other, figure, ending)
        assert sentence is not None
        assert sentence.startswith(f"figures/one.{ending}: another figure follows")
        assert "matplotlib" in sentence


def test_an_svg_may_differ_by_what_rounding_makes_of_it():
    text = drawn("svg").decode()
    number = re.search(r"L (\d+\.\d+) ", text)
    assert number is not None
    nudged = text.replace(number.group(1), f"{float(number.group(1)) + 0.004:.6f}")
    assert nudged != text
    assert difference(nudged.encode(), text.encode(), "svg") is None
    moved = text.replace(number.group(1), f"{float(number.group(1)) + 0.4:.6f}")
    assert "coordinates are elsewhere" in str(difference(moved.encode(), text.encode(), "svg"))


def test_ids_in_an_svg_are_hashes_that_may_differ():
    text = drawn("svg").decode()
    name = re.search(r'id="(m[0-9a-f]{10})"', text)
    assert name is not None
    other = text.replace(name.group(1), "mffffffffff")
    assert difference(other.encode(), text.encode(), "svg") is None


def test_a_png_may_differ_in_a_few_shades():
    image = np.asarray(figures.matplotlib.image.imread(io.BytesIO(drawn("png"))))
    faint, strong = image.copy(), image.copy()
    faint[:, :, 0] = np.abs(faint[:, :, 0] - 0.1)
    strong[20:24, 20:24, :3] = 1 - strong[20:24, 20:24, :3]

    def written(pixels):
        out = io.BytesIO()
        figures.matplotlib.image.imsave(out, pixels, format="png")
        return out.getvalue()

    assert difference(written(faint), written(image), "png") is None
    assert "16 pixels differ" in str(difference(written(strong), written(image), "png"))


def test_what_is_no_png_or_claims_a_huge_size_is_not_unpacked(monkeypatch):
    figure = drawn("png")
    monkeypatch.setattr(figures.matplotlib.image, "imread", lambda *_, **__: pytest.fail("read"))
    assert "it is no PNG" in str(difference(b"<html>", figure, "png"))
    huge = figure[:16] + b"\x7f\xff\xff\xff" * 2 + figure[24:]
    assert "it has another size" in str(difference(huge, figure, "png"))


def test_a_damaged_png_is_told():
    figure = drawn("png")
    assert "can't be read" in str(difference(figure[:60] + b"\x00" * 50, figure, "png"))
