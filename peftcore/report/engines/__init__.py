"""The report of the engine against transformers' Trainer: a module a section."""
