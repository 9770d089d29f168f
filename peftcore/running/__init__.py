"""Where trials run: planned here, run in a child process each."""
