"""What every objective has: a projection, its momentum copy, the views it reads, a loss."""

from abc import ABCMeta, abstractmethod

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from mmssl_video.errors import UserError

from ..momentum import MomentumCopy

Views = dict[int, Tensor]
"""View index to features [N, S, D] of its S segments."""


class SSLHead(BaseModule, metaclass=ABCMeta):
    """Base of the self-supervised objectives.

    A head says which views it reads from the online and from the target encoder; the recognizer
    computes each of them once and hands it to all heads that ask for it.

    Args:
        projector (dict): Config of the projection, e.g. ``dict(type='ProjectionMLP', ...)``.
        online_views (tuple[int, ...]): Views that :meth:`loss` reads from the online encoder.
        target_views (tuple[int, ...]): Views that it reads from the target encoder; with any, the
            head has a momentum copy of its projector.
        loss_weight (float): Factor of the loss in the sum of all objectives.
    """

    def __init__(
        self,
        projector: dict,
        online_views: tuple[int, ...],
        target_views: tuple[int, ...],
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.online_views = online_views
        self.target_views = target_views
        self.loss_weight = loss_weight
        self.projector = MODELS.build(projector)
        if target_views:
            self.target_projector = MomentumCopy(self.projector)

    def embed_online(self, features: Tensor) -> Tensor:
        """Project features [..., D] and L2-normalise the last axis, in float32 at least."""
        return _normalize(self.projector(features))

    def embed_target(self, features: Tensor) -> Tensor:
        """The same through the momentum copy, without a gradient."""
        return _normalize(self.target_projector(features))

    @abstractmethod
    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Compute the objective on one batch.

        Args:
            online: The head's ``online_views``, each [N, S, D], with gradient.
            target: The head's ``target_views``, each [N, S, D], without.

        Returns:
            ``loss`` (scalar, weighted) and scalars to be logged, e.g. ``acc`` in percent.
        """

    @property
    @abstractmethod
    def chance_level(self) -> float:
        """The unweighted loss of a head that has learned nothing."""

    @abstractmethod
    def describe(self) -> str:
        """The objective in a few words, for the log."""


def _normalize(embeddings: Tensor) -> Tensor:
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    return F.normalize(embeddings, dim=-1)


def check_segments(head: SSLHead, features: Tensor) -> None:
    """Raise a :class:`UserError` if views [N, S, D] have other segments than the head's."""
    if features.shape[1] != head.num_segments:
        raise UserError(
            f'{type(head).__name__}.num_segments is {head.num_segments}, but the views have '
            f'{features.shape[1]}; set it to num_segments of the view sampler'
        )


def percent_correct(correct: Tensor) -> Tensor:
    """Share of true entries in percent."""
    return correct.float().mean() * 100
