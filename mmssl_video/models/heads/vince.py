"""Contrast of all frames of a video with each other (VINCE: Gordon et al., 2020, Sec. 3)."""

import math

import torch
from mmaction.registry import MODELS
from torch import Tensor

from ..gather import gather, own_rows
from ..losses import contrast, info_nce_from_similarities
from ..memory import EmbeddingQueue
from .base import SSLHead, Views, check_segments, percent_nearest


@MODELS.register_module()
class VINCEHead(SSLHead):
    """Every frame of a video attracts every other; frames of other videos repel.

    The S frames of the query view and the S frames of the key view make S * S positive pairs. Each
    has its own InfoNCE loss against all keys of the other videos in the global batch and against a
    queue of earlier keys. The losses are averaged.

    Args:
        projector (dict): Config of the projection; VINCE's embeddings are 64 long with a
            ResNet-18 and 128 with a ResNet-50.
        queue_size (int): Length of the queue, K; VINCE's is 65536.
        temperature (float): VINCE's is 0.07, 0.2 with a ResNet-50.
        num_segments (int): S, frames per view; VINCE's is 4.
        query_view (int): The view through the online encoder.
        key_view (int): The view through the target encoder: the same frames augmented again.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        queue_size: int = 65536,
        temperature: float = 0.07,
        num_segments: int = 4,
        query_view: int = 0,
        key_view: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.temperature = temperature
        self.num_segments = self.keys_per_sample = num_segments
        self.queue = EmbeddingQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """InfoNCE of all pairs of frames; ``acc``: pairs nearer than every negative."""
        (frames,), (key_frames,) = online.values(), target.values()
        check_segments(self, frames)
        check_segments(self, key_frames)
        num_samples, num_frames = frames.shape[:2]
        query = self.embed_online(frames).flatten(0, 1)
        keys = self.embed_target(key_frames)
        batch_keys = gather(keys).flatten(0, 1)
        negatives = torch.cat([batch_keys, self.queue.entries.to(batch_keys.dtype)])

        positives = keys.repeat_interleave(num_frames, dim=0)
        with_positives, with_negatives = contrast(query, positives, negatives, self.temperature)
        videos = torch.arange(len(batch_keys) // num_frames, device=frames.device)
        video = videos[own_rows()].repeat_interleave(num_frames)
        video_of_key = videos.repeat_interleave(num_frames)
        own = video[:, None] == video_of_key
        with_negatives[:, : len(batch_keys)].masked_fill_(
            own, torch.finfo(with_negatives.dtype).min
        )

        self.queue.enqueue(batch_keys)
        return {
            'loss': info_nce_from_similarities(with_positives, with_negatives) * self.loss_weight,
            'acc': percent_nearest(with_positives, with_negatives),
            'pair': (query, keys.roll(1, dims=1).flatten(0, 1)),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln(1 + K + S (N - 1))."""
        queued = self.queue.size if num_filled is None else num_filled
        return math.log1p(queued + self.num_segments * (batch_size - 1))

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(queue_size=20, num_segments=3)

    def describe(self) -> str:
        """The objective in a few words."""
        return (
            f'InfoNCE over all pairs of {self.num_segments} frames, queue {self.queue.size} and '
            f'batch, temperature {self.temperature}'
        )
