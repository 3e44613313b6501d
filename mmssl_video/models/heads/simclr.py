"""Contrast within the batch (SimCLR; CVRL; ρ-SimCLR)."""

import math
from collections.abc import Sequence

import torch
from mmaction.registry import MODELS
from torch import Tensor

from ..gather import gather_with_gradient, own_rows
from ..losses import info_nce_from_similarities, nt_xent_similarities
from .base import SSLHead, Views, consensus, pairs_of_views, percent_nearest


@MODELS.register_module()
class SimCLRHead(SSLHead):
    """Views of one video attract each other, the other videos of the batch repel.

    NT-Xent over the batch of all processes: with two views of N videos, each of the 2N embeddings
    has to find its partner, the other view of its video, among all others. With more than two
    views, the losses of all pairs are averaged. There is no momentum encoder and no queue.

    - SimCLR (Chen et al., 2020, Eq. 1), CVRL (Qian et al., 2021, Eq. 1): two views.
    - ρ-SimCLR (Feichtenhofer et al., 2021, Sec. 3.1): ρ clips, ``views=range(ρ)``. Its released
      code pairs neighbouring clips only; the text pairs all.

    Args:
        projector (dict): Config of the projection.
        temperature (float): CVRL's and ρ-SimCLR's is 0.1.
        views (Sequence[int]): Views to pair, two or more.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        temperature: float = 0.1,
        views: Sequence[int] = (0, 1),
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(projector, views, (), loss_weight)
        self.view_pairs = pairs_of_views(views, views)
        self.temperature = temperature

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """NT-Xent of all pairs of views; ``acc``: embeddings nearest to their partner."""
        # All views in one batch, as in the paper, where the projection normalises over it.
        features = torch.stack([consensus(clips) for clips in online.values()], dim=1)
        embeddings = self.embed_online(features)
        own = own_rows()
        gathered = gather_with_gradient(embeddings).unbind(dim=1)
        by_view = dict(zip(online, gathered, strict=True))
        similarities = [
            nt_xent_similarities(by_view[i], by_view[j], self.temperature, own)
            for i, j in self.view_pairs
        ]
        with_partner, with_others = map(torch.cat, zip(*similarities, strict=True))
        return {
            'loss': info_nce_from_similarities(with_partner, with_others) * self.loss_weight,
            'acc': percent_nearest(with_partner, with_others),
            'pair': (
                torch.cat([by_view[i][own] for i, _ in self.view_pairs]),
                torch.cat([by_view[j][own] for _, j in self.view_pairs]),
            ),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln(2N - 1)."""
        return math.log(2 * batch_size - 1)

    def describe(self) -> str:
        """The objective in a few words."""
        return f'NT-Xent over the batch, temperature {self.temperature}'
