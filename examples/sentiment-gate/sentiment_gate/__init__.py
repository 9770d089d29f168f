"""What this project declares of its own."""
