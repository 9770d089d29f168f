"""Time and memory by phase, and the environment they were taken in."""
