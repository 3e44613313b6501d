"""Draw two clips of one video, with a random gap between their starts (CVRL)."""

from typing import Literal, get_args

import numpy as np
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler

GapDensity = Literal['decreasing', 'uniform', 'increasing', 'constant', 'exponential']


def draw_gap(
    density: GapDensity,
    max_gap: float,
    uniform: float | np.ndarray,
    *,
    constant: float = 0.0,
    rate: float = 5.0,
) -> float | np.ndarray:
    r"""Turn a uniform number into a gap by the inverse of its cumulative distribution function.

    With :math:`M` the largest gap and :math:`x = \delta / M \in [0, 1]`:

    ============= ============================== =============================
    density       :math:`M\,p(\delta)`           :math:`\delta(u) / M`
    ============= ============================== =============================
    decreasing    :math:`2 (1 - x)`              :math:`1 - \sqrt{1 - u}`
    uniform       :math:`1`                      :math:`u`
    increasing    :math:`2 x`                    :math:`\sqrt{u}`
    constant      all mass at ``constant``       ``constant``
    exponential   :math:`\propto e^{-r x}`       :math:`-\ln(1 - u (1 - e^{-r})) / r`
    ============= ============================== =============================

    Args:
        density: One of the names above; CVRL's choice is ``'decreasing'``.
        max_gap: :math:`M`, in frames.
        uniform: Numbers in [0, 1), any shape.
        constant: The gap of ``'constant'`` as a fraction of ``max_gap``, in [0, 1].
        rate: :math:`r > 0` of ``'exponential'``.

    Returns:
        Gaps in frames, in [0, ``max_gap``], of the shape of ``uniform``.
    """
    if density == 'decreasing':
        fraction = 1 - np.sqrt(1 - uniform)
    elif density == 'uniform':
        fraction = uniform
    elif density == 'increasing':
        fraction = np.sqrt(uniform)
    elif density == 'constant':
        fraction = np.full_like(uniform, constant, dtype=float)
    else:
        fraction = -np.log1p(uniform * np.expm1(-rate)) / rate
    return max_gap * fraction


@TRANSFORMS.register_module()
class SampleClipPair(ViewSampler):
    """Draw two clips of a video with a random gap between their starts.

    A clip can start at ``M = total_frames - (clip_len - 1) * frame_interval`` frames. The start of
    the earlier clip is uniform over those that leave room for the gap. Either clip becomes view 0
    with probability 1/2. In a video too short for one clip (``M < 1``), both starts are uniform
    over all frames, and the indices wrap around its end.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: as :class:`SampleSegmentTuples`, with V = 2 views of S = 1 segment.

    Args:
        clip_len (int): T, frames per clip. Default 16, as CVRL.
        frame_interval (int): Frames from one frame of a clip to the next. Default 2.
        gap (str): Density of the gap, see :func:`draw_gap`.
        constant (float): The gap of ``gap='constant'``, as a fraction of M in [0, 1].
        rate (float): Decay of ``gap='exponential'`` over M, above 0.

    Raises:
        UserError: If an argument is outside its range.
    """

    def __init__(
        self,
        clip_len: int = 16,
        frame_interval: int = 2,
        gap: GapDensity = 'decreasing',
        constant: float = 0.0,
        rate: float = 5.0,
    ) -> None:
        if gap not in get_args(GapDensity):
            raise UserError(
                f'SampleClipPair.gap is {gap!r}; choose one of {", ".join(get_args(GapDensity))}'
            )
        self.keep(1, clip_len=clip_len, frame_interval=frame_interval)
        if not 0 <= constant <= 1:
            raise UserError(f'SampleClipPair.constant is {constant}; it must be within [0, 1]')
        if rate <= 0:
            raise UserError(f'SampleClipPair.rate is {rate}; it must be above 0')
        self.gap = gap
        self.constant = constant
        self.rate = rate

    def transform(self, results: dict) -> dict:
        """Add the frame indices of both clips to ``results``."""
        total_frames = results['total_frames']
        num_starts = total_frames - (self.clip_len - 1) * self.frame_interval
        if num_starts < 1:
            starts = np.random.randint(total_frames, size=2)
        else:
            gap = draw_gap(
                self.gap, num_starts, np.random.rand(), constant=self.constant, rate=self.rate
            )
            gap = min(int(gap), num_starts - 1)
            first = np.random.randint(num_starts - gap)
            starts = np.random.permutation([first, first + gap])
        return self.write_clips(results, starts)
