"""A fair protocol: each method with the learning rate that a search of its own has found."""
