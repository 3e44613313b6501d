"""Checkpoints: loading without running code, names and shapes, other layouts, resuming."""
