"""Support set: a queue that is searched for nearest neighbours (NNCLR, Sec. 3.2)."""

import torch
from torch import Tensor

from ..gather import gather
from .queue import EmbeddingQueue


class SupportQueue(EmbeddingQueue):
    """An :class:`EmbeddingQueue` that finds nearest neighbours, and stores labels for monitors.

    Arguments as for :class:`EmbeddingQueue`.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__(size, channels)
        self.register_buffer('labels', torch.full((size,), -1))

    @torch.no_grad()
    def enqueue(self, embeddings: Tensor, labels: Tensor | None) -> Tensor:
        """As :meth:`EmbeddingQueue.enqueue`, with their ``labels`` int64 [N], -1 where unknown.

        ``None`` means that no label is known.
        """
        slots = super().enqueue(embeddings)
        self.labels[slots] = -1 if labels is None else labels
        return slots

    @torch.no_grad()
    def nearest(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Find the entry with the largest cosine similarity for each embedding.

        Args:
            embeddings: L2-normalised [N, D].

        Returns:
            The neighbours [N, D] and their places in the queue, int64 [N]. While the queue is
            empty, an embedding is its own neighbour, at place -1.
        """
        entries = self.entries.to(embeddings.dtype)
        if not len(entries):
            return embeddings.detach(), torch.full((len(embeddings),), -1, device=embeddings.device)
        with torch.autocast(embeddings.device.type, enabled=False):
            slots = (embeddings @ entries.T).argmax(dim=1)
        return entries[slots], slots

    def purity(self, slots: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Measure how often a neighbour has the label of its query, for the log.

        Args:
            slots: Places of the neighbours, int64 [N], before the next :meth:`enqueue`.
            labels: Of the queries, int64 [N], -1 where unknown; ``None`` if none is known in any
                process.

        Returns:
            ``purity``, in percent of all processes' pairs with two known labels, NaN if there is no
            such pair; an empty dict while the queue is empty or without labels.
        """
        if labels is None or not self.num_filled:
            return {}
        found, labels = gather(torch.stack([self.labels[slots], labels], dim=1)).unbind(dim=1)
        known = (found >= 0) & (labels >= 0)
        return {'purity': 100 * ((found == labels) & known).sum() / known.sum()}
