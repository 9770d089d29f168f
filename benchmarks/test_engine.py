"""The engine against transformers' Trainer: the same trials run by both, interleaved.

``pytest benchmarks/test_engine.py`` runs it, and nothing else does. ``-k`` picks a part: ``pairs``,
``ablation``, ``growth`` (of ``growth-length``, ``growth-batch`` and ``growth-share``), ``equality``
or ``learning``. The report goes to ``reports/engine/`` and holds all parts that the store has,
whichever session ran them. Without options it takes the embedded scenario's data, and sizes of its
own.
"""

from peftcore.pytest_plugin import RunnablePairs


def test_engine(peft_pairs: RunnablePairs) -> None:
    """Every run of a part ends well; what the runs show is for the report to say."""
    faults = peft_pairs.faults(peft_pairs.run())
    assert not faults, "\n".join(faults)
