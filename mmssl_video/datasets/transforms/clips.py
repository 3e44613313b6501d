"""Draw several clips of one video, anywhere or close in time (ρ family, CVPR 2021, Sec. 3)."""

import numpy as np
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler

CLOCK_ERROR = 1e-6  # seconds; more than the rounding of times, less than the length of any frame


@TRANSFORMS.register_module()
class SampleClips(ViewSampler):
    """Draw ρ clips of a video (Feichtenhofer et al., CVPR 2021, Sec. 3).

    A clip can start at any of the first ``M = total_frames - (clip_len - 1) * frame_interval``
    frames. In a video too short for one clip (``M < 1``), it can start at any frame, and the
    indices wrap around the end.

    Without ``timespan`` the starts are independent and uniform over these M frames. With it, they
    are in a window of the frames that are shown within ``timespan`` seconds after its first frame
    ``a``: ``a`` is uniform over the frames with a window that ends by frame ``M - 1`` (or 0 if
    there is none), then the starts are independent and uniform over the window. At a constant frame
    rate, ``W = min(floor(timespan * fps), M - 1)``, ``a`` is in ``0 … M - 1 - W`` and the starts
    are in ``a … a + W``. A start is then less likely near both ends of the video, unless W is
    M - 1. If the file gives no frame rate (0), the starts are equal.

    The order of the views is random in time. The public code sorts the clips by their starts, which
    makes no difference for a head that treats all views the same. But a head that reads queries
    from view 0 and keys from view 1 would see only early queries and late keys.

    Required keys: ``total_frames``, ``start_index``; with ``timespan`` also ``frame_times`` (from
    ``VideoInit``), the seconds at which each frame is shown, or ``avg_fps``, the frame rate, which
    only ``DecordInit`` among MMAction2's transforms writes.
    Added keys: as :class:`SampleSegmentTuples`, with V = ``num_views`` views of S = 1 segment.

    Args:
        num_views (int): ρ, 1 or more. Default 2.
        clip_len (int): T, frames per clip. Default 8, as in the public configs.
        frame_interval (int): Frames from one frame of a clip to the next. Default 8.
        timespan (float, optional): Longest time from the first start to the last, in seconds, 0
            or more; 0 gives equal starts. Default: no limit except the video.

    Raises:
        UserError: If an argument is outside its range, or a frame rate is needed and missing.
    """

    def __init__(
        self,
        num_views: int = 2,
        clip_len: int = 8,
        frame_interval: int = 8,
        timespan: float | None = None,
    ) -> None:
        self.keep(1, num_views=num_views, clip_len=clip_len, frame_interval=frame_interval)
        if timespan is not None and not timespan >= 0:
            raise UserError(f'SampleClips.timespan is {timespan}; it must be 0 seconds or more')
        self.timespan = timespan

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all clips to ``results``."""
        total_frames = results['total_frames']
        num_starts = self.num_starts(total_frames)
        first, num_allowed = 0, num_starts
        if self.timespan is not None:
            first, num_allowed = self._draw_window(results, num_starts)
        starts = first + np.random.randint(num_allowed, size=self.num_views)
        return self.write_clips(results, starts)

    def _draw_window(self, results: dict, num_starts: int) -> tuple[int, int]:
        """Draw the first frame of the window, and return it with the length of the window."""
        if 'frame_times' in results:
            times = results['frame_times'][:num_starts]
            lasts = np.searchsorted(times, times + self.timespan + CLOCK_ERROR, side='right') - 1
            first = np.random.randint(np.searchsorted(lasts, num_starts - 1) + 1)
            return first, lasts[first] - first + 1
        if 'avg_fps' in results:
            window = int(min(self.timespan * results['avg_fps'], num_starts - 1))
            return np.random.randint(num_starts - window), window + 1
        raise UserError(
            f'SampleClips(timespan={self.timespan}) needs the times of the frames of each video; '
            'open videos by VideoInit, or (raw frames too) set timespan=None'
        )
