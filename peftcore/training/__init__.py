"""Run one trial: load, attach, check, warm up, train, evaluate, save."""
