"""The report on what serving costs: loading, swapping and predicting."""
