"""Invariance with variance and covariance instead of negatives (VICReg)."""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor

from mmssl_video.errors import UserError

from ..gather import gather_with_gradient
from ..precision import at_least_float32
from .base import SSLHead, Views, consensus, normalize, pairs_of_views


@MODELS.register_module()
class VICRegHead(SSLHead):
    r"""Views of one video share an embedding; its dimensions vary and are uncorrelated.

    VICReg (Bardes et al., 2022, Sec. 4.1). With :math:`Z` and :math:`Z'` the embeddings of two
    views, [N, D], not normalised:

    .. math::
        L &= \lambda s(Z, Z') + \mu [v(Z) + v(Z')] / 2 + \nu [c(Z) + c(Z')] \\
        s &= \frac{1}{N D} \sum_n \| z_n - z'_n \|^2 \\
        v &= \frac{1}{D} \sum_d \max(0, 1 - \sqrt{\mathrm{Var}(z^d) + \epsilon}) \\
        c &= \frac{1}{D} \sum_{i \ne j} \mathrm{Cov}(Z)_{ij}^2

    These terms follow the authors' code; the text has neither 1 / D in s nor the half of v.
    Variances and covariances are those of all processes' samples, divided by N - 1. With more than
    two views, s is averaged over their pairs, v over the views, and so is c, times 2.

    Args:
        projector (dict): Config of the expander, a ``ProjectionMLP``; the paper's has three layers
            of 8192. Its last layer has no bias, since a bias would change no term.
        invariance_weight (float): :math:`\lambda`.
        variance_weight (float): :math:`\mu`.
        covariance_weight (float): :math:`\nu`.
        eps (float): :math:`\epsilon`.
        views (Sequence[int]): Views to bring together, two or more.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``invariance_weight`` is not above 0.
    """

    def __init__(
        self,
        projector: dict,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        eps: float = 1e-4,
        views: Sequence[int] = (0, 1),
        loss_weight: float = 1.0,
    ) -> None:
        if invariance_weight <= 0:
            raise UserError(
                f'VICRegHead.invariance_weight is {invariance_weight}; set it above 0, or nothing '
                'brings the views together'
            )
        super().__init__(projector, views, (), loss_weight)
        self.view_pairs = pairs_of_views(views, views)
        self.projector.layers[-1].register_parameter('bias', None)
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.eps = eps

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """The weighted sum; ``invariance``, ``variance`` and ``covariance``: s, v and c."""
        # All views in one batch: the expander normalises over it.
        features = torch.stack([consensus(clips) for clips in online.values()], dim=1)
        embeddings = at_least_float32(self.projector(features))  # [N, V, D]
        with torch.autocast(embeddings.device.type, enabled=False):
            by_view = dict(zip(online, embeddings.unbind(dim=1), strict=True))
            invariance = torch.stack(
                [F.mse_loss(by_view[i], by_view[j]) for i, j in combinations(online, 2)]
            ).mean()
            variance, covariance = self.spread(gather_with_gradient(embeddings))
        loss = (
            self.invariance_weight * invariance
            + self.variance_weight * variance
            + self.covariance_weight * covariance
        )
        directions = {view: normalize(embedding) for view, embedding in by_view.items()}
        return {
            'loss': loss * self.loss_weight,
            'invariance': invariance.detach(),
            'variance': variance.detach(),
            'covariance': covariance.detach(),
            'pair': (
                torch.cat([directions[i] for i, _ in self.view_pairs]),
                torch.cat([directions[j] for _, j in self.view_pairs]),
            ),
        }

    def spread(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and covariance terms of the embeddings [N, V, D] of all processes."""
        centred = embeddings - embeddings.mean(dim=0)
        matrices = torch.einsum('nvi,nvj->vij', centred, centred) / max(1, len(centred) - 1)
        diagonal = matrices.diagonal(dim1=1, dim2=2)
        variance = F.relu(1 - (diagonal + self.eps).sqrt()).mean()
        others = matrices - torch.diag_embed(diagonal)
        covariance = 2 * others.square().sum(dim=2).mean()
        return variance, covariance

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """The lowest loss for two views that have nothing in common.

        If two views are independent and each dimension has the standard deviation σ, s is 2σ² and
        v is 1 - u with u² = σ² + ε, so the minimum is at u = μ / (4λ): 21.87. If all embeddings are
        the same, the loss is μ (1 - √ε), 24.75.
        """
        deviation = min(1.0, self.variance_weight / (4 * self.invariance_weight))
        invariance = 2 * (deviation**2 - self.eps)
        return self.invariance_weight * invariance + self.variance_weight * (1 - deviation)

    def describe(self) -> str:
        """The objective in a few words."""
        weights = self.invariance_weight, self.variance_weight, self.covariance_weight
        return 'invariance, variance and covariance, {:g} : {:g} : {:g}'.format(*weights)
