"""Draw clips of one video that follow each other (VCOP, CVPR 2019; DPC, ICCVW 2019)."""

import numpy as np
from mmaction.registry import TRANSFORMS

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SampleConsecutiveClips(ViewSampler):
    """Draw one view of S clips in order of time, with equal gaps between them.

    The default is VCOP's tuple (Xu et al., CVPR 2019): 3 clips of 16 frames, 8 frames between
    them, 64 in all. DPC (Han et al., ICCVW 2019) cuts 40 frames, 3 apart, into 8 blocks of 5:
    ``num_segments=8, clip_len=5, frame_interval=3, clip_gap=2``. The start of the tuple is uniform
    over the frames that leave room for it.

    In a video too short for the tuple, the gaps shrink, and the clips may overlap: their starts are
    evenly spaced from the first to the last frame at which a clip can start (VCOP leaves such
    videos out). In a video too short for one clip, a clip can start at any frame, and the indices
    wrap around the end; such clips hardly show their order.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: as :class:`SampleSegmentTuples`, with V = 1 view of S = ``num_segments`` segments.

    Args:
        num_segments (int): S, clips per video.
        clip_len (int): T, frames per clip.
        frame_interval (int): Frames from one frame of a clip to the next.
        clip_gap (int): Frames left out between the last frame of a clip and the first of the next,
            0 or more. With ``frame_interval - 1``, frames are equally spaced across clips.

    Raises:
        UserError: If an argument is outside its range.
    """

    def __init__(
        self,
        num_segments: int = 3,
        clip_len: int = 16,
        frame_interval: int = 1,
        clip_gap: int = 8,
    ) -> None:
        self.keep(1, num_segments=num_segments, clip_len=clip_len, frame_interval=frame_interval)
        self.keep(0, clip_gap=clip_gap)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all clips to ``results``."""
        total_frames = results['total_frames']
        last_offset = (self.clip_len - 1) * self.frame_interval
        num_starts = self.num_starts(total_frames)
        segments = np.arange(self.num_segments)
        starts = segments * (last_offset + 1 + self.clip_gap)
        room = num_starts - starts[-1]
        if room >= 1:
            starts += np.random.randint(room)
        else:
            starts = segments * (num_starts - 1) // (self.num_segments - 1)
        return self.write_clips(results, starts, self.num_segments)
