"""Swapped prediction of cluster assignments (SwAV; ρ-SwAV)."""

import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..gather import gather, own_rows
from ..losses import sinkhorn, swapped_prediction
from ..memory import EmbeddingQueue
from .base import SSLHead, Views, consensus, normalize, pairs_of_views, percent_correct


@MODELS.register_module()
class SwAVHead(SSLHead):
    """Predict the assignment of a view to prototypes from each other view of its video.

    Prototypes are learned unit vectors. For one view of all processes' videos, Sinkhorn-Knopp turns
    the similarities with the prototypes into codes that use every prototype equally. A code has no
    gradient and is the label of the other views. The loss is averaged over all ordered pairs of
    views.

    - SwAV (Caron et al., 2020, Alg. 1, Eq. 2-3), without multi-crop: two views.
    - ρ-SwAV (Feichtenhofer et al., 2021, Sec. 3.1): ρ clips, ``views=range(ρ)``.

    A batch that is small compared with the number of prototypes cannot use them equally. A queue of
    earlier embeddings can then join the batch, only in Sinkhorn-Knopp. It fills from the beginning,
    and is used from ``queue_start_epoch`` on, once it is full.

    The epoch comes from the ``HeadEpochHook``; without the hook, a head with ``freeze_epochs`` or a
    queue refuses to train. The hook also keeps frozen prototypes out of the optimiser's steps.

    Args:
        projector (dict): Config of the projection.
        num_prototypes (int): P; ρ-SwAV's is 1000, SwAV's 3000.
        temperature (float): SwAV's is 0.1.
        epsilon (float): Weight of the codes' entropy; SwAV's is 0.05.
        sinkhorn_iterations (int): SwAV's is 3.
        views (Sequence[int]): Views to pair, two or more.
        queue_size (int): Samples in the queue; 0 for none. SwAV's is 3840 for small batches.
        queue_start_epoch (int): First epoch, counted from 0, in which codes use the queue.
        freeze_epochs (int): Epochs at the beginning in which the prototypes do not change.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        projector: dict,
        num_prototypes: int = 1000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        sinkhorn_iterations: int = 3,
        views: Sequence[int] = (0, 1),
        queue_size: int = 0,
        queue_start_epoch: int = 15,
        freeze_epochs: int = 1,
        loss_weight: float = 1.0,
    ) -> None:
        if sinkhorn_iterations < 1:
            raise UserError(
                f'SwAVHead.sinkhorn_iterations is {sinkhorn_iterations}; it must be 1 or more'
            )
        super().__init__(projector, views, (), loss_weight)
        self.view_pairs = pairs_of_views(views, views)
        self.temperature = temperature
        self.epsilon = epsilon
        self.sinkhorn_iterations = sinkhorn_iterations
        self.queue_start_epoch = queue_start_epoch
        self.freeze_epochs = freeze_epochs
        self.prototypes = nn.Linear(self.projector.out_channels, num_prototypes, bias=False)
        # An entry is a sample: the embeddings of its views, one after another.
        channels = len(self.online_views) * self.projector.out_channels
        self.queue = EmbeddingQueue(queue_size, channels) if queue_size else None
        self.epoch: int | None = None if freeze_epochs or queue_size else 0
        self.warned = False

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch that begins, counted from 0."""
        self.epoch = epoch

    @property
    def frozen_parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser must not change in this epoch."""
        return [self.prototypes.weight] if self.epoch < self.freeze_epochs else []

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Swapped prediction of all pairs of views.

        ``acc``: share of predictions with the same largest entry as the code.
        """
        if self.epoch is None:
            raise UserError(
                'SwAVHead has freeze_epochs or a queue, but does not know the epoch; add '
                "dict(type='HeadEpochHook') to custom_hooks"
            )
        if not self.frozen_parameters:
            with torch.no_grad():
                self.prototypes.weight.copy_(normalize(self.prototypes.weight))
        # All views in one batch, as in the paper, where the projection normalises over it.
        features = torch.stack([consensus(clips) for clips in online.values()], dim=1)
        embeddings = self.embed_online(features)
        scores = dict(zip(online, self._score(embeddings).unbind(dim=1), strict=True))
        codes = dict(zip(online, self._assign(embeddings).unbind(dim=1), strict=True))
        embeddings = dict(zip(online, embeddings.unbind(dim=1), strict=True))
        predicted = torch.cat([scores[i] for i, _ in self.view_pairs])
        assigned = torch.cat([codes[j] for _, j in self.view_pairs])
        loss = swapped_prediction(predicted, assigned, self.temperature)
        return {
            'loss': loss * self.loss_weight,
            'acc': percent_correct(predicted.argmax(dim=1) == assigned.argmax(dim=1)),
            'pair': (
                torch.cat([embeddings[i] for i, _ in self.view_pairs]),
                torch.cat([embeddings[j] for _, j in self.view_pairs]),
            ),
        }

    def _score(self, embeddings: Tensor) -> Tensor:
        """Similarities of embeddings [..., D] with the prototypes, [..., P]."""
        prototypes = self.prototypes.weight.to(embeddings.dtype)
        if self.frozen_parameters:
            # A gradient of zeros, since DDP would wait forever for one that is None.
            prototypes = normalize(prototypes.detach()) + 0 * prototypes
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(embeddings, prototypes)

    @torch.no_grad()
    def _assign(self, embeddings: Tensor) -> Tensor:
        """Codes [N, V, P] of this process's embeddings [N, V, D], balanced over all processes."""
        batch = gather(embeddings)
        if self.queue is not None:
            queued = self.queue.entries
            self.queue.enqueue(batch.flatten(1))
            if self.epoch >= self.queue_start_epoch and len(queued) == self.queue.size:
                batch = torch.cat([batch, queued.unflatten(1, embeddings.shape[1:])])
        num_prototypes = len(self.prototypes.weight)
        if not self.warned and len(batch) < num_prototypes:
            self.warned = True
            print_log(
                f'SwAVHead: {len(batch)} samples, with the queue where it is in use, cannot use '
                f'{num_prototypes} prototypes equally; lower num_prototypes, or raise queue_size '
                'and lower queue_start_epoch',
                'current',
                logging.WARNING,
            )
        scores = self._score(batch).transpose(0, 1)
        codes = sinkhorn(scores, self.epsilon, self.sinkhorn_iterations).transpose(0, 1)
        return codes[: len(embeddings) * get_world_size()][own_rows()]

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln P."""
        return math.log(len(self.prototypes.weight))

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(num_prototypes=4, freeze_epochs=0)

    def describe(self) -> str:
        """The objective in a few words."""
        queue = ''
        if self.queue is not None:
            queue = f', queue {self.queue.size} from epoch {self.queue_start_epoch}'
        return (
            f'swapped prediction over {len(self.prototypes.weight)} prototypes, '
            f'temperature {self.temperature}{queue}'
        )
