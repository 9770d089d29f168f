"""Whether each method still does on each architecture what it did."""
