"""Draw segment tuples, with one clip from each of K equal segments (VCLR, Sec. 3.2)."""

from collections.abc import Sequence

import numpy as np
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SampleSegmentTuples(ViewSampler):
    """Draw tuples of clips that cover a video segment by segment.

    The video is cut into ``num_segments`` equal segments. A *tuple* has one clip from every
    segment; tuples are drawn independently, but no two of them start a segment's clip at the same
    frame as long as the segment has enough starts. Each view shows one tuple. Several views may
    show the same tuple: it is decoded once and augmented once per view.

    The default is VCLR's: view 0 is the anchor tuple, view 1 the positive tuple, view 2 the
    anchor's frames again (for a second, independent augmentation).

    A clip is inside its segment if the segment has room for the draws. Otherwise a clip of several
    frames may start at any frame of its segment from which it still ends inside the video. If that
    does not give every tuple its own start, the fewest possible frames before the segment are
    starts too. In a video shorter than one clip, the indices wrap around its end. If a video has
    fewer frames than segments, segments share frames.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: ``frame_inds`` (int64 [V * S * T], in order view, segment, frame), ``num_views``
    (V), ``num_segments`` (S), ``num_clips`` (V * S), ``clip_len`` (T), ``frame_interval``.

    Args:
        num_segments (int): K, segments per video. Default 3 (VCLR, Sec. 4.2).
        clip_len (int): T, frames per clip; 1 for 2D backbones.
        frame_interval (int): Frames from one frame of a clip to the next.
        views (Sequence[int]): The tuple that each view shows, numbered from 0.

    Raises:
        UserError: If a number is below 1 or ``views`` skips a tuple.
    """

    def __init__(
        self,
        num_segments: int = 3,
        clip_len: int = 1,
        frame_interval: int = 1,
        views: Sequence[int] = (0, 1, 0),
    ) -> None:
        self.keep(1, num_segments=num_segments, clip_len=clip_len, frame_interval=frame_interval)
        if not views or sorted(set(views)) != list(range(max(views) + 1)):
            raise UserError(
                f'SampleSegmentTuples.views is {tuple(views)}; number the tuples 0, 1, … '
                'without a gap, e.g. (0, 1, 0)'
            )
        self.views = tuple(views)

    def _candidate_starts(self, segment: int, total_frames: int, num_draws: int) -> np.ndarray:
        """Frames at which a clip of this segment may start, int64 [>= 1]."""
        span = (self.clip_len - 1) * self.frame_interval + 1
        first = segment * total_frames // self.num_segments
        end = max((segment + 1) * total_frames // self.num_segments, first + 1)
        inside = np.arange(first, end - span + 1)
        if len(inside) >= num_draws or self.clip_len == 1:
            return inside
        if span > total_frames:
            return np.arange(first, end)
        last = min(end - 1, total_frames - span)
        return np.arange(max(0, min(first, last - num_draws + 1)), last + 1)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all views to ``results``."""
        total_frames = results['total_frames']
        num_tuples = max(self.views) + 1
        starts = np.empty((num_tuples, self.num_segments), dtype=np.int64)
        for segment in range(self.num_segments):
            candidates = self._candidate_starts(segment, total_frames, num_tuples)
            starts[:, segment] = np.random.choice(
                candidates, num_tuples, replace=len(candidates) < num_tuples
            )
        return self.write_clips(results, starts[list(self.views)], self.num_segments)
