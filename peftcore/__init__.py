"""Benchmark of fine-tuning methods on encoder classifiers."""
