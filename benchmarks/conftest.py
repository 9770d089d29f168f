"""Which benchmarks run unless they are named."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the comparison of the engines to those who ask for it by its file."""
    named = [Path(argument.partition("::")[0]).name for argument in config.args]
    if collection_path.name == "test_engine.py" and collection_path.name not in named:
        return True
    return None
