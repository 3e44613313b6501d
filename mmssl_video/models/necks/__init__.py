"""Projections from backbone features to embeddings."""

from .projection import ProjectionMLP

__all__ = ['ProjectionMLP']
