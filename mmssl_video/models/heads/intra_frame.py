"""Intra-frame instance discrimination (SeCo; VCLR, Eq. 3)."""

import math

import torch
from mmaction.registry import MODELS
from torch import Tensor

from mmssl_video.errors import UserError

from ..losses import contrast, info_nce_from_similarities
from .base import SSLHead, Views, check_segments, percent_nearest
from .inter_frame import draw_query_segment


@MODELS.register_module()
class IntraFrameHead(SSLHead):
    """Find a frame's second augmentation among the other frames of its own video.

    The query is one frame ``v1`` of the anchor tuple, the positive its second augmentation
    ``v1'``; the only negatives are the tuple's other frames, ``v2`` and ``v3``.

    Args:
        projector (dict): Config of the projection.
        temperature (float): VCLR's is 0.1.
        pairwise (bool): ``False``: one problem over all frames, as in VCLR's text. ``True``: the
            mean of 2-way problems, ``v1'`` against each other frame, as in SeCo and VCLR's
            released code.
        query_segment (int | str): Segment of ``v1``, or ``'random'`` for a draw per sample.
        query_view (int): The view of the anchor tuple; it needs only the query's segment.
        key_view (int): The view of its second augmentation.
        num_segments (int): S, frames per tuple, 2 or more.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        temperature: float = 0.1,
        pairwise: bool = False,
        query_segment: int | str = 'random',
        query_view: int = 0,
        key_view: int = 2,
        num_segments: int = 3,
        loss_weight: float = 1.0,
    ) -> None:
        if num_segments < 2:
            raise UserError(
                f'IntraFrameHead.num_segments is {num_segments}; set it to 2 or more, as a frame '
                'is compared with others of its video'
            )
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.temperature = temperature
        self.pairwise = pairwise
        self.query_segment = query_segment
        self.num_segments = num_segments

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """InfoNCE within each video; ``acc``: queries nearest to their own frame."""
        (anchors,), (keys,) = online.values(), target.values()
        check_segments(self, keys)
        num_samples, num_segments = keys.shape[:2]
        samples = torch.arange(num_samples, device=anchors.device)
        segment = draw_query_segment(self.query_segment, anchors, keys)
        query = self.embed_online(anchors[samples, segment])
        keys = self.embed_target(keys)
        others = torch.arange(1, num_segments, device=anchors.device) + segment[:, None]
        negatives = keys[samples[:, None], others % num_segments]
        with_own, with_others = contrast(query, keys[samples, segment], negatives, self.temperature)
        if self.pairwise:
            pairs = with_own.expand_as(with_others).reshape(-1, 1), with_others.reshape(-1, 1)
            loss = info_nce_from_similarities(*pairs)
        else:
            loss = info_nce_from_similarities(with_own, with_others)
        return {
            'loss': loss * self.loss_weight,
            'acc': percent_nearest(with_own, with_others),
            'pair': (query, keys[samples, segment]),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln S, or ln 2 of the pairwise form."""
        return math.log(2 if self.pairwise else self.num_segments)

    def describe(self) -> str:
        """The objective in a few words."""
        ways = 'pairs' if self.pairwise else f'{self.num_segments} frames'
        return f'InfoNCE within a video over {ways}, temperature {self.temperature}'
