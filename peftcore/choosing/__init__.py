"""Which method to fine-tune on one's own data: a race of methods and rates within a budget."""
