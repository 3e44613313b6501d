"""Verification of temporal order (Shuffle & Learn: Misra et al., 2016)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..gather import draw_for_samples
from ..precision import at_least_float32
from .base import SSLHead, Views, check_segments, percent_correct


@MODELS.register_module()
class ShuffleLearnHead(SSLHead):
    """Predict whether three segments are in order of time.

    Of five segments a < b < c < d < e, the tuple (b, c, d) is in order, (b, a, d) and (b, e, d)
    are not. All three have the same first and last segment, so only the middle one shows the order.
    The features of a tuple are concatenated and classified into two classes.

    The paper's classifier is a linear layer. Its score is a sum over the three segments, so it
    cannot see whether the middle segment is *between* the others, only whether each looks like the
    middle of such a window. ``tuple_channels`` adds a layer with ReLU before it.

    The paper draws one tuple per video, a share s of them out of order. This head scores all three
    tuples and takes the expectation of that draw:

        (1 - s) CE(b, c, d) + s / 2 (CE(b, a, d) + CE(b, e, d))

    Args:
        in_channels (int): Length of a backbone feature, D.
        negative_share (float): s, between 0 and 1.
        inverted (bool): Whether the tuples of a sample are shown backwards, from d to b, with
            probability 1/2; their labels do not change, since order holds in both directions.
        hidden_channels (int, optional): Length of a fully connected layer with ReLU that each
            feature goes through first, the paper's fc7 (4096 there); None for no such layer.
        tuple_channels (int, optional): Length of a fully connected layer with ReLU that the
            concatenated features go through; None for no such layer, as in the paper.
        dropout (float): Share of the tuple's features that is dropped before the classifier.
        view (int): The view of the five segments, in order of time.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``negative_share`` is not between 0 and 1.
    """

    num_segments = 5

    def __init__(
        self,
        in_channels: int,
        negative_share: float = 0.75,
        inverted: bool = True,
        hidden_channels: int | None = None,
        tuple_channels: int | None = None,
        dropout: float = 0.5,
        view: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        if not 0 < negative_share < 1:
            raise UserError(
                f'ShuffleLearnHead.negative_share is {negative_share}; set it above 0 and below 1, '
                'as tuples of both classes are needed'
            )
        super().__init__(None, (view,), loss_weight=loss_weight, in_channels=in_channels)
        self.negative_share = negative_share
        self.inverted = inverted
        self.frame_layer = self.tuple_layer = nn.Identity()
        if hidden_channels is not None:
            self.frame_layer = nn.Sequential(nn.Linear(in_channels, hidden_channels), nn.ReLU())
            in_channels = hidden_channels
        channels = 3 * in_channels
        if tuple_channels is not None:
            self.tuple_layer = nn.Sequential(nn.Linear(channels, tuple_channels), nn.ReLU())
            channels = tuple_channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, 2)
        tuples = torch.tensor([[1, 2, 3], [1, 0, 3], [1, 4, 3]])  # (b, c, d), (b, a, d), (b, e, d)
        self.register_buffer('tuples', tuples, persistent=False)
        self.register_buffer('labels', torch.tensor([1, 0, 0]), persistent=False)

    def make_tuples(self, features: Tensor) -> Tensor:
        """Make tuples [N, 3, 3, D] of features [N, 5, D]: one in order, two out of order."""
        shown = features[:, self.tuples]
        if self.inverted:
            draw = partial(torch.rand, device=features.device)
            backwards = draw_for_samples(draw, len(features)) < 0.5
            shown = torch.where(backwards[:, None, None, None], shown.flip(2), shown)
        return shown

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Cross-entropy over in order or not; ``acc``: as if both classes were equally frequent.

        ``acc`` averages the accuracies of the two classes. The decision subtracts from the margin
        the part that comes from the frequencies of the classes, ln((1 - s) / s).
        """
        (segments,) = online.values()
        check_segments(self, segments)
        shown = self.make_tuples(self.frame_layer(segments)).flatten(2)
        logits = self.classifier(self.dropout(self.tuple_layer(shown)))
        labels = self.labels.expand(len(logits), -1)
        losses = F.cross_entropy(at_least_float32(logits).transpose(1, 2), labels, reduction='none')
        in_order, before, after = losses.mean(dim=0)
        share = self.negative_share
        loss = (1 - share) * in_order + share / 2 * (before + after)
        margin = logits[..., 1] - logits[..., 0] - math.log((1 - share) / share)
        correct = (margin > 0) == (labels > 0)
        return {
            'loss': loss * self.loss_weight,
            'acc': (percent_correct(correct[:, :1]) + percent_correct(correct[:, 1:])) / 2,
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """Entropy of the labels, -s ln s - (1 - s) ln(1 - s); 0.562 at s = 0.75."""
        share = self.negative_share
        return -share * math.log(share) - (1 - share) * math.log(1 - share)

    def chance_accuracy(self, batch_size: int) -> float:
        """50: ``acc`` is balanced for any share of tuples out of order."""
        return 50.0

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(in_channels=in_channels, negative_share=0.5, hidden_channels=7, dropout=0.0)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'2-way verification of order, {self.negative_share:.0%} of tuples out of order'
