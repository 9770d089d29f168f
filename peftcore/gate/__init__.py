"""The gate: is a change worse than the baseline, and by how much, in verdicts and an exit code."""
