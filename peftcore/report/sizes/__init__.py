"""The report on how accuracy grows with the training set."""
