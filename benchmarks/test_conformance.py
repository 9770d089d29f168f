"""Does each method still do, on each architecture, what is claimed of it?

``pytest benchmarks/test_conformance.py`` attaches, trains, freezes, saves, loads again and merges
every declared method on a tiny model of every supported architecture, and tries what the installed
peft has that nobody declared: with ``-rs`` pytest tells which those are, and why some are refused.
No two of them may have equal losses, in whatever order and process they are tried.
``peftcore fingerprint`` writes the same as numbers, to compare.
"""

import os
from pathlib import Path

import pytest

from peftcore.conformance.cells import Bench, declared_methods, undeclared_methods
from peftcore.conformance.fingerprints import Verdict, kept_beside
from peftcore.conformance.tiny import ARCHITECTURES
from peftcore.methods import Method


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for losses that all workers of a session share."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tried"


@pytest.mark.parametrize("method", declared_methods(), ids=lambda method: method.slug)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_conformance(bench: Bench, tried: Path, method: Method, architecture: str) -> None:
    """It conforms, and to no other method, or is refused before anything is loaded."""
    found = bench.fingerprint(method, architecture)
    if found.verdict is Verdict.REFUSED:
        pytest.skip(found.detail)
    assert found.verdict is Verdict.CONFORMS, found.detail
    # Equal losses to the bit are those of one method under two names.
    assert kept_beside(tried / architecture, method.slug, found.losses) == []


@pytest.mark.parametrize("method", undeclared_methods(), ids=lambda method: method.slug)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_undeclared(bench: Bench, method: Method, architecture: str) -> None:
    """Whoever reads the reasons for skipping learns what peft has that peftcore doesn't compare."""
    found = bench.fingerprint(method, architecture)
    works = found.verdict is Verdict.CONFORMS
    how = "works" if works else f"does not work: {found.detail}"
    pytest.skip(f"declared by nobody; as it comes, on a {architecture}, it {how}")
