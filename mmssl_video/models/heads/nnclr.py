"""Nearest-neighbour contrast (NNCLR: Dwibedi et al., 2021)."""

import math
from collections.abc import Sequence

import torch
from mmaction.registry import MODELS
from mmengine.dist import get_world_size
from torch import Tensor

from ..gather import gather, gather_with_gradient, own_rows
from ..losses import info_nce_in_batch
from ..memory import SupportQueue
from .base import (
    SSLHead,
    Views,
    build_predictor,
    consensus,
    normalize,
    pairs_of_views,
    percent_correct,
    small_mlp,
)


@MODELS.register_module()
class NNCLRHead(SSLHead):
    r"""The neighbour of one view, from other videos, attracts the prediction of another view.

    .. math:: L_{ij} = -\log \frac{e^{NN(z_i, Q) \cdot p_j / \tau}}
                                  {\sum_n e^{NN(z_i, Q) \cdot p_j^n / \tau}}

    (Eq. 3) with :math:`z` the projections, :math:`p` the predictions of all videos in the global
    batch and :math:`Q` the support set, a queue of the first view's projections without gradient.
    The loss is averaged over all ordered pairs of views. There is no momentum encoder.

    Args:
        projector (dict): Config of the projection; the paper's has 3 layers, each with BN.
        predictor (dict): Config of the prediction; the paper's has 2 layers, 4096 wide.
        queue_size (int): Length of the support set; the paper's 98304 is recalled, not verified.
        temperature (float): The paper's 0.1 is recalled, not verified.
        views (Sequence[int]): Views to pair, two or more.
        loss_weight (float): Factor of the loss.
    """

    reads = ('gt_label',)

    def __init__(
        self,
        projector: dict,
        predictor: dict,
        queue_size: int = 98304,
        temperature: float = 0.1,
        views: Sequence[int] = (0, 1),
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, views, (), loss_weight)
        self.predictor = build_predictor(predictor, self.projector.out_channels)
        self.view_pairs = pairs_of_views(views, views)
        self.temperature = temperature
        self.queue = SupportQueue(queue_size, self.projector.out_channels)

    def loss(self, online: Views, target: Views, gt_label: Tensor | None) -> dict[str, Tensor]:
        """InfoNCE of neighbours and predictions; ``purity``: neighbours with the query's label."""
        projected = {view: self.projector(consensus(clips)) for view, clips in online.items()}
        predicted = {view: normalize(self.predictor(x)) for view, x in projected.items()}
        embedded = {view: normalize(x).detach() for view, x in projected.items()}
        gathered = gather_with_gradient(torch.stack(list(predicted.values()), dim=1))
        candidates = dict(zip(predicted, gathered.unbind(dim=1), strict=True))
        neighbours = {view: self.queue.nearest(x) for view, x in embedded.items()}

        first = embedded[self.online_views[0]]
        own = torch.arange(len(first) * get_world_size(), device=first.device)[own_rows()]
        losses, correct = zip(
            *(
                info_nce_in_batch(neighbours[i][0], candidates[j], own, self.temperature)
                for i, j in self.view_pairs
            ),
            strict=True,
        )
        purity = self.queue.purity(neighbours[self.online_views[0]][1], gt_label)
        labels = None if gt_label is None else gather(gt_label)
        self.queue.enqueue(gather(first), labels)
        return {
            'loss': torch.stack(losses).mean() * self.loss_weight,
            'acc': percent_correct(torch.stack(correct)),
            **purity,
            'pair': (
                torch.cat([predicted[j] for _, j in self.view_pairs]),
                torch.cat([embedded[i] for i, _ in self.view_pairs]),
            ),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln N."""
        return math.log(batch_size)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(predictor=small_mlp(6), queue_size=20)

    def describe(self) -> str:
        """The objective in a few words."""
        return (
            f'InfoNCE of neighbours over the batch, support set {self.queue.size}, '
            f'temperature {self.temperature}'
        )
