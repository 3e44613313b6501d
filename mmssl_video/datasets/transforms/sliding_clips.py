"""Take clips at regular times of a long video, for features over time."""

import numpy as np
from mmaction.registry import TRANSFORMS

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SampleSlidingClips(ViewSampler):
    """Take a clip from the middle of every interval of a video.

    Interval k has the frames ``k * interval … (k + 1) * interval - 1``. A video has
    ``K = total_frames // interval`` intervals; the remaining frames at its end are not used. A
    video shorter than one interval is one interval. Clip k is centred in interval k, to half a
    frame; a single frame is number ``interval // 2`` of the interval. Indices beyond an end of the
    video become its first or last frame.

    Required keys: ``total_frames``, ``start_index``. Optional key: ``clip_range`` (first, end), the
    clips to take, by default all; with it, a long video can be decoded in parts.
    Added keys, as with MMAction2's ``SampleFrames``: ``frame_inds`` int64 [num_clips * clip_len],
    ``num_clips``, ``clip_len``, ``frame_interval``.

    Args:
        clip_len (int): T, frames per clip; 1 for a 2D backbone.
        frame_interval (int): Frames from one frame of a clip to the next. Default 1.
        interval (int): Frames from one clip to the next. Default 16, that of MMAction2's BMN.

    Raises:
        UserError: If an argument is below 1.
    """

    def __init__(self, clip_len: int, frame_interval: int = 1, interval: int = 16) -> None:
        self.keep(1, clip_len=clip_len, frame_interval=frame_interval, interval=interval)

    def num_clips(self, total_frames: int) -> int:
        """K of a video."""
        return max(1, total_frames // self.interval)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of the clips to ``results``."""
        total_frames = results['total_frames']
        clips = np.arange(*results.get('clip_range', (self.num_clips(total_frames),)))
        span = (self.clip_len - 1) * self.frame_interval
        starts = clips * self.interval + (min(self.interval, total_frames) - span) // 2
        inds = starts[:, None] + np.arange(self.clip_len) * self.frame_interval
        inds = inds.clip(0, total_frames - 1) + results['start_index']
        results['frame_inds'] = inds.reshape(-1)
        results['num_clips'] = len(clips)
        results['clip_len'] = self.clip_len
        results['frame_interval'] = self.frame_interval
        return results
