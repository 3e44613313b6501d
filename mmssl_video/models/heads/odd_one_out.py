"""Prediction of the clip with its frames out of order (O3N: Fernando et al., 2017)."""

import math

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..gather import draw_for_samples
from ..permutations import reorder
from ..precision import at_least_float32
from .base import SSLHead, Views, check_segments, percent_correct


@MODELS.register_module()
class OddOneOutHead(SSLHead):
    """Predict which clip of a video has its frames in a wrong order.

    ``SampleOddOneOut`` permutes the frames of one clip and writes its place as the label
    ``odd_one``; ``PackViews(algorithm_keys=('odd_one',))`` packs it. The clips' features are fused,
    then classified by two layers.

    The clips come from anywhere in the video, in no order, so the head may reorder their features;
    the label changes with them. With ``orders_per_sample=M`` it shows M orders: the mean of their
    losses has the same expectation as the paper's single loss and far less noise, since all places
    of the odd clip are tried.

    O3N (Fernando et al., 2017) has 6 clips and fuses after the first fully connected layer of an
    AlexNet; here the fusion follows the backbone, and ``hidden_channels`` is our choice.

    Args:
        in_channels (int): Length of a backbone feature, D.
        num_segments (int): S, clips of the view and classes, 2 or more.
        fusion (str): ``'concat'``: the features concatenated, [S D]; ``'difference'``: the sum of
            their differences f_i - f_j over all pairs i < j, [D]. With an odd number of clips, the
            middle one cancels out of this sum.
        hidden_channels (int): Length of the fully connected layer with ReLU after the fusion.
        orders_per_sample (int): M, orders in which each sample's clips are shown.
        dropout (float): Share of that layer's outputs that is dropped before the classifier.
        view (int): The view of the clips.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``num_segments`` is below 2, ``orders_per_sample`` below 1, or ``fusion``
            unknown.
    """

    reads = ('odd_one',)

    def __init__(
        self,
        in_channels: int,
        num_segments: int = 6,
        fusion: str = 'concat',
        hidden_channels: int = 512,
        orders_per_sample: int = 1,
        dropout: float = 0.5,
        view: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        if num_segments < 2:
            raise UserError(
                f'OddOneOutHead.num_segments is {num_segments}; set it to 2 or more, as a '
                'single clip cannot be the odd one'
            )
        if orders_per_sample < 1:
            raise UserError(
                f'OddOneOutHead.orders_per_sample is {orders_per_sample}; set it to 1 or more'
            )
        if fusion not in ('concat', 'difference'):
            raise UserError(
                f"OddOneOutHead.fusion is {fusion!r}; set it to 'concat' or 'difference'"
            )
        super().__init__(None, (view,), loss_weight=loss_weight, in_channels=in_channels)
        self.num_segments = num_segments
        self.num_classes_of = dict(odd_one=num_segments)
        self.fusion = fusion
        self.orders_per_sample = orders_per_sample
        fused_channels = in_channels * (num_segments if fusion == 'concat' else 1)
        self.classifier = nn.Sequential(
            nn.Linear(fused_channels, hidden_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_channels, num_segments),
        )

    def show(self, clips: Tensor, odd_one: Tensor) -> tuple[Tensor, Tensor]:
        """Show features [N, S, D] in M random orders.

        Returns:
            Features [N M, S, D], those of a sample next to each other, and the places of the odd
            clips, int64 [N M].
        """
        shape = self.orders_per_sample, clips.shape[1]
        numbers = draw_for_samples(
            lambda number: torch.rand(number, *shape, device=clips.device), len(clips)
        )
        clips = clips.repeat_interleave(self.orders_per_sample, dim=0)
        odd_one = odd_one.repeat_interleave(self.orders_per_sample)
        orders = numbers.flatten(0, 1).argsort(dim=1)
        return reorder(clips, orders), (orders == odd_one[:, None]).long().argmax(dim=1)

    def fuse(self, features: Tensor) -> Tensor:
        """Fuse features [N, S, D] to [N, S D] or [N, D]."""
        if self.fusion == 'concat':
            return features.flatten(1)
        # f_i is added in its pairs with later clips, and subtracted in those with earlier clips.
        last = self.num_segments - 1
        signs = torch.arange(last, -last - 1, -2, device=features.device)
        return (features * signs[:, None]).sum(dim=1)

    def loss(self, online: Views, target: Views, odd_one: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over the clips' places; ``acc``: share of correct predictions."""
        (clips,) = online.values()
        check_segments(self, clips)
        shown, labels = self.show(clips, odd_one)
        logits = self.classifier(self.fuse(shown))
        return {
            'loss': F.cross_entropy(at_least_float32(logits), labels) * self.loss_weight,
            'acc': percent_correct(logits.argmax(dim=1) == labels),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln S."""
        return math.log(self.num_segments)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(in_channels=in_channels, num_segments=3, hidden_channels=7, dropout=0.0)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'{self.num_segments}-way classification of the clip out of order, {self.fusion}'
