"""Real faults, each injected as it comes in life, and what must hold after it.

| fault | test |
| --- | --- |
| an xdist worker killed | `test_xdist.py` |
| disk full while storing | `test_disk.py` |
| store truncated or bits flipped | `test_store.py` |
| two sessions, same trial, same store | `test_store.py` |
"""
