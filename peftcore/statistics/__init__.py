"""What can be told from accuracies over seeds and test examples: numpy and scipy alone."""
