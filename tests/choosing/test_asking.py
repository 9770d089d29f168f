import pytest

from peftcore.choosing.asking import DEFAULT_METHODS, parse_bytes, parse_duration, parse_raced
from peftcore.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("5 min", 300), ("2H", 7200)],
)
def test_durations_are_written_as_people_write_them(text, seconds):
    assert parse_duration(text, where="--budget") == seconds


@pytest.mark.parametrize("text", ["", "30", "m30", "30m!", "-5m", "soon", "1s", "0m"])
def test_what_is_no_duration_or_too_short_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"--budget .*(90s, 30m or 1h30m|at least 30s)"):
        parse_duration(text, where="--budget")


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 10**9), ("8GiB", 2**33), ("700 MB", 7 * 10**8)]
)
def test_sizes_of_memory_are_written_as_people_write_them(text, size):
    assert parse_bytes(text, where="--memory") == size


@pytest.mark.parametrize("text", ["", "much", "0GB", "-8GB", "8 apples"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"--memory .* expected such as 8GB"):
        parse_bytes(text, where="--memory")


def test_reference_rows_are_not_raced_and_two_methods_are_needed():
    raced = parse_raced(DEFAULT_METHODS, where="--methods")
    assert [method.slug for method in raced] == list(DEFAULT_METHODS)
    group = parse_raced(("study", "lora"), where="--methods")
    assert [method.slug for method in group] == ["full", "lora", "qlora", "ia3"]
    with pytest.raises(UsageError, match="leaves 1 to race: name two methods or more"):
        parse_raced(("lora", "bow"), where="--methods")
    with pytest.raises(UsageError, match="did you mean 'lora'"):
        parse_raced(("lorra", "full"), where="--methods")


def test_a_size_whose_unit_was_forgotten_is_refused():
    with pytest.raises(UsageError, match=r"--memory '8' is 8 bytes, less than any .*: name a unit"):
        parse_bytes("8", where="--memory")
