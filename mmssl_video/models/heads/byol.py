"""Prediction of the target network without negatives (BYOL; ρ-BYOL)."""

from collections.abc import Sequence

import torch
from mmaction.registry import MODELS
from torch import Tensor

from ..losses import byol_loss
from .base import SSLHead, Views, build_predictor, consensus, normalize, pairs_of_views, small_mlp


@MODELS.register_module()
class BYOLHead(SSLHead):
    """Predict from a view the target embedding of each other view of its video.

    The online side has a predictor after its projector. The target side has none and gets no
    gradient. The loss is averaged over all ordered pairs of views; BYOL's text adds up its two.

    - BYOL (Grill et al., 2020, Eq. 2): two views.
    - ρ-BYOL (Feichtenhofer et al., 2021, Sec. 3.1): ρ clips, ``views=range(ρ)``.

    Args:
        projector (dict): Config of the projection; ρ-BYOL's is 4096 - BN - ReLU - 256.
        predictor (dict): Config of the prediction, e.g. ``dict(type='ProjectionMLP', ...)``, from
            an embedding to one of the same length; ρ-BYOL's is 4096 - BN - ReLU - 256.
        views (Sequence[int]): Views to pair, two or more.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        predictor: dict,
        views: Sequence[int] = (0, 1),
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, views, views, loss_weight)
        self.predictor = build_predictor(predictor, self.projector.out_channels)
        self.view_pairs = pairs_of_views(views, views)

    def embed_online(self, features: Tensor) -> Tensor:
        """Project features [..., D], predict and L2-normalise, in float32 at least."""
        return normalize(self.predictor(self.projector(features)))

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Squared distance of prediction and target, over all pairs of views."""
        predictions = {view: self.embed_online(consensus(clips)) for view, clips in online.items()}
        targets = {view: self.embed_target(consensus(clips)) for view, clips in target.items()}
        prediction = torch.cat([predictions[i] for i, _ in self.view_pairs])
        positive = torch.cat([targets[j] for _, j in self.view_pairs])
        return {
            'loss': byol_loss(prediction, positive) * self.loss_weight,
            'pair': (prediction, positive),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """2, at right angles."""
        return 2.0

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(predictor=small_mlp(6))

    def describe(self) -> str:
        """The objective in a few words."""
        return 'regression of the target embedding, 2 - 2 cos'
