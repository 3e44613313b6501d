"""Temporal order regularisation (VCLR, Eq. 7-10)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..gather import draw_for_samples
from ..permutations import reorder, shuffles
from ..precision import at_least_float32
from .base import SSLHead, Views, check_segments, percent_correct


@MODELS.register_module()
class OrderHead(SSLHead):
    """Predict which of two tuples has been shuffled: neither, the query, the key, or both.

    Each tuple is shuffled with probability 1/2, by an order drawn uniformly from those that are
    neither the identity nor the plain reversal. The segments' embeddings, each normalised over its
    channels, are concatenated in the order shown, query first, and classified into four by a
    linear layer. Features are permuted, not frames: segments are encoded one by one.

    VCLR's released code normalises over the segments instead of the channels; the text does not.

    Args:
        projector (dict): Config of the projection.
        num_segments (int): S, segments per tuple, 3 or more.
        query_view (int): The view of the anchor tuple.
        key_view (int): The view of the positive tuple, read from the target encoder.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``num_segments`` is below 3: the reversal of two segments is not a shuffle.
    """

    def __init__(
        self,
        projector: dict,
        num_segments: int = 3,
        query_view: int = 0,
        key_view: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        if num_segments < 3:
            raise UserError(
                f'OrderHead.num_segments is {num_segments}; a tuple needs 3 segments or more to '
                'have an order that is neither its own nor its reversal'
            )
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.num_segments = num_segments
        self.classifier = nn.Linear(2 * num_segments * self.projector.out_channels, 4)
        self.register_buffer('shuffles', shuffles(num_segments), persistent=False)

    def draw_orders(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Draw the order of the segments, for one tuple of each sample.

        Returns:
            Orders, int64 [N, S], and whether each is a shuffle, bool [N].
        """
        device = self.shuffles.device
        shuffled = draw_for_samples(partial(torch.rand, device=device), num_samples) < 0.5
        picks = draw_for_samples(
            lambda number: torch.randint(len(self.shuffles), (number,), device=device), num_samples
        )
        identity = torch.arange(self.shuffles.shape[1], device=device)
        return torch.where(shuffled[:, None], self.shuffles[picks], identity), shuffled

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Cross-entropy over the four classes; ``acc``: share of correct predictions."""
        (anchors,), (positives,) = online.values(), target.values()
        check_segments(self, anchors)
        check_segments(self, positives)
        query_order, query_shuffled = self.draw_orders(len(anchors))
        key_order, key_shuffled = self.draw_orders(len(anchors))
        shown = torch.cat(
            [
                reorder(self.embed_online(anchors), query_order).flatten(1),
                reorder(self.embed_target(positives), key_order).flatten(1),
            ],
            dim=1,
        )
        logits = self.classifier(shown)
        # 0 neither, 1 the query, 2 the key, 3 both.
        labels = query_shuffled.long() + 2 * key_shuffled.long()
        return {
            'loss': F.cross_entropy(at_least_float32(logits), labels) * self.loss_weight,
            'acc': percent_correct(logits.argmax(dim=1) == labels),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln 4."""
        return math.log(4)

    def describe(self) -> str:
        """The objective in a few words."""
        return '4-way classification of which tuples are shuffled'
