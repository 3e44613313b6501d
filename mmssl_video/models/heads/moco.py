"""Momentum contrast of clips or of segment tuples (MoCo; ρ-MoCo; VCLR's video-level objective)."""

import math
from collections.abc import Sequence

import torch
from mmaction.registry import MODELS
from torch import Tensor

from ..gather import gather
from ..losses import contrast, info_nce_from_similarities
from ..memory import EmbeddingQueue
from .base import SSLHead, Views, consensus, pairs_of_views, percent_nearest


@MODELS.register_module()
class MoCoHead(SSLHead):
    """Views of one video attract each other, views of other videos repel, through a queue.

    A query comes from the online encoder, its positive from the target encoder, its negatives from
    a queue of earlier positives. Every query view is paired with every key view but itself; the
    losses of all pairs are averaged, and the queue takes every key view. The feature of a view with
    several segments is the mean of theirs; the projection follows.

    - MoCo v2 (Chen et al., 2020): two views, ``query_views=(0,)``, ``key_views=(1,)``.
    - ρ-MoCo (Feichtenhofer et al., 2021, Sec. 3.1): ρ clips, each a query and a key,
      ``query_views = key_views = range(ρ)``.
    - VCLR's video-level contrast (Eq. 4-6): the views are tuples of K segments.

    Args:
        projector (dict): Config of the projection.
        queue_size (int): Length of the queue, K; MoCo v2's is 65536.
        temperature (float): MoCo v2's is 0.2.
        query_views (Sequence[int]): Views through the online encoder.
        key_views (Sequence[int]): Views through the target encoder.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        queue_size: int = 65536,
        temperature: float = 0.2,
        query_views: Sequence[int] = (0,),
        key_views: Sequence[int] = (1,),
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, query_views, key_views, loss_weight)
        self.view_pairs = pairs_of_views(query_views, key_views)
        self.temperature = temperature
        self.keys_per_sample = len(key_views)
        self.queue = EmbeddingQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """InfoNCE of all pairs of views; ``acc``: queries nearest to their positive."""
        queries = {view: self.embed_online(consensus(clips)) for view, clips in online.items()}
        keys = {view: self.embed_target(consensus(clips)) for view, clips in target.items()}
        negatives = self.queue.entries
        losses, accuracies = [], []
        for view, query in queries.items():
            # The negatives are the same for all key views of the query.
            partners = [j for i, j in self.view_pairs if i == view]
            if partners:
                positives = torch.stack([keys[j] for j in partners], dim=1)
                similarities = contrast(query, positives, negatives, self.temperature)
                losses.append(len(partners) * info_nce_from_similarities(*similarities))
                accuracies.append(len(partners) * percent_nearest(*similarities))
        self.queue.enqueue(gather(torch.stack(list(keys.values()), dim=1)))
        num_pairs = len(self.view_pairs)
        return {
            'loss': torch.stack(losses).sum() / num_pairs * self.loss_weight,
            'acc': torch.stack(accuracies).sum() / num_pairs,
            'pair': (
                torch.cat([queries[i] for i, _ in self.view_pairs]),
                torch.cat([keys[j] for _, j in self.view_pairs]),
            ),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln(1 + K)."""
        return math.log1p(self.queue.size if num_filled is None else num_filled)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(queue_size=20)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'InfoNCE over videos, queue {self.queue.size}, temperature {self.temperature}'
