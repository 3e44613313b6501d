"""Prediction of the maps of later clips (DPC: Han et al., 2019; MemDPC: Han et al., 2020)."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..conv_gru import ConvGRU
from ..gather import gather_with_gradient, own_rows
from ..losses import dense_contrast, map_vectors
from .base import SSLHead, Views, normalize, percent_correct


@MODELS.register_module()
class DPCHead(SSLHead):
    """Predict the maps of a view's last clips from the clips before (DPC: Han et al., 2019).

    The clips are DPC's *blocks*. Each is encoded by itself, and its map is averaged over time. A
    ConvGRU reads the first blocks, and two 1x1 convolutions predict the next one's map from its
    state. The ConvGRU then reads this prediction, and so on for ``num_predicted`` blocks.

    The vector predicted for a place has to find the true vector among those of all predicted
    blocks, all places and all samples of all processes (:func:`dense_contrast`). So it has three
    kinds of negatives: *temporal*, its own place in other blocks of its video; *spatial*, other
    places of its video; and *easy*, other videos. The blocks need the same crop and flip, or a
    place is not the same in all of them. Gradients go into the true maps as well.

    The authors' ResNets have 256 channels and no ReLU in their last stage: their ConvGRU reads the
    features after a ReLU, and the targets are the features before it. MMAction2's ResNets end with
    a ReLU. So a 1x1 convolution comes first; its output takes the place of the authors' features.

    Args:
        in_channels (int): Channels of the backbone's map, D.
        feature_channels (int): Channels after the first convolution, and of the ConvGRU's state.
        num_predicted (int): P, blocks to predict, fewer than the view has.
        map_size (tuple[int, int]): Height and width of the backbone's map, which the chance level
            depends on: (4, 4) for a ResNet and 128 pixels.
        dropout (float): Share of the ConvGRU's state that is dropped after each block.
        init_gain (float): Gain of the orthogonal matrices that initialise ConvGRU and predictor.
        view (int): The view whose segments are the blocks, in order of time, e.g. from
            ``SampleConsecutiveClips``.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``num_predicted`` is below 1.
    """

    reads_maps = True

    def __init__(
        self,
        in_channels: int,
        feature_channels: int = 256,
        num_predicted: int = 3,
        map_size: tuple[int, int] = (4, 4),
        dropout: float = 0.1,
        init_gain: float = 1.0,
        view: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        if num_predicted < 1:
            raise UserError(
                f'{type(self).__name__}.num_predicted is {num_predicted}; set it to 1 or more, and '
                'below num_segments of the view sampler'
            )
        super().__init__(None, (view,), loss_weight=loss_weight, in_channels=in_channels)
        self.num_predicted = num_predicted
        self.map_size = tuple(map_size)
        self.reduction = nn.Conv2d(in_channels, feature_channels, 1)
        # One for each direction of time.
        self.aggregators = nn.ModuleList(
            [ConvGRU(feature_channels, feature_channels, dropout=dropout)]
        )
        self.predictor = nn.Sequential(
            nn.Conv2d(feature_channels, feature_channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(feature_channels, feature_channels, 1),
        )
        self.reset_parameters(init_gain)

    def reset_parameters(self, gain: float) -> None:
        """Initialise ConvGRU and predictor as the authors do: orthogonal kernels, biases of 0."""
        for parameter in (*self.aggregators.parameters(), *self.predictor.parameters()):
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter, gain)

    def predict_block(self, state: Tensor) -> Tensor:
        """Predict the next block's map [N, C, H, W] from a state of the same shape."""
        return self.predictor(state)

    def predict(self, seen: Tensor, aggregator: ConvGRU) -> Tensor:
        """Predict block after block.

        Args:
            seen: Maps of the blocks before, in the order of ``aggregator``, [N, S - P, C, H, W].
            aggregator: The ConvGRU of one direction of time.

        Returns:
            [N, P, C, H, W].
        """
        state = aggregator(F.relu(seen))
        predicted = [self.predict_block(state)]
        while len(predicted) < self.num_predicted:
            state = aggregator(F.relu(predicted[-1])[:, None], state)
            predicted.append(self.predict_block(state))
        return torch.stack(predicted, dim=1)

    def _reduce(self, maps: Tensor) -> Tensor:
        """Average the blocks' maps [N, S, D, T, H, W] over time and convolve: [N, S, C, H, W]."""
        return self.reduction(maps.mean(dim=3).flatten(0, 1)).unflatten(0, maps.shape[:2])

    def _directions(self, blocks: Tensor) -> Iterator[tuple[ConvGRU, Tensor]]:
        """Each aggregator with the blocks in its order; a second one reads backward."""
        return zip(self.aggregators, (blocks, blocks.flip(1)), strict=False)

    def context(self, maps: Tensor) -> Tensor:
        """The state after all blocks, averaged over space: what the authors' classifiers read.

        Args:
            maps: Maps of the blocks in order of time, [N, S, D, T, H, W]; any S, H and W.

        Returns:
            [N, C], or [N, 2C] with a second direction of time, forward first.
        """
        states = [gru(F.relu(seen)) for gru, seen in self._directions(self._reduce(maps))]
        return torch.cat(states, dim=1).mean(dim=(2, 3))

    def loss(self, online: Views, target: Views) -> dict[str, Tensor]:
        """Cross-entropy over all candidates, summed over the directions of time.

        Returns:
            Besides ``loss``: ``acc``, the share of vectors whose target is the most similar
            candidate; ``acc5``, the share whose target is among the five most similar; and
            ``pair``, with normalised vectors, unlike in the loss.
        """
        (maps,) = online.values()
        self._check(maps)
        num_seen = maps.shape[1] - self.num_predicted
        losses, ranks, pairs = [], [], []
        for aggregator, ordered in self._directions(self._reduce(maps)):
            seen, unseen = ordered.tensor_split((num_seen,), dim=1)
            predicted = self.predict(seen, aggregator)
            loss, rank = dense_contrast(predicted, gather_with_gradient(unseen), own_rows())
            losses.append(loss)
            ranks.append(rank)
            pairs.append([normalize(map_vectors(side)) for side in (predicted, unseen)])
        rank = torch.cat(ranks)
        return {
            'loss': sum(losses) * self.loss_weight,
            'acc': percent_correct(rank == 0),
            'acc5': percent_correct(rank < 5),
            'pair': tuple(torch.cat(side) for side in zip(*pairs, strict=True)),
        }

    def _check(self, maps: Tensor) -> None:
        name = type(self).__name__
        if maps.shape[1] <= self.num_predicted:
            raise UserError(
                f'{name}.num_predicted is {self.num_predicted}, but the view has only '
                f'{maps.shape[1]} blocks; raise num_segments of the view sampler above it'
            )
        if maps.shape[-2:] != self.map_size:
            raise UserError(
                f'{name}.map_size is {self.map_size}, but the backbone makes maps of '
                f'{tuple(maps.shape[-2:])}; set it to these'
            )

    def num_candidates(self, batch_size: int) -> int:
        """Number of vectors that a prediction is compared with: NPHW; N counts all processes."""
        return batch_size * self.num_predicted * math.prod(self.map_size)

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln(NPHW), for each direction of time."""
        return len(self.aggregators) * math.log(self.num_candidates(batch_size))

    def chance_accuracy(self, batch_size: int) -> float:
        """100 / (NPHW)."""
        return 100 / self.num_candidates(batch_size)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(
            in_channels=in_channels,
            feature_channels=4,
            num_predicted=1,
            map_size=(2, 3),
            dropout=0.0,
        )

    def describe(self) -> str:
        """The objective in a few words."""
        height, width = self.map_size
        return f'prediction of the last {self.num_predicted} blocks at {height} x {width} places'


@MODELS.register_module()
class MemDPCHead(DPCHead):
    """DPC that predicts from a memory of possible futures (MemDPC: Han et al., 2020).

    The predictor gives a probability to each of ``memory_size`` slots; the prediction is the mean
    of the slots' learned vectors, weighted by it. So the head need not decide on one future, and
    the memory, which all videos share, must hold what futures have in common.

    As in the authors' code, a second ConvGRU reads the blocks from the last to the first, the same
    predictor and memory predict the first blocks, and the losses of both directions are summed.

    Args:
        in_channels (int): Channels of the backbone's map, D.
        memory_size (int): Slots of the memory.
        bidirectional (bool): Whether to predict backward in time as well.
        init_gain (float): As in DPC. With the authors' 0.1, all predictions are almost the same at
            first, and without Adam they stay so for long.
        **kwargs: All other arguments of :class:`DPCHead`.
    """

    def __init__(
        self,
        in_channels: int,
        memory_size: int = 1024,
        bidirectional: bool = True,
        init_gain: float = 0.1,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, **kwargs)
        (forward,) = self.aggregators
        channels = self.reduction.out_channels
        if bidirectional:
            self.aggregators.append(ConvGRU(channels, channels, dropout=forward.dropout.p))
        self.predictor[-1] = nn.Conv2d(channels, memory_size, 1)
        self.memory = nn.Parameter(torch.randn(memory_size, channels))
        self.reset_parameters(init_gain)

    def predict_block(self, state: Tensor) -> Tensor:
        """Average the memory, weighted by the predicted probabilities: [N, C, H, W]."""
        probabilities = self.predictor(state).softmax(dim=1)
        return torch.einsum('nmhw,mc->nchw', probabilities, self.memory)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return super().example(in_channels) | dict(memory_size=6)

    def describe(self) -> str:
        """The objective in a few words."""
        directions = 'both ways in time' if len(self.aggregators) == 2 else 'forward in time'
        return f'{super().describe()}, from a memory of {len(self.memory)}, {directions}'
