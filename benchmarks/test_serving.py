"""What it costs to serve each method: to load its adapter, to swap it, and to predict with it.

``pytest benchmarks/test_serving.py`` runs it, and nothing else does. Each method is measured in a
process of its own, round by round, by pytest-benchmark in pedantic mode; nothing is trained. The
report goes to ``reports/SCENARIO/serving/``. ``--peft-method`` and ``--peft-scenario`` choose what
is served, ``--peft-serving-rounds`` how often it is measured.
"""

from peftcore.pytest_plugin import RunnableServing


def test_serving(peft_serving: RunnableServing) -> None:
    """Whatever can be measured of the method is; the rest says why it can't."""
    faults = peft_serving.faults(peft_serving.run())
    assert not faults, "\n".join(faults)
