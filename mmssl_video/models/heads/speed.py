"""Prediction of whether a clip is sped up (SpeedNet: Benaim et al., 2020)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..precision import at_least_float32
from .base import SSLHead, Views, percent_correct


@MODELS.register_module()
class SpeedHead(SSLHead):
    """Predict whether a clip has normal speed or is sped up (SpeedNet, Sec. 3).

    Both clips of a video are in one batch, as views of one sample: ``SamplePace(every=True)``. The
    backbone's map is reduced by the maximum over space, since one fast object is enough, and then
    by the mean over time; a linear layer turns it into one logit.

    Args:
        in_channels (int): Channels of the backbone's map, D.
        views (Sequence[int]): The view at normal speed, then the view that is sped up.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``views`` are not two different views.
    """

    reads_maps = True

    def __init__(
        self, in_channels: int, views: Sequence[int] = (0, 1), loss_weight: float = 1.0
    ) -> None:
        if len(views) != 2 or views[0] == views[1]:
            raise UserError(
                f'SpeedHead.views is {tuple(views)}; name two different views, the normal one and '
                'the one that is sped up'
            )
        super().__init__(None, views, loss_weight=loss_weight, in_channels=in_channels)
        self.classifier = nn.Linear(in_channels, 1)

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Binary cross-entropy over the clips of both; ``acc``: share of correct predictions."""
        pooled = [online[view].amax(dim=(-2, -1)).mean(dim=-1) for view in self.online_views]
        logits = at_least_float32(torch.stack([self.classifier(clips) for clips in pooled]))
        sped_up = torch.zeros_like(logits)
        sped_up[1] = 1
        return {
            'loss': F.binary_cross_entropy_with_logits(logits, sped_up) * self.loss_weight,
            'acc': percent_correct((logits > 0) == (sped_up > 0)),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln 2."""
        return math.log(2)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(in_channels=in_channels)

    def describe(self) -> str:
        """The objective in a few words."""
        return '2-way classification of clips, normal or sped up'
