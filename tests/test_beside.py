"""What is measured beside the comparison, as a user runs it: serving and sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from peftcore.__main__ import main
from peftcore.results.records import read_records
from peftcore.results.store import Store, serving_store, sizes_store

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def options(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    tiny_data: Path,
) -> list[str]:
    """A folder with the benchmarks, and options for trials that take seconds."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("conftest.py", "test_serving.py", "test_data_sizes.py"):
        (pytester.path / name).write_bytes((BENCHMARKS / name).read_bytes())
    return [
        *("--peft-model", str(tiny_bert), "--peft-data", str(tiny_data)),
        *("--peft-set", "max_length=32", "--peft-set", "test_examples=24"),
        *("--peft-set", "train_examples=32", "--peft-set", "epochs=1", "--peft-seeds", "1"),
    ]


@pytest.mark.slow
def test_serving_is_measured_by_pedantic_rounds_reported_and_reused(
    pytester: pytest.Pytester, options: list[str]
) -> None:
    asked = [
        *("test_serving.py", *options, "--peft-method", "lora,bow", "--peft-serving-rounds", "2"),
        *("--benchmark-json", "benchmark.json"),
    ]
    result = pytester.runpytest_subprocess(*asked, timeout=300)
    result.assert_outcomes(passed=1)
    assert "report: reports/embedded/serving/report.md" in result.stdout.str()
    (row,) = json.loads((pytester.path / "benchmark.json").read_text())["benchmarks"]
    assert (row["stats"]["rounds"], row["params"]["peft_serving"]) == (2, ["lora", ""])
    (medians,) = row["extra_info"].values()
    assert medians["predict attached 1 1"] < row["stats"]["median"]
    folder = pytester.path / "reports" / "embedded" / "serving"
    (record,) = read_records(folder / "records.jsonl")
    assert record.measurement is not None
    assert record.measurement.serving is not None
    again = pytester.runpytest_subprocess(*asked[:-2], timeout=300)
    again.assert_outcomes(passed=1)
    with Store(serving_store(pytester.path / ".peftcore"), create=False) as store:
        assert store.records() == [record]
    # Rendered again from the store, and from what was published.
    text = (folder / "report.md").read_text(encoding="utf-8")
    runner = CliRunner()
    assert runner.invoke(main, ["report", "--out", "again"]).exit_code == 0
    assert Path("again/embedded/serving/report.md").read_text(encoding="utf-8") == text
    published = ["import", str(folder / "records.jsonl"), "--store", "other"]
    assert runner.invoke(main, published).exit_code == 0
    assert runner.invoke(main, ["report", "--store", "other", "--out", "more"]).exit_code == 0
    assert Path("more/embedded/serving/report.md").read_text(encoding="utf-8") == text
    assert runner.invoke(main, ["audit", str(folder)]).exit_code == 0


@pytest.mark.slow
def test_sizes_are_trained_reported_and_reused(
    pytester: pytest.Pytester, options: list[str]
) -> None:
    asked = ["test_data_sizes.py", *options, "--peft-method", "lora", "--peft-sizes", "16,32"]
    result = pytester.runpytest_subprocess(*asked, timeout=300)
    result.assert_outcomes(passed=2)
    folder = pytester.path / "reports" / "embedded" / "sizes"
    records = list(read_records(folder / "records.jsonl"))
    sizes = [(r.method, r.trial["task"]["train_examples"]) for r in records]
    assert sizes == [("lora", 16), ("lora", 32)]
    steps = {len(r.measurement.losses) for r in records if r.measurement}
    assert steps == {4}
    again = pytester.runpytest_subprocess(*asked, timeout=300)
    again.assert_outcomes(passed=2)
    with Store(sizes_store(pytester.path / ".peftcore"), create=False) as store:
        assert {r.id: r.created for r in store.records()} == {r.id: r.created for r in records}
    text = (folder / "report.md").read_text(encoding="utf-8")
    runner = CliRunner()
    assert runner.invoke(main, ["report", "--out", "again"]).exit_code == 0
    assert Path("again/embedded/sizes/report.md").read_text(encoding="utf-8") == text
    published = ["import", str(folder / "records.jsonl"), "--store", "other"]
    assert runner.invoke(main, published).exit_code == 0
    assert runner.invoke(main, ["report", "--store", "other", "--out", "more"]).exit_code == 0
    assert Path("more/embedded/sizes/report.md").read_text(encoding="utf-8") == text
    assert runner.invoke(main, ["audit", str(folder)]).exit_code == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--peft-serving-rounds", "0"), "--peft-serving-rounds 0 is not usable"),
        (("--peft-sizes", "many"), "--peft-sizes 'many' is not usable"),
        (("--peft-sizes-hold", "step"), "did you mean 'steps'?"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    pytester: pytest.Pytester, options: list[str], given: tuple[str, str], words: str
) -> None:
    result = pytester.runpytest_subprocess("test_serving.py", *given, timeout=60)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
