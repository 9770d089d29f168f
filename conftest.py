"""What all tests of this repository share."""

import pytest

from peftcore.pytest_plugin import skip_without_gpu

pytest_plugins = ["pytester"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``gpu`` where there is none, or fail them under ``--peft-require-gpu``."""
    if item.get_closest_marker("gpu") is not None:
        skip_without_gpu(item.config)
