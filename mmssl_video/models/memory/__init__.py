"""Memories of embeddings from earlier iterations."""

from .queue import EmbeddingQueue

__all__ = ['EmbeddingQueue']
