"""Base of all objectives: a projection, its momentum copy, the views it reads, a loss."""

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..momentum import MomentumCopy, forward_shuffled
from ..precision import at_least_float32

Views = dict[int, Tensor]
"""By a view's index: features [N, S, D] of its S segments, or their maps [N, S, D, T, H, W]."""


class VisibleTokens(NamedTuple):
    """Input of a head that ``masks``, for one view and one mask.

    Attributes:
        tokens: From the online encoder, [N, S, L, D], with gradient.
        visible: Their indices in the clip, int64 [N, S, L].
        clips: The backbone's input, [N, S, C, T, H, W].
    """

    tokens: Tensor
    visible: Tensor
    clips: Tensor


class SSLHead(BaseModule, metaclass=ABCMeta):
    """Base of the self-supervised objectives.

    A head says which views it reads from the online and from the target encoder. The recognizer
    computes each view once and gives it to all heads that read it.

    Attributes:
        reads (tuple[str, ...]): Fields of the data samples that :meth:`loss` takes by name, each
            int64 [N]: ``gt_label`` (for the log only; -1 where unknown, ``None`` without labels),
            or a field that a transform has written and ``PackViews(algorithm_keys=...)`` has
            packed.
        num_classes_of (dict[str, int]): Number of classes C of the fields that are labels: the
            recognizer refuses labels that are not from 0 to C - 1.
        keys_per_sample (int): Embeddings of a sample that go into the head's ``queue``, if it has
            one.
        reads_maps (bool): Whether the head reads the backbone's maps, with T = 1 from a 2D
            backbone, instead of their means over space and time.
        masks (bool): Whether the online encoder sees only a part of each clip: the tokens that the
            head's ``draw_visible`` returns, in one pass for each mask. The online views are then
            lists of :class:`VisibleTokens`, one for each mask. Such a head has ``patch_size`` and
            ``tubelet_size``, the backbone's.
        shuffle_bn (bool): Whether the target projector's batch is shuffled across processes, if it
            has batch normalisation; set by the recognizer.

    Args:
        projector (dict, optional): Config of the projection, e.g. ``dict(type='ProjectionMLP',
            ...)``; a head without one classifies the features directly.
        online_views (tuple[int, ...]): Views that :meth:`loss` reads from the online encoder.
        target_views (tuple[int, ...]): Views that it reads from the target encoder; if there are
            any, the head has a momentum copy of its projector.
        loss_weight (float): Factor of the loss in the sum of all objectives, 0 or more.
        in_channels (int, optional): Length of the backbone feature; by default the projector's.
    """

    reads: tuple[str, ...] = ()
    keys_per_sample: int = 1
    reads_maps: bool = False
    masks: bool = False

    def __init__(
        self,
        projector: dict | None,
        online_views: tuple[int, ...],
        target_views: tuple[int, ...] = (),
        loss_weight: float = 1.0,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.online_views = tuple(online_views)
        self.target_views = tuple(target_views)
        self.loss_weight = loss_weight
        self.num_classes_of: dict[str, int] = {}
        self.shuffle_bn = False
        if projector is not None:
            self.projector = MODELS.build(projector)
            in_channels = getattr(self.projector, 'in_channels', None)
        self.in_channels = in_channels
        if projector is not None and target_views:
            self.target_projector = MomentumCopy(self.projector)

    def embed_online(self, features: Tensor) -> Tensor:
        """Project features [..., D] and L2-normalise the last axis, in float32 at least."""
        return normalize(self.projector(features))

    def embed_target(self, features: Tensor) -> Tensor:
        """The same through the momentum copy, without a gradient.

        The features are back in their original order, since those of a view's segments are averaged
        first. So they are shuffled again: queries must not share batch statistics with their keys.
        """
        if self.shuffle_bn and self.target_projector.has_own_statistics:
            return normalize(forward_shuffled(self.target_projector, features))
        return normalize(self.target_projector(features))

    @abstractmethod
    def loss(self, online: Views, target: Views, **fields: Tensor | None) -> dict[str, Tensor]:
        """Compute the objective on one batch.

        Args:
            online: The head's ``online_views``, each [N, S, D], with gradient; if the head
                ``reads_maps``, [N, S, D, T, H, W]; if it ``masks``, a :class:`VisibleTokens` for
                each mask.
            target: The head's ``target_views``, in the same shapes, without gradient.
            fields: The fields that the head ``reads``.

        Returns:
            ``loss`` (scalar, weighted), scalars to log, e.g. ``acc`` in percent, and, for the
            collapse monitor, ``pair``: L2-normalised queries and their positives, a tuple of two
            [M, D].
        """

    @abstractmethod
    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """The unweighted loss of a head that has learned nothing.

        Args:
            batch_size: Samples of all processes, N.
            num_filled: Entries in the head's queue, if it has one; by default the queue is full.
        """

    def chance_accuracy(self, batch_size: int) -> float:
        """The ``acc`` in percent of a head that has learned nothing, for equally likely classes."""
        return 100 * math.exp(-self.chance_level(batch_size))

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """Arguments of a small head, for the tests of every head.

        It has neither dropout nor batch normalisation. By default, its only argument is a
        projector.

        Args:
            in_channels: Length of a backbone feature.
        """
        return dict(projector=small_mlp(in_channels))

    @abstractmethod
    def describe(self) -> str:
        """The objective in a few words, for the log."""


def small_mlp(in_channels: int) -> dict:
    """Config of a projector or predictor to embeddings of length 6, for :meth:`SSLHead.example`."""
    return dict(type='ProjectionMLP', in_channels=in_channels, hidden_channels=16, out_channels=6)


def build_predictor(predictor: dict, channels: int) -> nn.Module:
    """Build a predictor from embeddings of length ``channels`` to the same length.

    Raises:
        UserError: If the config has other lengths.
    """
    module = MODELS.build(predictor)
    for key in ('in_channels', 'out_channels'):
        if getattr(module, key, channels) != channels:
            raise UserError(
                f'predictor.{key} of a head is {getattr(module, key)}, but its projector gives '
                f'embeddings of {channels}; set it to {channels}'
            )
    return module


def normalize(embeddings: Tensor) -> Tensor:
    """L2-normalise the last axis, in float32 at least.

    The gradient grows with 1 / length. A row shorter than 1e-6, such as the zeros of dead units,
    has no direction: it becomes zeros and gets no gradient.
    """
    embeddings = at_least_float32(embeddings)
    lengths = embeddings.detach().norm(dim=-1, keepdim=True)
    return F.normalize(embeddings.masked_fill(lengths < 1e-6, 0), dim=-1)


def check_segments(head: SSLHead, features: Tensor) -> None:
    """Raise a :class:`UserError` if the head expects another S than that of views [N, S, D]."""
    if features.shape[1] != head.num_segments:
        raise UserError(
            f'{type(head).__name__}.num_segments is {head.num_segments}, but the views have '
            f'{features.shape[1]}; set it to num_segments of the view sampler'
        )


def consensus(features: Tensor) -> Tensor:
    """Average the segments of a view, [N, S, D], to the feature of the whole view, [N, D]."""
    return features.mean(dim=1)


def pairs_of_views(
    query_views: Sequence[int], key_views: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Pair every query view with every key view but itself.

    Raises:
        UserError: If there is no pair, or a view is named twice.
    """
    for views in (query_views, key_views):
        if len(set(views)) < len(views):
            raise UserError(f'views {tuple(views)} of a head: name each view once')
    pairs = tuple((i, j) for i in query_views for j in key_views if i != j)
    if not pairs:
        raise UserError(
            f'query views {tuple(query_views)} and key views {tuple(key_views)} of a head make no '
            'pair of different views; give it two views or more'
        )
    return pairs


def percent_correct(correct: Tensor) -> Tensor:
    """Share of true entries in percent."""
    return correct.float().mean() * 100


def percent_nearest(with_positive: Tensor, with_negatives: Tensor) -> Tensor:
    """Share in percent of positives [N, P] that exceed all negatives [N, K] of their query."""
    if not with_negatives.shape[1]:
        return percent_correct(torch.ones_like(with_positive))
    return percent_correct(with_positive > with_negatives.detach().amax(dim=1, keepdim=True))
