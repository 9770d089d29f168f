"""Whether the numbers of a published report follow from the records published with it."""
