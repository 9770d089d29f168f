from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from peftcore.data import sources
from peftcore.data.corpus import CORPUS_VERSION, write_corpus
from peftcore.data.examples import Corpus, draw
from peftcore.data.sources import IMDB, adapt_task, locate_data, read_data
from peftcore.errors import UsageError
from peftcore.scenarios import Task, find_scenario

TASK = Task(train_examples=4, test_examples=2)

# What spreadsheets and pandas take for missing, what quoting is for, and what UTF-8 is for.
AWKWARD = ["NA", "null", "nan", "None", "", " ", 'a "quoted", comma', "two\nlines", "tür — 好"]
TRAIN = [(text, index % 2) for index, text in enumerate(AWKWARD)]
TEST = [("good", 1), ("bad", 0), ("NULL", 1)]


def write_parquet(path: Path, rows: list[tuple[Any, Any]], **types: pa.DataType) -> None:
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    parquet.write_table(pa.table(arrays), path)


def write_csv(path: Path, rows: list[tuple[Any, Any]]) -> None:
    quoted = ['"{}",{}'.format(text.replace('"', '""'), label) for text, label in rows]
    path.write_text("\n".join(["text,label", *quoted, ""]), encoding="utf-8", newline="")


def write_jsonl(path: Path, rows: list[tuple[Any, Any]]) -> None:
    lines = [json.dumps({"label": label, "text": text, "id": "x"}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


Write = Callable[[Path, list[tuple[Any, Any]]], None]
FORMATS: dict[str, Write] = {"parquet": write_parquet, "csv": write_csv, "jsonl": write_jsonl}


def corpus_in(folder: Path, task: Task = TASK) -> Corpus:
    return read_data(locate_data(str(folder), task), task)


def folder_of(folder: Path, write: Write, suffix: str) -> Path:
    """Write TRAIN and TEST in one format."""
    folder.mkdir()
    write(folder / f"train.{suffix}", TRAIN)
    write(folder / f"test.{suffix}", TEST)
    return folder


def refused(folder: Path | str, task: Task = TASK) -> str:
    """The message with which a data set is refused."""
    with pytest.raises(UsageError) as caught:
        locate_data(str(folder), task)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [*FORMATS, "json"])
def test_every_format_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    folder = folder_of(tmp_path / "data", FORMATS.get(suffix, write_jsonl), suffix)

    corpus = corpus_in(folder)

    assert list(zip(corpus.train.texts, corpus.train.labels, strict=True)) == TRAIN
    assert list(zip(corpus.test.texts, corpus.test.labels, strict=True)) == TEST


def test_the_format_and_the_place_are_no_part_of_the_identity(tmp_path: Path) -> None:
    found = [
        locate_data(str(folder_of(tmp_path / suffix, write, suffix)), TASK)
        for suffix, write in FORMATS.items()
    ]
    assert len({source.identity for source in found}) == 1
    assert found[0].identity.startswith("sha256:")
    assert [source.name for source in found] == list(FORMATS)
    assert [source.path for source in found] == [str(tmp_path / suffix) for suffix in FORMATS]


@pytest.mark.parametrize("suffix", FORMATS)
def test_shards_are_read_in_order_and_other_files_are_left(tmp_path: Path, suffix: str) -> None:
    write = FORMATS[suffix]
    nested = tmp_path / "plain_text"
    nested.mkdir()
    write(nested / f"train-00001-of-00002.{suffix}", TRAIN[5:])
    write(nested / f"train-00000-of-00002.{suffix}", TRAIN[:5])
    write(nested / f"test-00000-of-00001.{suffix}", TEST)
    write(nested / f"training.{suffix}", [("left", 0)])
    write(nested / f"unsupervised-00000-of-00001.{suffix}", [("left", -1)])

    corpus = corpus_in(tmp_path)

    assert list(corpus.train.texts) == AWKWARD
    assert len(corpus.test) == len(TEST)


def test_columns_and_labels_are_those_of_the_task(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = '[review],stars\n"a ""b""",0\nc,2\nd, 1 \n'
        (tmp_path / f"{split}.csv").write_text(rows, encoding="utf-8")
    task = Task(
        train_examples=3, test_examples=3, labels=3, text_column="[review]", label_column="stars"
    )
    corpus = corpus_in(tmp_path, task)
    assert list(corpus.train.texts) == ['a "b"', "c", "d"]
    assert list(corpus.train.labels) == [0, 2, 1]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\na,0\nb,1\n", encoding="utf-8-sig")
    task = Task(train_examples=2, test_examples=2)
    assert list(corpus_in(tmp_path, task).train.texts) == ["a", "b"]


def test_blank_lines_of_json_lines_are_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    file = folder / "test.jsonl"
    file.write_text("\n" + file.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert len(corpus_in(folder).test) == len(TEST)


@pytest.mark.parametrize("whole", [1.0, "1", " 1 ", "1 "])
def test_a_whole_number_is_one_however_it_is_written(tmp_path: Path, whole: Any) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    write_jsonl(folder / "test.jsonl", [("a", 0), ("b", whole)])
    label = corpus_in(folder).test.labels[1]
    assert label == 1
    assert type(label) is int


@pytest.mark.parametrize(
    "bad", [2, -1, "positive", "", "1.5", True, False, 1.5, None, float("nan"), "--1", [1], "²"]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_is_no_class_is_named(tmp_path: Path, bad: Any, split: str) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    rows = TRAIN if split == "train" else TEST
    write_jsonl(folder / f"{split}.jsonl", [rows[0], (rows[1][0], bad), *rows[2:]])

    message = refused(folder)

    assert f"{folder / f'{split}.jsonl'}, line 2: 'label' is {bad!r}" in message
    assert "expected a whole number from 0 to 1" in message
    assert "--peft-set labels=N" in message


@pytest.mark.parametrize(
    ("suffix", "bad", "place", "shown"),
    [
        # A header and a text of two lines come before it: the line is the one an editor shows.
        ("csv", "maybe", "line 11", "'maybe'"),
        ("csv", 7, "line 11", "'7'"),
        ("parquet", 7, "row 8", "7"),
        ("jsonl", 7, "line 9", "7"),
    ],
)
def test_the_place_of_a_bad_label(
    tmp_path: Path, suffix: str, bad: Any, place: str, shown: str
) -> None:
    folder = folder_of(tmp_path / "data", FORMATS[suffix], suffix)
    FORMATS[suffix](folder / f"train.{suffix}", [*TRAIN[:8], ("x", bad)])
    message = refused(folder)
    assert f"{folder / f'train.{suffix}'}, {place}: 'label' is {shown}" in message


@pytest.mark.parametrize("kind", [pa.bool_(), pa.float64(), pa.string()])
def test_the_type_of_a_parquet_column_is_minded(tmp_path: Path, kind: pa.DataType) -> None:
    values = {pa.bool_(): True, pa.float64(): 0.5, pa.string(): "neg"}
    folder = folder_of(tmp_path / "data", write_parquet, "parquet")
    write_parquet(folder / "train.parquet", [("a", values[kind])] * 4, label=kind)
    assert f"row 0: 'label' is {values[kind]!r}" in refused(folder)


@pytest.mark.parametrize("bad", [None, 3, ["a"], {"a": 1}])
def test_a_text_that_is_none_is_named(tmp_path: Path, bad: Any) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    write_jsonl(folder / "train.jsonl", [*TRAIN[:3], (bad, 1), *TRAIN[3:]])
    assert f"train.jsonl, line 4: 'text' is {bad!r}: expected a text" in refused(folder)


def test_a_missing_text_of_parquet_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_parquet, "parquet")
    write_parquet(folder / "test.parquet", [("a", 0), (None, 1)])
    assert f"{folder / 'test.parquet'}, row 1: 'text' is None" in refused(folder)


def test_a_csv_row_without_all_its_cells_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    (folder / "test.csv").write_text("text,label\na,0\nb\n", encoding="utf-8")
    assert f"{folder / 'test.csv'}, line 3: 'label' is None" in refused(folder)


def test_a_csv_row_with_an_unquoted_comma_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    (folder / "test.csv").write_text("text,label\na,0\nb,1,and more,0\n", encoding="utf-8")
    assert f"{folder / 'test.csv'}, line 3" in refused(folder)


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_csv_file_without_commas_is_refused(tmp_path: Path, mark: str, word: str) -> None:
    for split in ("train", "test"):
        rows = (f"text{mark}label", f"good, really{mark}1", f"bad{mark}0")
        (tmp_path / f"{split}.csv").write_text("\n".join(rows), encoding="utf-8")
    assert f"several with {word} in between: save it with commas" in refused(tmp_path)


def test_a_long_csv_text_is_read_as_in_every_other_format(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    long = "word " * 40_000
    write_csv(folder / "train.csv", [*TRAIN, (long, 0)])
    assert corpus_in(folder).train.texts[-1] == long


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_missing_column_is_named(tmp_path: Path, suffix: str, column: str) -> None:
    folder = folder_of(tmp_path / "data", FORMATS[suffix], suffix)
    task = Task(train_examples=4, test_examples=2, **{f"{column}_column": "absent"})

    message = refused(folder, task)

    assert f"{folder / f'train.{suffix}'} has no column 'absent': it has " in message
    assert "'text'" in message
    assert "'label'" in message
    assert f"--peft-set {column}_column=…" in message


def test_a_folder_without_files(tmp_path: Path) -> None:
    message = refused(tmp_path)
    assert f"{tmp_path} has no train file" in message
    assert "expected one of train.parquet, train.csv, train.jsonl" in message


def test_a_folder_without_a_test_set(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", TRAIN)
    assert f"{tmp_path} has no test file: expected one of test.parquet" in refused(tmp_path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_set(tmp_path: Path, suffix: str) -> None:
    folder = folder_of(tmp_path / "data", FORMATS[suffix], suffix)
    FORMATS[suffix](folder / f"test.{suffix}", [])
    message = refused(folder)
    assert f"{folder}: the test set (test.{suffix}) is empty: it needs examples" in message


def test_an_empty_csv_file_has_no_columns(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    (folder / "train.csv").write_bytes(b"")
    assert f"{folder / 'train.csv'} has no column 'text'" in refused(folder)


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_that_are_all_equal(tmp_path: Path, split: str) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    write_csv(folder / f"{split}.csv", [(text, 1) for text, _ in TRAIN])
    message = refused(folder)
    assert f"all 9 labels of the {split} set ({split}.csv) are 1" in message
    assert "shuffle before cutting a sample" in message


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Task(train_examples=10, test_examples=2), "train_examples=10 is more than the 9 examples"),
        (Task(train_examples=4, test_examples=4), "test_examples=4 is more than the 3 examples"),
    ],
)
def test_more_examples_than_there_are(tmp_path: Path, task: Task, words: str) -> None:
    folder = folder_of(tmp_path / "data", write_csv, "csv")
    message = refused(folder, task)
    assert words in message
    assert "ask for at most" in message


def test_more_examples_than_the_embedded_corpus_has() -> None:
    message = refused("embedded", Task(train_examples=5001, test_examples=1))
    assert "train_examples=5001 is more than the 5000 examples" in message


def test_earlier_versions_in_hidden_folders_are_no_part_of_a_data_set(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", FORMATS["csv"], "csv")
    whole = read_data(locate_data(str(folder), TASK), TASK)
    hidden = folder / ".ipynb_checkpoints"
    hidden.mkdir()
    shutil.copy(folder / "train.csv", hidden / "train-checkpoint.csv")
    assert read_data(locate_data(str(folder), TASK), TASK) == whole
    (folder / "backup").mkdir()
    shutil.copy(folder / "train.csv", folder / "backup" / "train.csv")
    message = refused(folder)
    assert "train files in several folders (backup/train.csv and train.csv)" in message


@pytest.mark.parametrize(("suffix", "place"), [("csv", "line"), ("jsonl", "line 5")])
def test_text_that_is_not_utf8(tmp_path: Path, suffix: str, place: str) -> None:
    folder = folder_of(tmp_path / "data", FORMATS[suffix], suffix)
    rows = [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("caf@", 0)]
    FORMATS[suffix](folder / f"train.{suffix}", rows)
    file = folder / f"train.{suffix}"
    file.write_bytes(file.read_bytes().replace(b"@", b"\xe9"))

    message = refused(folder)

    assert str(file) in message
    assert place in message
    assert "not UTF-8 (byte 0xe9): save the file as UTF-8" in message


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_parquet, "parquet")
    raw = pa.array([b"a", b"b", b"caf\xe9", b"d"], pa.binary())
    table = pa.table({"text": raw.view(pa.string()), "label": [0, 1, 0, 1]})
    parquet.write_table(table, folder / "train.parquet")

    message = refused(folder)

    assert f"{folder / 'train.parquet'}, row 2: the text is not UTF-8 (byte 0xe9)" in message
    # Where columns are guessed, the first rows are read before all others.
    with pytest.raises(UsageError, match="in its first 500 rows: the text is not UTF-8"):
        adapt_task(str(folder), Task())


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 100_000], ids=["digits", "nested"])
def test_json_that_no_parser_takes(tmp_path: Path, value: str) -> None:
    folder = folder_of(tmp_path / "data", FORMATS["jsonl"], "jsonl")
    (folder / "train.jsonl").write_text(f'{{"text": "a", "label": {value}}}\n', encoding="utf-8")
    assert "train.jsonl, line 1, is not JSON" in refused(folder)


def test_parquet_text_in_a_binary_column(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_parquet, "parquet")
    write_parquet(folder / "train.parquet", [(b"a", 0), (b"b", 1)] * 2)
    assert "row 0: 'text' is b'a': expected a text" in refused(folder)


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    write_jsonl(folder / "train.jsonl", [*TRAIN, ("\ud83d", 1)])
    message = refused(folder)
    assert "train.jsonl, line 10: 'text' holds half of a surrogate pair" in message


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    folder = folder_of(tmp_path / "data", write_parquet, "parquet")
    file = folder / "train.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    assert f"{file} can't be read as parquet" in refused(folder)


@pytest.mark.parametrize(
    ("line", "words"),
    [("{'text': 1}", "is not JSON"), ("[1, 2]", "is no JSON object"), ("3", "is no JSON object")],
)
def test_a_line_that_is_no_json_object(tmp_path: Path, line: str, words: str) -> None:
    folder = folder_of(tmp_path / "data", write_jsonl, "jsonl")
    with (folder / "test.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    message = refused(folder)
    assert f"{folder / 'test.jsonl'}, line 4, {words}" in message


@pytest.mark.parametrize(
    "suffix",
    FORMATS,
)
def test_a_folder_by_the_name_of_a_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"train.{suffix}").mkdir()
    assert refused(tmp_path).startswith(f"{tmp_path} has no train file")


@pytest.mark.parametrize(
    "name",
    [
        "embeded",
        "imdb.csv",
        "no/such/folder",
    ],
)
def test_a_name_that_nothing_has(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate_data(name, TASK, where="--peft-data")
    message = str(caught.value)
    assert message.startswith(f"--peft-data {name!r} is neither a folder nor a known data set")
    assert "'embedded', 'imdb', a folder" in message


@pytest.mark.parametrize(
    "name", ["owner/reviews", "owner/reviews@main", "owner/reviews@e6281661ce1c", "owner/reviews@"]
)
def test_a_hub_id_needs_its_revision(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sources, "fetch", lambda *_, **__: pytest.fail("the hub was asked"))
    message = refused(name)
    assert f"data {name!r} names no fixed revision" in message
    assert "owner/reviews@REVISION with the 40 hexadecimal digits" in message


class ShutHub:
    """Stands for a hub that can't be reached, and notes what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr("huggingface_hub.snapshot_download", self._refuse)
        monkeypatch.setattr("huggingface_hub.HfApi.repo_info", self._refuse)

    def _refuse(self, *arguments: Any, **options: Any) -> None:
        names = [argument for argument in arguments if isinstance(argument, str)]
        self.asked.append({"repo_id": names[0] if names else options.get("repo_id"), **options})
        raise OSError("no route to host\nsecond line")


@pytest.fixture
def shut_hub(monkeypatch: pytest.MonkeyPatch) -> ShutHub:
    return ShutHub(monkeypatch)


@pytest.mark.parametrize(
    ("name", "repository", "revision", "mend"),
    [
        ("imdb", *IMDB, "pass --peft-data FOLDER with train.parquet and test.parquet"),
        (f"owner/reviews@{'0a' * 20}", "owner/reviews", "0a" * 20, "pass --peft-data FOLDER"),
    ],
)
def test_a_hub_that_is_out_of_reach(
    shut_hub: ShutHub, name: str, repository: str, revision: str, mend: str
) -> None:
    message = refused(name)

    assert message == (
        f"the dataset {repository}@{revision[:12]} is not on this machine and the hub can't be "
        f"reached (no route to host): {mend}"
    )
    assert len(shut_hub.asked) >= 2
    # First the cache, which needs no network.
    assert shut_hub.asked[0]["local_files_only"] is True
    for question in shut_hub.asked:
        assert question["repo_id"] == repository
        assert question["revision"] == revision
        assert question["repo_type"] == "dataset"


def test_the_pin_of_imdb() -> None:
    assert IMDB == ("stanfordnlp/imdb", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31")


def test_what_the_hub_gives_is_read_like_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "snapshot", write_parquet, "parquet")
    asked: list[list[str]] = []

    def download(*_: Any, **options: Any) -> str:
        asked.append(options["allow_patterns"])
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    name = f"owner/reviews@{'0a' * 20}"

    source = locate_data(name, TASK)

    assert source.name == name
    assert source.identity == locate_data(str(folder), TASK).identity
    assert read_data(source, TASK).test.texts == ["good", "bad", "NULL"]
    # One call: what is cached needs no second one. And no script of the repository comes along.
    assert len(asked) == 1
    assert all(pattern.endswith((".parquet", ".csv", ".jsonl", ".json")) for pattern in asked[0])


def test_a_folder_that_is_no_imdb_keeps_its_own_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "imdb", write_csv, "csv")
    other = folder_of(tmp_path / "other", write_csv, "csv")
    assert locate_data(str(folder), TASK).identity == locate_data(str(other), TASK).identity
    assert locate_data(str(other), TASK).name == "other"


def test_a_folder_with_the_real_reviews_is_imdb(imdb: Path, tmp_path: Path) -> None:
    # Told by what is in it: the folder's name says nothing.
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.parquet").symlink_to(imdb / f"{split}.parquet")
    task = find_scenario("imdb-roberta").task

    source = locate_data(str(folder), task)

    assert source.name == "imdb"
    assert source.path == str(folder)

    corpus = read_data(source, task)
    assert (len(corpus.train), len(corpus.test)) == (25_000, 25_000)
    train, test = draw(corpus, task, 42)
    assert (len(train), len(test)) == (3000, 2000)
    assert 0.45 < sum(train.labels) / len(train) < 0.55


def test_the_embedded_corpus() -> None:
    task = find_scenario("embedded").task
    source = locate_data("embedded", task)
    assert (source.name, source.path) == ("embedded", None)
    assert source.identity == f"embedded-corpus-v{CORPUS_VERSION}"

    corpus = read_data(source, task)
    assert (len(corpus.train), len(corpus.test)) == (5000, 2000)
    for split, found in (("train", corpus.train), ("test", corpus.test)):
        written = write_corpus(split, len(found), seed=0)
        assert list(found.texts) == [example.text for example in written]
        assert list(found.labels) == [example.label for example in written]
