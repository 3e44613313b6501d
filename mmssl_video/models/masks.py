"""Random masks for masked prediction: which tokens of a clip the encoder sees."""

from abc import ABCMeta, abstractmethod
from functools import partial

import torch
from mmaction.registry import MODELS
from torch import Tensor

from mmssl_video.errors import UserError

from .gather import draw_for_samples


class Mask(metaclass=ABCMeta):
    """Base of the masks: draws the visible tokens of each clip.

    Args:
        ratio (float): Share of masked places, in (0, 1).

    Raises:
        UserError: If all places would be masked, or none.
    """

    def __init__(self, ratio: float = 0.9) -> None:
        if not 0 < ratio < 1:
            raise UserError(
                f'{type(self).__name__}.ratio is {ratio}; set it above 0 and below 1, such as 0.9'
            )
        self.ratio = ratio

    @abstractmethod
    def draw(self, shape: tuple[int, int], grid: tuple[int, int, int], device) -> Tensor:
        """Draw the visible tokens, from torch's generator of the device.

        Args:
            shape: N and S: samples of this process, and clips of each sample.
            grid: Tokens of a clip in time, height and width.
            device: Device of the draw.

        Returns:
            int64 [N, S, L]: indices in order of time, row, column, ascending.
        """

    def _choose(self, shape: tuple[int, int], num_places: int, device: torch.device) -> Tensor:
        """Draw the visible places of each clip, uniform over subsets: int64 [N, S, l]."""
        num_masked = int(self.ratio * num_places)
        if not num_masked:
            raise UserError(
                f'{type(self).__name__}.ratio is {self.ratio}, which masks 0 of {num_places} '
                'places; raise it, or make the patches smaller'
            )
        num_samples, num_clips = shape
        draw = partial(torch.rand, device=device)
        noise = draw_for_samples(lambda number: draw(number, num_clips, num_places), num_samples)
        return noise.argsort(dim=-1)[..., num_masked:].sort(dim=-1).values


@MODELS.register_module()
class TubeMask(Mask):
    """Mask int(ratio x H x W) places, the same at all times (VideoMAE, Sec. 3.3)."""

    def draw(self, shape: tuple[int, int], grid: tuple[int, int, int], device) -> Tensor:
        """See the base; L is T times the visible places."""
        time, height, width = grid
        places = self._choose(shape, height * width, device)
        starts = torch.arange(time, device=device) * (height * width)
        return (starts[:, None] + places[..., None, :]).flatten(2)


@MODELS.register_module()
class SpaceTimeMask(Mask):
    """Mask any int(ratio x T x H x W) tokens (ST-MAE: Feichtenhofer et al., 2022)."""

    def draw(self, shape: tuple[int, int], grid: tuple[int, int, int], device) -> Tensor:
        """See the base."""
        time, height, width = grid
        return self._choose(shape, time * height * width, device)
