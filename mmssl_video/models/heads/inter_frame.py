"""Inter-frame instance discrimination (SeCo; VCLR, Eq. 2)."""

import math

import torch
from mmaction.registry import MODELS
from torch import Tensor

from mmssl_video.errors import UserError

from ..gather import draw_for_samples, gather
from ..losses import contrast, info_nce_from_similarities
from ..memory import EmbeddingQueue
from .base import SSLHead, Views, percent_nearest


def draw_query_segment(query_segment: int | str, anchors: Tensor, keys: Tensor) -> Tensor:
    """Choose the frame-level anchor's segment for each sample of two views [N, S, D]: int64 [N].

    The views may differ in S if the segment is fixed and both have it.
    """
    num_samples, num_segments = len(anchors), min(anchors.shape[1], keys.shape[1])
    if query_segment == 'random':
        if anchors.shape[1] != keys.shape[1]:
            raise UserError(
                f"query_segment is 'random', but the query view has {anchors.shape[1]} segments "
                f'and the key view {keys.shape[1]}; use the number of a segment that both have'
            )
        return draw_for_samples(
            lambda number: torch.randint(num_segments, (number,), device=anchors.device),
            num_samples,
        )
    if not 0 <= query_segment < num_segments:
        raise UserError(
            f'query_segment is {query_segment}, but a view has {num_segments} segments; use '
            f"'random' or a number from 0 to {num_segments - 1}"
        )
    return torch.full((num_samples,), query_segment, device=anchors.device)


@MODELS.register_module()
class InterFrameHead(SSLHead):
    """Frames of one video attract each other, frames of other videos repel.

    The query is one frame ``v1`` of the anchor tuple. Its positives are all frames of the anchor
    tuple, augmented again, through the target encoder (``v1'``, ``v2``, ``v3``). Each has its own
    InfoNCE loss against the queue, and the losses are averaged. The queue takes ``v1'``.

    Args:
        projector (dict): Config of the projection.
        queue_size (int): Length of the queue; VCLR's is 131072.
        temperature (float): VCLR's is 0.1.
        query_segment (int | str): Segment of ``v1``, or ``'random'`` for a draw per sample.
        query_view (int): The view of the anchor tuple.
        key_view (int): The view of its second augmentation.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        queue_size: int = 131072,
        temperature: float = 0.1,
        query_segment: int | str = 'random',
        query_view: int = 0,
        key_view: int = 2,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.temperature = temperature
        self.query_segment = query_segment
        self.queue = EmbeddingQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """InfoNCE of one anchor frame a video; ``acc``: queries nearest to ``v1'``."""
        (anchors,), (keys,) = online.values(), target.values()
        samples = torch.arange(len(anchors), device=anchors.device)
        segment = draw_query_segment(self.query_segment, anchors, keys)
        query = self.embed_online(anchors[samples, segment])
        keys = self.embed_target(keys)
        similarities = contrast(query, keys, self.queue.entries, self.temperature)
        with_own_frame = similarities[0][samples, segment]
        self.queue.enqueue(gather(keys[samples, segment]))
        return {
            'loss': info_nce_from_similarities(*similarities) * self.loss_weight,
            'acc': percent_nearest(with_own_frame[:, None], similarities[1]),
            'pair': (query, keys[samples, segment]),
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
        return f'InfoNCE over frames, queue {self.queue.size}, temperature {self.temperature}'
