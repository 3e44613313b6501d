"""Prediction of the order of clips or frames (VCOP: Xu et al., 2019; OPN: Lee et al., 2017)."""

import math

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..gather import draw_for_samples
from ..permutations import order_classes, pairwise, reorder
from ..precision import at_least_float32
from .base import SSLHead, Views, check_segments, percent_correct


@MODELS.register_module()
class PermutationHead(SSLHead):
    """Predict the order in which the segments of a view are shown.

    One of the S! orders is drawn for each sample, and the features are reordered by it: segments
    are encoded one by one, so no pixels need to be shuffled. Each pair of features, concatenated,
    goes through one fully connected layer; a linear layer classifies the outputs of all pairs.

    Since only features are shuffled, further orders of a sample cost almost nothing. With
    ``orders_per_sample=M``, M different orders are drawn; the mean of their losses has the same
    expectation as the papers' single draw, and far less noise. M = S! uses all orders.

    - VCOP (Xu et al., 2019, Sec. 3.3): 3 clips, 3! = 6 classes.
    - OPN (Lee et al., 2017): 4 frames, an order and its reverse are one class, 4! / 2 = 12
      classes; ``up_to_reversal=True, norm=True``. The released code normalises the batch of each
      pair by itself, this head all pairs together.

    Args:
        in_channels (int): Length of a backbone feature, D.
        num_segments (int): S, segments of the view, 2 to 5.
        up_to_reversal (bool): Whether an order and its reverse are one class.
        hidden_channels (int): Length of a pair's feature.
        orders_per_sample (int): M, orders that each sample is shown in, 1 to S!.
        norm (bool): Whether batch normalisation follows the layer of the pairs.
        dropout (float): Share of the pairs' features that is dropped before the classifier.
        view (int): The view whose segments are shown, in order of time.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``num_segments`` is not from 2 to 5, or is 2 with ``up_to_reversal``, or
            ``orders_per_sample`` is not from 1 to S!.
    """

    def __init__(
        self,
        in_channels: int,
        num_segments: int = 3,
        up_to_reversal: bool = False,
        hidden_channels: int = 512,
        orders_per_sample: int = 1,
        norm: bool = False,
        dropout: float = 0.5,
        view: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        if not 2 <= num_segments <= 5:
            raise UserError(
                f'PermutationHead.num_segments is {num_segments}; set it to 2 to 5, which make 2 '
                'to 120 orders'
            )
        if up_to_reversal and num_segments == 2:
            raise UserError(
                'PermutationHead.num_segments is 2, which makes one class up to reversal; set it '
                'to 3 or more, or up_to_reversal=False'
            )
        if not 1 <= orders_per_sample <= math.factorial(num_segments):
            raise UserError(
                f'PermutationHead.orders_per_sample is {orders_per_sample}; {num_segments} '
                f'segments have {math.factorial(num_segments)} orders, so set it to 1 or more, up '
                'to these'
            )
        super().__init__(None, (view,), loss_weight=loss_weight, in_channels=in_channels)
        self.num_segments = num_segments
        self.orders_per_sample = orders_per_sample
        orders, classes, self.num_classes = order_classes(num_segments, up_to_reversal)
        self.register_buffer('orders', orders, persistent=False)
        self.register_buffer('classes', classes, persistent=False)
        self.pair_layer = nn.Sequential(nn.Linear(2 * in_channels, hidden_channels))
        if norm:
            self.pair_layer.append(nn.BatchNorm1d(hidden_channels))
        self.pair_layer.append(nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(math.comb(num_segments, 2) * hidden_channels, self.num_classes)

    def draw_orders(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Draw the orders of the segments of each sample.

        Returns:
            Orders, int64 [N M, S], the M of a sample next to each other, and their classes [N M].
        """
        # The places of the M largest random numbers are a uniform draw without replacement.
        numbers = draw_for_samples(
            lambda number: torch.rand(number, len(self.orders), device=self.orders.device),
            num_samples,
        )
        picks = numbers.topk(self.orders_per_sample).indices.flatten()
        return self.orders[picks], self.classes[picks]

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Cross-entropy over the classes of orders; ``acc``: share of correct predictions."""
        (segments,) = online.values()
        check_segments(self, segments)
        orders, labels = self.draw_orders(len(segments))
        segments = segments.repeat_interleave(self.orders_per_sample, dim=0)
        pairs = pairwise(reorder(segments, orders))
        hidden = self.pair_layer(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])
        logits = self.classifier(self.dropout(hidden.flatten(1)))
        return {
            'loss': F.cross_entropy(at_least_float32(logits), labels) * self.loss_weight,
            'acc': percent_correct(logits.argmax(dim=1) == labels),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln of the number of classes."""
        return math.log(self.num_classes)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(in_channels=in_channels, hidden_channels=7, dropout=0.0)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'{self.num_classes}-way classification of the order of {self.num_segments} segments'
