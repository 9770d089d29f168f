"""The comparison itself: every method in every scenario learns, and learns enough.

``pytest benchmarks/`` runs the embedded scenario on any machine and, where there is a CUDA GPU, the
source study's, which ``pytest -m gpu benchmarks/`` runs alone; the ``--peft-…`` options select
anything else.
"""

from peftcore.pytest_plugin import RunnableCell


def test_method(peft_cell: RunnableCell) -> None:
    """All trials of the method end well, pass their checks and reach the scenario's floor."""
    records = peft_cell.run()
    faults = peft_cell.faults(records)
    assert not faults, "\n".join(faults)
