"""Contrast with the nearest-neighbour video (IIVCL: Inter-Intra Video Contrastive Learning)."""

import math

import torch
from mmaction.registry import MODELS
from torch import Tensor

from ..gather import gather
from ..losses import contrast, info_nce_from_similarities
from ..memory import SupportQueue
from .base import SSLHead, Views, consensus, percent_nearest


@MODELS.register_module()
class NeighbourHead(SSLHead):
    """The positive of a clip is the video that is nearest to another clip of its own video.

    The key is a second clip through the target encoder. Its nearest entry in a queue of earlier
    keys is the query's positive, all other entries are negatives. IIVCL (2023) adds this to the
    contrast of the two clips themselves, a :class:`MoCoHead` with its own projection.

    A queue longer than an epoch holds the query's own video from the epoch before, which would be
    its neighbour; keep the queue shorter than the data.

    Args:
        projector (dict): Config of the projection.
        queue_size (int): Length of the queue, K.
        temperature (float): Divisor of the similarities.
        query_view (int): The view through the online encoder.
        key_view (int): The view whose neighbour is looked up.
        loss_weight (float): Factor of the loss.
    """

    reads = ('gt_label',)

    def __init__(
        self,
        projector: dict,
        queue_size: int = 65536,
        temperature: float = 0.1,
        query_view: int = 0,
        key_view: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.temperature = temperature
        self.queue = SupportQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views, gt_label: Tensor | None) -> dict[str, Tensor]:
        """InfoNCE of query and neighbour; ``purity``: neighbours with the query's label."""
        (clips,), (other_clips,) = online.values(), target.values()
        query = self.embed_online(consensus(clips))
        key = self.embed_target(consensus(other_clips))
        neighbour, slots = self.queue.nearest(key)
        similarities = contrast(query, neighbour, self.queue.entries, self.temperature)
        with_neighbour, with_others = similarities
        if with_others.shape[1]:
            with_others = with_others.scatter(1, slots[:, None], torch.finfo(with_others.dtype).min)
        purity = self.queue.purity(slots, gt_label)
        labels = None if gt_label is None else gather(gt_label)
        self.queue.enqueue(gather(key), labels)
        return {
            'loss': info_nce_from_similarities(with_neighbour, with_others) * self.loss_weight,
            'acc': percent_nearest(with_neighbour, with_others),
            **purity,
            'pair': (query, neighbour),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln K: one of the K entries is the positive."""
        return math.log(max(1, self.queue.size if num_filled is None else num_filled))

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(queue_size=20)

    def describe(self) -> str:
        """The objective in a few words."""
        return (
            f'InfoNCE with the nearest other video, queue {self.queue.size}, '
            f'temperature {self.temperature}'
        )
