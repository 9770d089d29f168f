"""Real faults, each injected as it comes in life, and what must hold after it.

| fault | test |
| --- | --- |
| an xdist worker killed | `test_xdist.py` |
| disk full while storing | `test_disk.py` |
| store truncated or bits flipped | `test_store.py` |
| two sessions, same trial, same store | `test_store.py` |
| SIGKILL in mid-epoch, in evaluation, while a checkpoint is written | `test_killed_trial.py` |
| checkpoint altered, cut off, of another trial, or without a part | `test_checkpoints.py` |
| SIGKILL of the trial within a session, and of pytest itself | `test_killed_session.py` |
| many SIGKILLs of either at random moments | `kill_loop.py`, small in `test_killed_session.py` |
| out of memory | `test_memory.py` |
| a trial that hangs or talks on; NaN loss | `running/test_process` |
| a number in a record that is not finite | `results/test_store`, `results/test_records` |
"""
