"""Passes of a training step on a processor, compiled on the machine that uses them."""
