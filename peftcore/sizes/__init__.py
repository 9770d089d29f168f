"""How much data: trials on nested parts of the training set."""
