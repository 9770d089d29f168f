"""Which benchmarks run unless they are named."""

from pathlib import Path

import pytest

APART = ("test_engine.py", "test_conformance.py", "test_serving.py", "test_data_sizes.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave what answers another question to those who ask for it by its file."""
    named = [Path(argument.partition("::")[0]).name for argument in config.args]
    if collection_path.name in APART and collection_path.name not in named:
        return True
    return None
