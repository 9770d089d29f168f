"""Data sets: found, checked, sampled, tokenised and batched."""
