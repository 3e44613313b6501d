"""Checkpoints: safe loading, names and shapes, layouts of other projects, resuming."""
