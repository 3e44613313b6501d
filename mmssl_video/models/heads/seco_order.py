"""Prediction of the order of one frame and two others (SeCo: Yao et al., 2021)."""

import math

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..precision import at_least_float32
from .base import SSLHead, Views, percent_correct


@MODELS.register_module()
class SeCoOrderHead(SSLHead):
    """Predict whether a frame comes before or after two others, which are in order.

    ``SampleHalves`` draws a query frame from one half of the video and two frames from the other
    half. A linear layer reads the query's embedding concatenated with those of the other two, which
    have no gradient. The sampler writes the label ``query_in_second_half``, and
    ``PackViews(algorithm_keys=('query_in_second_half',))`` packs it.

    Args:
        projector (dict): Config of the projection.
        query_view (int): The view whose first segment is the query.
        key_view (int): The view of the triple (query, earlier frame, later frame), read from the
            target encoder.
        loss_weight (float): Factor of the loss.
    """

    reads = ('query_in_second_half',)

    def __init__(
        self, projector: dict, query_view: int = 0, key_view: int = 1, loss_weight: float = 1.0
    ) -> None:
        super().__init__(projector, (query_view,), (key_view,), loss_weight)
        self.num_classes_of = dict(query_in_second_half=2)
        self.classifier = nn.Linear(3 * self.projector.out_channels, 2)

    def loss(self, online: Views, target: Views, query_in_second_half: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over before and after; ``acc``: share of correct predictions."""
        (queries,), (triples,) = online.values(), target.values()
        if triples.shape[1] != 3:
            raise UserError(
                f'SeCoOrderHead: key view {self.target_views[0]} has {triples.shape[1]} segments, '
                'not the 3 of a triple; set key_view to the second view of SampleHalves'
            )
        query = self.embed_online(queries[:, 0])
        others = self.embed_target(triples[:, 1:])
        logits = at_least_float32(self.classifier(torch.cat([query, others.flatten(1)], dim=1)))
        return {
            'loss': F.cross_entropy(logits, query_in_second_half) * self.loss_weight,
            'acc': percent_correct(logits.argmax(dim=1) == query_in_second_half),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln 2."""
        return math.log(2)

    def describe(self) -> str:
        """The objective in a few words."""
        return '2-way classification: is the frame before or after the other two'
