"""The engine against transformers' Trainer: the same trials run by both, interleaved.

``pytest benchmarks/test_engine.py`` runs it, and nothing else does; ``-k pairs`` leaves the
ablation out. The report goes to ``reports/engine/``. Without options it takes the embedded
scenario's data, and sizes of its own.
"""

from peftcore.pytest_plugin import RunnablePairs


def test_engine(peft_pairs: RunnablePairs) -> None:
    """Every run ends well: pairs of both engines, or one run without each acceleration."""
    faults = peft_pairs.faults(peft_pairs.run())
    assert not faults, "\n".join(faults)
