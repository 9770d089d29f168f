from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from peftcore.__main__ import main
from peftcore.accelerations import ALL
from peftcore.conformance.cells import Bench
from peftcore.conformance.fingerprints import Fingerprint, Verdict
from peftcore.measuring.environment import describe_environment
from peftcore.methods import METHODS, Method
from peftcore.results.records import Record, write_records
from peftcore.results.store import STORE_FILE, Store
from peftcore.scenarios import SCENARIOS
from peftcore.trials import Outcome
from tests.conftest import write_bare_model
from tests.report.conftest import build
from tests.report.engines.conftest import every_part


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder: the default store and reports lie in the current one."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*arguments: str | Path, code: int = 2) -> str:
    """The one sentence with which a command refuses what it was given."""
    result = invoke(*arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("peftcore: ")
    return lines[0].removeprefix("peftcore: ")


def run_python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# methods, scenarios, doctor


def test_methods_as_a_table() -> None:
    result = invoke("methods")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == [method.slug for method in METHODS]
    for method, row in zip(METHODS, rows, strict=True):
        assert method.summary in row
        assert row.endswith(method.paper or "—")


def test_methods_as_json() -> None:
    result = invoke("methods", "--json", "-")
    assert result.stderr == ""
    content = json.loads(result.stdout)
    assert [entry["slug"] for entry in content] == [method.slug for method in METHODS]
    for entry, method in zip(content, METHODS, strict=True):
        assert entry["hyperparameters"] == method.hyperparameters()
        assert (entry["name"], entry["paper"]) == (method.name, method.paper)
        assert entry["reference"] is method.reference
        assert entry["groups"] == list(method.groups)


def test_fingerprints_are_written_and_compared(tmp_path: Path) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    arguments = ["--method", "lora", "--architecture", "bert"]
    result = invoke("fingerprint", "--out", str(before), *arguments)
    assert result.exit_code == 0, result.stderr
    assert "lora on bert conforms" in result.stderr
    assert invoke("compare", str(before), str(before)).stdout == (
        "no method does otherwise than it did\n"
    )
    content = json.loads(before.read_text(encoding="utf-8"))
    content["cells"][0]["operations"] += 1
    after.write_text(json.dumps(content), encoding="utf-8")
    result = invoke("compare", str(before), str(after), "--json", "-")
    assert result.exit_code == 1
    (change,) = json.loads(result.stdout)["changes"]
    assert change["what"].startswith("operations a step ")
    assert result.stderr.endswith("changes: 1, of lora\n")
    refused = invoke("compare", str(before), str(after), "--markdown", "gate.md")
    assert refused.exit_code == 2
    assert "--markdown gate.md is not usable for files of fingerprints" in refused.stderr
    assert invoke("compare", str(before), str(after), "--gate", "warn").exit_code == 0
    assert invoke("compare", str(before), str(after), "--gate", "off").exit_code == 0


def test_methods_that_learn_the_same_fail_a_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_any_other(_: Bench, method: Method, architecture: str) -> Fingerprint:
        told = {"method": method.slug, "architecture": architecture}
        return Fingerprint(**told, verdict=Verdict.CONFORMS, losses=(0.7, 0.6))

    monkeypatch.setattr(Bench, "fingerprint", as_any_other)
    arguments = ("--out", tmp_path / "a.json", "--architecture", "bert", "--method")
    assert invoke("fingerprint", *arguments, "lora").exit_code == 0
    result = invoke("fingerprint", *arguments, "lora,rslora")
    assert result.exit_code == 1
    assert result.stderr.endswith("lora and rslora on bert have equal losses: one method\n")


def test_fingerprints_of_what_there_is_not(tmp_path: Path) -> None:
    out = str(tmp_path / "a.json")
    result = invoke("fingerprint", "--out", out, "--architecture", "brt")
    assert result.exit_code == 2
    assert "unknown architecture 'brt' (from --architecture): did you mean 'bert'" in result.stderr
    absent = str(tmp_path / "absent" / "a.json")
    result = invoke("fingerprint", "--out", absent, "--method", "lora")
    assert (result.exit_code, "--out" in result.stderr) == (2, True)
    Path(out).write_text('{"format": "peftcore fingerprint"}', encoding="utf-8")
    result = invoke("compare", out, str(tmp_path))
    assert result.exit_code == 2
    assert "is no file of fingerprints" in result.stderr
    for none in ("", ","):
        message = refused("fingerprint", "--out", absent, "--architecture", none)
        assert message.startswith(f"--architecture {none!r} names none: known are bert, ")


def test_a_file_of_fingerprints_that_can_not_be_replaced_costs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced as a whole: that it may be written to is not enough."""
    out = tmp_path / "a.json"
    out.touch()
    monkeypatch.setattr("os.access", lambda place, _: Path(place) == out)
    message = refused("fingerprint", "--out", out, "--method", "lora", "--architecture", "bert")
    assert message.startswith(f"--out {out} can't be written")


def test_a_file_that_may_not_be_read_is_no_file_of_fingerprints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.json").touch()
    monkeypatch.setattr(Path, "open", forbidden)
    message = refused("compare", tmp_path / "a.json", tmp_path / "a.json")
    assert "can't be read" in message


def test_accelerations_as_a_table_and_as_json() -> None:
    rows = invoke("accelerations").stdout.splitlines()[2:]
    content = json.loads(invoke("accelerations", "--json", "-").stdout)
    assert [entry["name"] for entry in content] == list(ALL)
    for row, entry in zip(rows, content, strict=True):
        assert row.split()[0] == entry["name"]
        assert entry["summary"] in row
        assert row.endswith(entry["numerics"])


def test_scenarios_as_a_table() -> None:
    result = invoke("scenarios")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == [scenario.name for scenario in SCENARIOS]
    for scenario, row in zip(SCENARIOS, rows, strict=True):
        assert f"{scenario.task.train_examples:,} / {scenario.task.test_examples:,}" in row
        assert row.split()[-1] == ("yes" if scenario.gpu else "no")


def test_scenarios_as_json() -> None:
    content = json.loads(invoke("scenarios", "--json", "-").stdout)
    assert [entry["name"] for entry in content] == [scenario.name for scenario in SCENARIOS]
    roberta = next(entry for entry in content if entry["name"] == "imdb-roberta")
    assert roberta["task"]["train_examples"] == 3000
    assert roberta["recipe"]["precision"] == "fp16"
    assert roberta["expected"]["lora"] == 0.9115
    assert roberta["gpu"] is True


@pytest.mark.parametrize("command", ["methods", "scenarios", "accelerations", "doctor"])
def test_json_in_a_file_leaves_the_table_on_standard_output(command: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    result = invoke(command, "--json", file)
    assert result.exit_code == 0
    assert result.stdout == invoke(command).stdout != ""
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(
        invoke(command, "--json", "-").stdout
    )


@pytest.mark.parametrize("command", ["methods", "scenarios", "accelerations", "doctor"])
def test_json_in_a_folder_that_is_not_there(command: str, tmp_path: Path) -> None:
    message = refused(command, "--json", tmp_path / "absent" / "out.json")
    assert message == (
        f"--json {tmp_path / 'absent' / 'out.json'} can't be written: No such file or directory"
    )


def test_doctor_says_what_there_is_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # An empty cache of the hub, whatever this machine's holds.
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    result = invoke("doctor", "--json", "-")
    assert result.exit_code == 0
    findings = {entry["subject"]: entry for entry in json.loads(result.stdout)}

    assert findings["processor"]["ok"] is True
    assert findings["pytest"]["ok"] is True
    assert set(findings) >= {"gpu", "pytest-benchmark", "minilm", "roberta-base", "imdb"}
    assert findings["roberta-base"]["ok"] is False
    assert "--peft-weights random" in findings["roberta-base"]["words"]
    assert findings["imdb"]["ok"] is False
    assert "--peft-data FOLDER" in findings["imdb"]["words"]

    lines = invoke("doctor").stdout.splitlines()
    assert len(lines) == len(findings)
    for line, finding in zip(lines, findings.values(), strict=True):
        assert line.startswith("ok" if finding["ok"] else "missing")
        assert line.endswith(finding["words"])


def test_doctor_names_a_gpu_without_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = describe_environment()
    found = {"gpu": "GB10", "gpu_memory_bytes": None, "driver": "580.1", "cuda": "13.0"}
    hardware = {**environment["hardware"], **found}
    monkeypatch.setattr(
        "peftcore.diagnosis.describe_environment", lambda: {**environment, "hardware": hardware}
    )
    (line,) = [line for line in invoke("doctor").stdout.splitlines() if "GB10" in line]
    assert line.endswith("GB10, no memory of its own, driver 580.1: runs imdb-roberta")


# import


def exported(tmp_path: Path, *records: Record) -> Path:
    file = tmp_path / "records.jsonl"
    write_records(file, records or (build("full"), build("lora")))
    return file


def lines_of(store: Path) -> list[str]:
    with Store(store) as opened:
        return sorted(record.to_line() for record in opened.records())


def test_imported_records_are_the_exported_ones(tmp_path: Path) -> None:
    records = [build("full"), build("lora"), build("ia3", outcome="oom", error="out of memory")]
    file = exported(tmp_path, *records)

    result = invoke("import", file, "--store", "store")

    assert result.exit_code == 0
    assert "3 records" in result.stderr
    assert result.stdout == ""
    assert lines_of(Path("store")) == sorted(record.to_line() for record in records)
    assert lines_of(Path("store")) == sorted(file.read_text(encoding="utf-8").splitlines())


def test_an_import_takes_nothing_from_a_store_that_is_better(tmp_path: Path) -> None:
    invoke("import", exported(tmp_path, build("full"), build("lora")))
    result = invoke("import", exported(tmp_path, build("lora", outcome="oom", error="no memory")))
    assert result.exit_code == 0
    assert "1 are not: of their trials it has records that ended well" in result.stderr
    with Store(Path(".peftcore")) as store:
        assert {record.outcome for record in store.records()} == {Outcome.OK}


def test_a_record_that_could_not_be_stored_goes_back_where_it_belongs(tmp_path: Path) -> None:
    """One of another size, or of the engines, would pass for the newest of its scenario."""
    invoke("import", exported(tmp_path, build("lora")), "--store", ".peftcore/sizes")
    assert len(lines_of(Path(".peftcore/sizes"))) == 1
    engines = every_part()
    for store in (".peftcore", ".peftcore/engine"):
        invoke("import", exported(tmp_path, *engines), "--store", store)
        assert len(lines_of(Path(".peftcore/engine"))) == len(engines)
    assert not Path(".peftcore", STORE_FILE).exists()


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    file = exported(tmp_path)
    invoke("import", file)
    before = lines_of(Path(".peftcore"))
    assert invoke("import", file).exit_code == 0
    assert lines_of(Path(".peftcore")) == before
    assert len(before) == 2


def test_blank_lines_are_no_records(tmp_path: Path) -> None:
    file = exported(tmp_path)
    file.write_text("\n" + file.read_text(encoding="utf-8") + "\n \n", encoding="utf-8")
    invoke("import", file)
    assert len(lines_of(Path(".peftcore"))) == 2


def changed(**changes: Any) -> str:
    """The line of a record with some of its keys replaced; `None` takes a key out."""
    content = json.loads(build("ia3").to_line())
    for name, value in changes.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    return json.dumps(content)


BROKEN = {
    "no JSON": ("{'schema': 1}", "line 2 is not JSON"),
    "half a line": (changed()[:200], "line 2 is not JSON"),
    "a list": ("[]", "line 2 is no peftcore record: it has no 'schema'"),
    "no schema": (changed(schema=None), "line 2 is no peftcore record: it has no 'schema'"),
    "another schema": (changed(schema=2), "line 2 has schema version 2: this release reads 1"),
    "no trial": (changed(trial=None), "line 2 is no whole peftcore record: KeyError('trial')"),
    "no id": (changed(trial={"method": "lora"}), "line 2 is no whole peftcore record"),
    "no outcome": (changed(outcome=None), "line 2 is no whole peftcore record"),
    "an unknown outcome": (changed(outcome="fine"), "line 2 is no whole peftcore record"),
    "a trial that is a text": (changed(trial="lora"), "line 2 is no whole peftcore record"),
    "a measurement that is a list": (changed(measurement=[1]), "line 2 is no whole peftcore"),
    "no environment": (changed(environment=None), "line 2 is no whole peftcore record"),
    "an empty environment": (changed(environment={}), "line 2 is no whole peftcore record"),
    "a number that is not finite": (
        changed(measurement={"accuracy": float("nan")}),
        "line 2",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_and_leaves_the_store_as_it_was(kind: str, tmp_path: Path) -> None:
    line, words = BROKEN[kind]
    file = exported(tmp_path, build("lora"))
    invoke("import", exported(tmp_path, build("full")), "--store", "store")
    before = lines_of(Path("store"))
    write_records(file, [build("lora")])
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n" + build("head").to_line() + "\n")

    message = refused("import", file, "--store", "store")

    assert message.startswith(f"{file}, {words}")
    assert lines_of(Path("store")) == before


def test_a_broken_file_makes_no_store(tmp_path: Path, elsewhere: Path) -> None:
    file = exported(tmp_path)
    file.write_text(file.read_text(encoding="utf-8") + "{", encoding="utf-8")
    assert f"{file}, line 3 is not JSON" in refused("import", file)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe{}"])
def test_a_file_without_records(content: bytes | None, tmp_path: Path, elsewhere: Path) -> None:
    file = tmp_path / "records.jsonl"
    if content is not None:
        file.write_bytes(content)
    assert str(file) in refused("import", file)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_an_error_with_an_unusual_line_end_comes_back(separator: str, tmp_path: Path) -> None:
    record = build("lora", outcome="failed", error=f"one{separator}two")
    assert invoke("import", exported(tmp_path, record)).exit_code == 0
    assert lines_of(Path(".peftcore")) == [record.to_line()]


def test_a_store_of_another_schema_is_left(tmp_path: Path) -> None:
    file = exported(tmp_path)
    Path("store").mkdir()
    (Path("store") / STORE_FILE).write_bytes(b"no database at all, of whatever version it may be")
    message = refused("import", file, "--store", "store", code=3)
    assert str(Path("store") / STORE_FILE) in message


# report


def test_a_report_from_a_store_needs_no_torch(tmp_path: Path) -> None:
    records = [build(method, seed=seed) for method in ("full", "lora", "bow") for seed in (42, 43)]
    invoke("import", exported(tmp_path, *records))
    code = (
        "import sys\n"
        "from peftcore.__main__ import main\n"
        "main(['report', '--out', sys.argv[1]], standalone_mode=False)\n"
        "print(*sorted({'torch', 'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)))\n"
    )

    done = run_python(code, tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    folder = tmp_path / "out" / "imdb-roberta"
    assert f"{folder / 'report.md'}: 6 records" in done.stderr
    assert "LoRA" in (folder / "report.md").read_text(encoding="utf-8")
    assert sorted((folder / "records.jsonl").read_text(encoding="utf-8").splitlines()) == sorted(
        record.to_line() for record in records
    )
    assert list((folder / "figures").iterdir())


def test_reports_of_one_scenario_alone(tmp_path: Path) -> None:
    records = [build("lora", scenario=name) for name in ("imdb-roberta", "imdb-minilm")]
    invoke("import", exported(tmp_path, *records))
    assert invoke("report", "--out", "out", "--scenario", "imdb-minilm").exit_code == 0
    assert [path.name for path in Path("out").iterdir()] == ["imdb-minilm"]


def test_a_report_that_can_not_be_written_says_where_its_records_are(tmp_path: Path) -> None:
    invoke("import", exported(tmp_path, build("lora")))
    Path("file").touch()
    message = refused("report", "--out", "file/out", code=3)
    assert "file/out/imdb-roberta: Not a directory; the records are in the store still" in message


def test_a_store_without_records(tmp_path: Path) -> None:
    invoke("import", exported(tmp_path))
    message = refused("report", "--scenario", "embedded", "--out", "out")
    assert message.startswith(".peftcore holds no record of scenario 'embedded': run one first")
    assert refused("report", "--store", "empty").startswith("there is no store in empty")
    assert not Path("out").exists()
    assert not Path("reports").exists()


def test_reading_a_store_that_is_not_there_makes_none(elsewhere: Path) -> None:
    refused("report", "--store", "absent")
    assert list(elsewhere.iterdir()) == []


def test_a_record_can_not_choose_where_its_report_goes(tmp_path: Path, elsewhere: Path) -> None:
    invoke("import", exported(tmp_path, build("lora", scenario="../../escaped")))
    invoke("report", "--out", "out")
    assert not (elsewhere.parent / "escaped").exists()


def test_comparisons_of_the_engines_have_a_report_of_their_own(tmp_path: Path) -> None:
    """From the store beside that of the scenarios, where they are kept, or imported into it."""
    everything = every_part()
    records = [*everything, build("lora", scenario="imdb-minilm")]
    invoke("import", exported(tmp_path, *everything), "--store", ".peftcore/engine")
    invoke("import", exported(tmp_path, records[-1]))
    invoke("import", exported(tmp_path, *records), "--store", "both")
    texts = []
    for store in (".peftcore", "both"):
        done = invoke("report", "--store", store, "--out", store)
        assert done.exit_code == 0, done.stderr
        assert sorted(path.name for path in Path(store).glob("*/report.md")) == ["report.md"] * 2
        folder = Path(store) / "engine"
        assert f"{folder / 'report.md'}: {len(everything)} records" in done.stderr
        texts.append((folder / "report.md").read_text(encoding="utf-8"))
        # They would pass for the scenario's newest setting.
        assert f"{Path(store) / 'imdb-minilm' / 'report.md'}: 1 records" in done.stderr
    assert texts[0] == texts[1]
    assert "## How time and memory grow" in texts[0]


def test_a_store_of_the_engines_alone_is_reported(tmp_path: Path) -> None:
    invoke("import", exported(tmp_path, *every_part()), "--store", "mine/engine")
    for store in ("mine", "mine/engine"):
        assert invoke("report", "--store", store, "--out", f"out/{store}").exit_code == 0
        assert Path(f"out/{store}/engine/report.md").is_file()
    message = refused("report", "--store", "mine", "--scenario", "embedded")
    assert "holds no record of scenario 'embedded'" in message


# run


@pytest.fixture
def two_texts(tmp_path: Path) -> Path:
    """A folder of the smallest data that can be learned from."""
    return write_data(tmp_path / "two-texts", [("good", 1), ("bad", 0)])


def write_data(folder: Path, rows: Sequence[tuple[Any, Any]]) -> Path:
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("text", "label"))
            writer.writerows(rows)
    return folder


SIZES = ("--set", "train_examples=2", "--set", "test_examples=2")


def test_a_trial_that_does_not_end_well(bare_model: Path, two_texts: Path) -> None:
    result = invoke(
        *("run", "--method", "lora", "--seed", "7", "--model", bare_model, "--data", two_texts),
        *(*SIZES, "--timeout", "0.01", "--json", "-"),
    )

    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    content = json.loads(result.stdout)
    assert content["schema"] == 1
    assert content["outcome"] == "timeout"
    assert content["measurement"] is None
    assert (content["trial"]["method"], content["trial"]["seed"]) == ("lora", 7)
    assert content["trial"]["overrides"] == [
        "model=bare-model",
        "data=two-texts",
        "train_examples=2",
        "test_examples=2",
    ]
    assert str(two_texts.parent) not in result.stdout
    assert "timeout" in result.stderr
    assert lines_of(Path(".peftcore")) == [json.dumps(content, sort_keys=True, ensure_ascii=False)]


def test_a_record_goes_to_the_file_and_to_people(
    bare_model: Path, two_texts: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    result = invoke(
        *("run", "--method", "lora", "--model", bare_model, "--data", two_texts, *SIZES),
        *("--timeout", "0.01", "--json", file, "--store", "store"),
    )
    assert result.exit_code == 1
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(result.stdout)
    assert len(lines_of(Path("store"))) == 1


@pytest.mark.slow
def test_a_trial_that_ends_well_is_run_once(bare_model: Path, tiny_data: Path) -> None:
    command = ("run", "--method", "bow", "--model", bare_model, "--data", tiny_data)
    command += ("--set", "train_examples=48", "--set", "test_examples=24", "--json", "-")

    first, second = invoke(*command), invoke(*command)

    assert (first.exit_code, second.exit_code) == (0, 0)
    content = json.loads(first.stdout)
    assert content["outcome"] == "ok"
    assert content["measurement"]["accuracy"] > 0.9
    assert len(content["predictions"]) == 24
    assert json.loads(second.stdout) == content
    assert f"{content['trial']['id']}: reused from .peftcore" in second.stderr
    assert "reused" not in first.stderr


def test_a_store_that_can_not_be_used_costs_no_run(bare_model: Path, two_texts: Path) -> None:
    with Store(Path("store")) as store, closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA user_version = 2")
    message = refused(
        *("run", "--method", "lora", "--model", bare_model, "--data", two_texts, *SIZES),
        *("--store", "store"),
        code=3,
    )
    assert str(Path("store") / STORE_FILE) in message


def test_json_that_can_not_be_written_costs_no_run(
    bare_model: Path, two_texts: Path, tmp_path: Path, elsewhere: Path
) -> None:
    message = refused(
        *("run", "--method", "lora", "--model", bare_model, "--data", two_texts, *SIZES),
        *("--timeout", "0.01", "--json", tmp_path / "absent" / "out.json"),
    )
    assert "can't be written" in message
    assert list(elsewhere.iterdir()) == []


@dataclass(frozen=True)
class Bad:
    """Options of a run that is refused, and the words that say why.

    `{}` stands for the folder with the bad models and data sets.
    """

    options: tuple[str, ...]
    words: tuple[str, ...]
    method: str = "lora"


def bad_data(name: str, *words: str) -> Bad:
    return Bad(("--model", "{}/model", "--data", f"{{}}/{name}", *SIZES), (f"{{}}/{name}", *words))


def bad_model(name: str, *words: str) -> Bad:
    return Bad(("--model", f"{{}}/{name}"), (f"{{}}/{name}", *words))


BAD: dict[str, Bad] = {
    "method": Bad((), ("unknown method 'lorra' (from --method)", "did you mean 'lora'?"), "lorra"),
    "no method": Bad((), ("--method",), ","),
    "two methods": Bad(
        ("--model", "{}/model"), ("--method lora,ia3", "2 methods", "takes one"), "lora,ia3"
    ),
    "scenario": Bad(
        ("--scenario", "imdb-robert"),
        ("unknown scenario 'imdb-robert' (from --scenario)", "did you mean 'imdb-roberta'?"),
    ),
    "setting key": Bad(("--set", "epoch=3"), ("unknown setting 'epoch'", "did you mean 'epochs'?")),
    "setting form": Bad(("--set", "epochs"), ("'epochs'", "expected KEY=VALUE")),
    "setting value": Bad(("--set", "epochs=many"), ("epochs=many", "expected a whole number")),
    "setting range": Bad(("--set", "epochs=0"), ("epochs=0", "expected at least 1")),
    "precision": Bad(("--set", "precision=fp8"), ("'fp8'", "precision", "bf16, fp16, fp32")),
    "engine": Bad(("--engine", "trainr"), ("'trainr'", "--engine", "did you mean 'trainer'?")),
    "weights": Bad(("--weights", "radom"), ("'radom'", "--weights", "did you mean 'random'?")),
    "model": Bad(("--model", "no-model"), ("--model 'no-model'", "neither a folder nor")),
    "data": Bad(("--data", "no-data"), ("--data 'no-data'", "neither a folder nor")),
    "model revision": Bad(("--model", "a/b"), ("--model 'a/b'", "a/b@REVISION", "40 hexadecimal")),
    "data revision": Bad(("--data", "a/b"), ("--data 'a/b'", "a/b@REVISION", "40 hexadecimal")),
    "no safetensors": bad_model("no-weights", "no model.safetensors", "save_pretrained"),
    "pickled": bad_model("pickled", "no model.safetensors", "pytorch_model.bin", "never unpickled"),
    "truncated": bad_model("cut", "model.safetensors", "no whole safetensors file"),
    "no tokenizer": bad_model("no-tokenizer", "no tokenizer", "beside its weights"),
    "no config": bad_model("no-config", "no config.json"),
    "no files": bad_data("empty", "no train file", "expected one of train.parquet"),
    "no rows": bad_data("no-rows", "train set", "is empty"),
    "column": bad_data("column", "no column 'label'", "'stars'", " --set label_column="),
    "label": bad_data("label", "train.csv, line 2", "'label' is '1'", "labels=N"),
    "label text": bad_data("words", "train.csv, line 2", "'label' is 'pos'", "no other row"),
    "one label": bad_data("one-label", "train.csv", "all 2 labels", "shuffle"),
    "encoding": bad_data("latin", "train.csv", "not UTF-8", "save the file as UTF-8"),
    "parquet": bad_data("parquet", "train.parquet can't be read as parquet"),
    "too many": Bad(
        ("--model", "{}/model", "--data", "{}/fine", "--set", "train_examples=3"),
        ("train_examples=3", "2 examples", "ask for at most 2"),
    ),
}


def write_bad_input(folder: Path) -> None:
    for name in ("model", "no-weights", "pickled", "cut", "no-tokenizer", "no-config"):
        write_bare_model(folder / name)
    (folder / "no-weights" / "model.safetensors").unlink()
    (folder / "pickled" / "model.safetensors").rename(folder / "pickled" / "pytorch_model.bin")
    weights = folder / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (folder / "no-tokenizer" / "tokenizer.json").unlink()
    (folder / "no-config" / "config.json").unlink()

    write_data(folder / "fine", [("good", 1), ("bad", 0)])
    write_data(folder / "no-rows", [])
    write_data(folder / "label", [("good", 1), ("bad", 2)])
    write_data(folder / "words", [("good", "pos"), ("bad", "neg")])
    write_data(folder / "one-label", [("good", 1), ("fine", 1)])
    column = write_data(folder / "column", []) / "train.csv"
    column.write_text("text,stars\ngood,1\n", encoding="utf-8")
    latin = write_data(folder / "latin", []) / "train.csv"
    latin.write_bytes("text,label\ngood,1\ncafé,0\n".encode("latin-1"))
    (folder / "empty").mkdir()
    (folder / "parquet").mkdir()
    for split in ("train", "test"):
        (folder / "parquet" / f"{split}.parquet").write_bytes(b"PAR1 and then nothing")


@dataclass(frozen=True)
class Refusals:
    """What became of every bad input, all tried in one process of their own."""

    folder: Path
    results: dict[str, dict[str, Any]]


# What one of them imports stays imported: when the last has not loaded torch, none has.
TRY_ALL = """
import json, os, sys
from click.testing import CliRunner
from peftcore.__main__ import main

commands, elsewhere = json.loads(sys.argv[1]), sys.argv[2]
os.chdir(elsewhere)
results = {}
for name, command in commands.items():
    result = CliRunner().invoke(main, command)
    error = result.exception
    results[name] = {
        "code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "raised": None if error is None or isinstance(error, SystemExit) else repr(error),
        "left": os.listdir(elsewhere),
        "heavy": sorted({"torch", "transformers", "peft"} & set(sys.modules)),
    }
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Refusals:
    folder = tmp_path_factory.mktemp("bad")
    write_bad_input(folder)
    commands = {
        name: ["run", "--method", bad.method, *(o.format(folder) for o in bad.options)]
        for name, bad in BAD.items()
    }
    done = run_python(TRY_ALL, json.dumps(commands), tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stderr
    return Refusals(folder, json.loads(done.stdout))


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_in_one_sentence(kind: str, refusals: Refusals) -> None:
    result = refusals.results[kind]
    assert result["raised"] is None
    assert result["code"] == 2
    assert result["stdout"] == ""
    (line,) = result["stderr"].splitlines()
    assert line.startswith("peftcore: ")
    assert "Traceback" not in line
    for words in BAD[kind].words:
        assert words.format(refusals.folder) in line


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_stores_nothing_and_loads_nothing(kind: str, refusals: Refusals) -> None:
    assert refusals.results[kind]["left"] == []
    assert refusals.results[kind]["heavy"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "lora", "--seed", "-1"), "--seed"),
        (("--method", "lora", "--seed", str(2**32)), "--seed"),
        (("--method", "lora", "--seed", "x"), "--seed"),
        (("--method", "lora", "--timeout", "0"), "--timeout"),
        (("--method", "lora", "--timeout", "nan"), "nan is no finite number"),
        (("--method", "lora", "--timeout", "inf"), "inf is no finite number"),
        (("--method", "lora", "--checkpoint-seconds", "nan"), "nan is no finite number"),
        (("--scenario", "embedded"), "--method"),
        (("--method", "lora", "--rank", "8"), "--rank"),
    ],
)
def test_options_that_click_refuses(options: tuple[str, ...], words: str, elsewhere: Path) -> None:
    result = invoke("run", *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert list(elsewhere.iterdir()) == []


def test_the_module_and_the_command_are_one(elsewhere: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "peftcore", "run", "--method", "lorra"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("peftcore: unknown method 'lorra'")
    assert done.stderr.count("\n") == 1
    assert list(elsewhere.iterdir()) == []
