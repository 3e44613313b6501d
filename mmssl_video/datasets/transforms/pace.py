"""Draw clips at one of several paces (PacePred, ECCV 2020; SpeedNet, CVPR 2020)."""

from collections.abc import Sequence

import numpy as np
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SamplePace(ViewSampler):
    """Draw a clip at a random pace, or one clip at every pace.

    A pace is the number of frames from one frame of the clip to the next.

    With ``every=False``, the pace is uniform over ``paces``; its number goes to the model with
    ``dict(type='PackViews', algorithm_keys=('pace',))``. The start is uniform over all
    frames of the video, as in the public code of PacePred (Wang et al., ECCV 2020). The indices
    wrap around the end, where that code continues with the first frame. So a fast clip shows the
    jump from the end to the beginning more often than a slow one. In short videos, this is a cue
    besides motion.

    With ``every=True``, view i shows the video at ``paces[i]``, so a batch has every video at every
    pace, as in the same-batch training of SpeedNet (Benaim et al., CVPR 2020; ``paces=(1, 2)``).
    All clips start at the same frame, which is uniform over those from which the fastest clip ends
    inside the video: neither the start nor a jump shows the pace. In a video too short for the
    fastest clip, they start at its first frame, and the indices wrap around the end.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: as :class:`SampleSegmentTuples`, with V = 1 view, or one view per pace, of S = 1
    segment. ``every=False`` adds ``pace`` (int, index into ``paces``); ``every=True`` makes
    ``frame_interval`` a tuple, one number for each view.

    Args:
        clip_len (int): T, frames per clip. Default 16, as PacePred.
        paces (Sequence[int]): Two or more different paces.
        every (bool): Whether to draw one view at every pace instead of one at a random pace.

    Raises:
        UserError: If a number is below 1, ``paces`` has fewer than two numbers or equal ones.
    """

    def __init__(
        self, clip_len: int = 16, paces: Sequence[int] = (1, 2, 3, 4), every: bool = False
    ) -> None:
        self.keep(1, clip_len=clip_len)
        if len(paces) < 2 or len(set(paces)) < len(paces) or min(paces) < 1:
            raise UserError(
                f'SamplePace.paces is {tuple(paces)}; give two or more different numbers, '
                'each 1 or more, e.g. (1, 2)'
            )
        self.paces = tuple(paces)
        self.every = every

    def transform(self, results: dict) -> dict:
        """Add the frame indices of the clip or clips, and the label, to ``results``."""
        if self.every:
            fastest = (self.clip_len - 1) * max(self.paces)
            start = np.random.randint(max(1, results['total_frames'] - fastest))
            starts, interval = np.full(len(self.paces), start), self.paces
        else:
            start = np.random.randint(results['total_frames'])
            results['pace'] = np.random.randint(len(self.paces))
            starts, interval = np.array([start]), self.paces[results['pace']]
        return self.write_clips(results, starts, frame_interval=interval)
