"""How much data: accuracy of each method by the size of the training set.

``pytest benchmarks/test_data_sizes.py`` runs it, and nothing else does. ``--peft-sizes`` says which
sizes, ``--peft-sizes-hold`` whether small ones are trained on for as many steps as the scenario's
own or for as many epochs. The report goes to ``reports/SCENARIO/sizes/``.
"""

from peftcore.pytest_plugin import RunnableSizes


def test_data_sizes(peft_sizes: RunnableSizes) -> None:
    """All trials of the method on so many examples end well; the rest is for the report to say."""
    faults = peft_sizes.faults(peft_sizes.run())
    assert not faults, "\n".join(faults)
