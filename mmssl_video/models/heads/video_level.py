"""Video-level contrast of segment tuples (VCLR, Eq. 4-6)."""

import math

from mmaction.registry import MODELS
from torch import Tensor

from ..losses import contrast, info_nce_from_similarities
from ..memory import EmbeddingQueue
from .base import SSLHead, Views, percent_correct


@MODELS.register_module()
class VideoLevelHead(SSLHead):
    """Two tuples that cover the same video attract each other, tuples of other videos repel.

    The consensus is the mean of a tuple's backbone features; the projection comes after it.

    Args:
        projector (dict): Config of the projection.
        queue_size (int): Length of the queue; VCLR's is 131072.
        temperature (float): VCLR's is 0.1.
        query_view (int): The view of the anchor tuple.
        key_view (int): The view of the positive tuple.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        queue_size: int = 131072,
        temperature: float = 0.1,
        query_view: int = 0,
        key_view: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.temperature = temperature
        self.queue = EmbeddingQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """InfoNCE of one tuple a video; ``acc``: queries nearest to their positive."""
        (anchors,), (positives,) = online.values(), target.values()
        query = self.embed_online(anchors.mean(dim=1))
        key = self.embed_target(positives.mean(dim=1))
        similarities = contrast(query, key, self.queue.filled(), self.temperature)
        self.queue.enqueue(key)
        return {
            'loss': info_nce_from_similarities(*similarities) * self.loss_weight,
            'acc': percent_correct((similarities[0] > similarities[1]).all(dim=1)),
        }

    @property
    def chance_level(self) -> float:
        """ln(1 + K) of the full queue."""
        return math.log1p(self.queue.size)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'InfoNCE over videos, queue {self.queue.size}, temperature {self.temperature}'
