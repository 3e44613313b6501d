"""Memories of embeddings from earlier iterations."""

from .queue import EmbeddingQueue
from .support import SupportQueue

__all__ = ['EmbeddingQueue', 'SupportQueue']
