import struct
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from peftcore.methods import METHODS, find_method
from peftcore.report import labels, style
from peftcore.report.agreement import agreement_section, draw_agreement, gather_agreement
from peftcore.report.curves import MOST_CURVES, caption_of, learning_curves
from peftcore.report.figures import write_figures
from peftcore.report.overview import overview
from peftcore.report.scatter import accuracy_by_train_time
from peftcore.report.summary import summarise

ALL = [
    "overview",
    "learning_curves",
    "accuracy_by_train_time",
    "accuracy_by_memory",
    "agreement",
]


def names(records, folder: Path) -> list[str]:
    return [plot.name for plot in write_figures(summarise(records), folder)]


def test_every_figure_in_both_formats(study, tmp_path):
    assert names(study, tmp_path) == ALL
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(f"{name}.{ending}" for name in ALL for ending in ("png", "svg"))
    for path in tmp_path.glob("*.png"):
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG")
        assert width == style.WIDTH_INCHES * style.PNG_DOTS_PER_INCH
        assert height > 300
    for path in tmp_path.glob("*.svg"):
        assert "</svg>" in path.read_text(encoding="utf-8")


def test_of_very_many_methods_what_can_be_read_is_drawn(record):
    """All are in the overview and the scatter plots; curves are the best ones', cells are bare."""
    accuracies = {m.slug: 0.9 - 0.005 * n for n, m in enumerate(METHODS) if not m.reference}
    best = [slug for slug in accuracies if slug != "full"][:9]
    accuracies["full"] = 0.5
    records = [record(slug, accuracy=share) for slug, share in accuracies.items()]
    summary = summarise([*records, record("bow"), record("head")])
    curves = learning_curves(summary)
    assert curves is not None
    (legend,) = curves.figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert set(named) > {find_method(slug).name for slug in ("full", "head", *best)}
    assert len(named) == MOST_CURVES + 2
    assert "Of 60 methods these are" in curves.caption
    matrix = draw_agreement(summary)
    assert matrix is not None
    assert not matrix.figure.axes[0].texts
    assert matrix.alt.endswith("between 61 methods")
    assert overview(summary).alt.endswith("a row each for 61 methods")
    (_, text) = agreement_section(gather_agreement(summary), [])
    assert "Of so many methods the picture alone is shown" in text


def test_random_weights_have_no_figure_of_accuracy(record, tmp_path):
    records = [record(m, weights="random") for m in ("full", "lora", "bow")]
    assert names(records, tmp_path) == ["overview", "learning_curves"]


def test_without_any_result_only_the_overview_is_left(record, tmp_path):
    assert names([record("lora", outcome="oom", error="x")], tmp_path) == ["overview"]


def test_without_losses_there_are_no_curves(record, tmp_path):
    assert "learning_curves" not in names([record("lora", losses=[])], tmp_path)


