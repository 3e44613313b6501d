"""Labelled sets of generated videos, for demos, tests and comparisons."""
