"""Backbones: found, verified, loaded, quantised, fitted with a method, and checked."""