def test_figures_of_an_earlier_report_are_removed_and_nothing_else(study, record, tmp_path):
    write_figures(summarise(study), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_figures(summarise([record("lora", outcome="oom", error="x")]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt",
        "overview.png",
        "overview.svg",
    ]


@pytest.mark.parametrize("name", ["a$x^2$b", "very_long_" * 10, "名前", "<&>", "tab\there"])
def test_names_from_elsewhere_can_be_drawn(record, tmp_path, name):
    assert names([record("full"), record(name)], tmp_path) == ALL


def test_twelve_methods(record, tmp_path):
    records = [record(f"method{n}", accuracy=0.9 + n / 400) for n in range(12)]
    assert names(records, tmp_path) == ALL


def test_several_seeds_of_different_lengths(record, tmp_path):
    records = [record("lora", seed=1), record("lora", seed=2, losses=[[1, 0.7], [2, 0.6]])]
    # Of one method there is nothing to agree with.
    assert names(records, tmp_path) == ALL[:-1]


def error_bars(axes) -> list[list[tuple[float, float]]]:
    """The two ends of each error bar of an axes' error-bar containers, one list a container."""
    found = []
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            segments = [s for lines in container[2] for s in lines.get_segments()]
            found.append([(tuple(s[0]), tuple(s[-1])) for s in segments])
    return [one for one in found if one]


@pytest.mark.parametrize("seeds", [1, 3])
def test_error_bars_of_accuracy_are_its_intervals(record, seeds):
    summary = summarise(
        [
            record(m, seed=s, accuracy=a + 0.004 * s)
            for m, a in (("full", 0.91), ("lora", 0.90), ("ia3", 0.85))
            for s in range(seeds)
        ]
    )
    intervals = [summary.inference.accuracies[m].interval for m in ("full", "lora", "ia3")]
    with style.applied():
        plots = [overview(summary), accuracy_by_train_time(summary)]
    for plot, along in zip(plots, (0, 1), strict=True):
        bars = [
            tuple(end[along] for end in bar)
            for one in error_bars(plot.figure.axes[0])
            for bar in one
            if bar[0][along] != bar[1][along]
        ]
        assert bars == [pytest.approx(interval) for interval in intervals]


def test_curves_have_bars_of_accuracy_and_bands_of_loss(record):
    def drawn(seeds: int):
        records = [record(m, seed=s) for m in ("full", "lora") for s in range(seeds)]
        with style.applied():
            plot = learning_curves(summarise(records))
        loss, accuracy = plot.figure.axes
        return plot.caption, len(loss.collections), [len(one) for one in error_bars(accuracy)]

    caption, bands, bars = drawn(1)
    assert (bands, bars) == (0, [3, 3])
    assert "of other seeds one seed says nothing" in caption
    caption, bands, bars = drawn(3)
    assert (bands, bars) == (2, [3, 3])
    assert "from the lowest to the highest" in caption


def test_a_method_looks_the_same_in_every_report():
    slugs = [method.slug for method in METHODS]
    together = style.looks([*slugs, "zeta"])
    for slug in slugs:
        assert style.looks([slug])[slug] == together[slug]


def test_no_two_of_many_methods_look_alike():
    found = style.looks([method.slug for method in METHODS] + [f"m{n}" for n in range(30)])
    assert len({(look.colour, look.marker) for look in found.values()}) == len(found)


def test_the_readers_own_settings_change_nothing_and_stay(study, tmp_path):
    write_figures(summarise(study), tmp_path / "plain")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        write_figures(summarise(study), tmp_path / "own")
        assert matplotlib.rcParams["font.size"] == 30
    for path in (tmp_path / "plain").iterdir():
        assert path.read_bytes() == (tmp_path / "own" / path.name).read_bytes()


def test_labels_cover_neither_each_other_nor_points():
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, 100)
    axes.set_ylim(80, 95)
    points = [
        labels.Point(x=50.0 + n, y=90 + 0.3 * n, error=0.5, text=f"method {n}") for n in range(6)
    ]
    labels.place(figure, axes, points)
    FigureCanvasAgg(figure).draw()
    texts = [child for child in axes.texts if isinstance(child, Annotation)]
    assert [text.get_text() for text in texts] == [point.text for point in points]
    boxes = [text.get_bbox_patch().get_window_extent().padded(-2) for text in texts]
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
        for point in points:
            assert not box.contains(*axes.transData.transform((point.x, point.y)))


def test_the_caption_of_curves_says_what_is_drawn(record):
    def told(records) -> str:
        return caption_of(summarise(records), spread="bars", of_one="errors")

    seeds = [record(slug, seed=seed) for slug in ("full", "lora") for seed in (1, 2)]
    assert "accuracy on the test set after each epoch, whose axis" in told(seeds)
    assert told(seeds).endswith("with bars from the lowest to the highest of them.")
    few = told(seeds[:-1])
    assert few.endswith("(where one seed alone finished, for the 95% interval of its model).")
    alone = told(seeds[:1])
    assert "lowest" not in alone
    assert "of accuracy with errors for the 95% interval of one trained model" in alone
    for one in seeds:
        one.trial["recipe"]["evaluation"] = "end"
        one.measurement.epoch_accuracies[:] = one.measurement.epoch_accuracies[-1:]
    assert "accuracy on the test set at the end of training, whose axis" in told(seeds)
    assert "epoch" not in told(seeds)
    random = told([record("full", weights="random")])
    assert random == "Training loss by step (running mean over a twentieth of the steps)."
