"""Base class of the view samplers: checks of arguments, and the keys that they write."""

import inspect

import numpy as np
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


class ViewSampler(BaseTransform):
    """Base of the view samplers, which draw the frames of a video's clips.

    ``transform`` of a subclass draws with ``numpy.random``, and ends with :meth:`write_clips`. The
    arguments of its ``__init__`` are attributes of the same names.

    Required keys: ``total_frames``, ``start_index``.
    """

    clip_len: int
    frame_interval: int

    def keep(self, least: float, **numbers: float) -> None:
        """Store arguments as attributes.

        Raises:
            UserError: If one of them is below ``least``.
        """
        for name, value in numbers.items():
            if not value >= least:
                raise UserError(
                    f'{type(self).__name__}.{name} is {value}; it must be {least} or more'
                )
            setattr(self, name, value)

    def num_starts(self, total_frames: int) -> int:
        """Count the starts from which a clip ends inside the video; if none does, all frames."""
        num_starts = total_frames - (self.clip_len - 1) * self.frame_interval
        return num_starts if num_starts >= 1 else total_frames

    def write_clips(
        self,
        results: dict,
        starts: np.ndarray,
        num_segments: int | tuple[int, ...] = 1,
        frame_interval: int | tuple[int, ...] | None = None,
    ) -> dict:
        """Write the keys that :class:`SampleSegmentTuples` documents.

        Args:
            results: Results of the pipeline, with ``total_frames`` and ``start_index``.
            starts: First frame of each clip, counted from 0, in order view, segment.
            num_segments: S of all views, or of each.
            frame_interval: Interval of all clips or of each; by default the sampler's.

        Returns:
            ``results``. Indices beyond the end of the video wrap around it.
        """
        interval = self.frame_interval if frame_interval is None else frame_interval
        offsets = np.arange(self.clip_len) * np.reshape(interval, (-1, 1))
        frame_inds = (starts.reshape(-1, 1) + offsets) % results['total_frames']
        results['frame_inds'] = frame_inds.reshape(-1) + results['start_index']
        ragged = isinstance(num_segments, tuple)
        results['num_views'] = len(num_segments) if ragged else starts.size // num_segments
        results['num_segments'] = num_segments
        results['num_clips'] = starts.size
        results['clip_len'] = self.clip_len
        results['frame_interval'] = interval
        return results

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        arguments = ', '.join(f'{name}={getattr(self, name)!r}' for name in names)
        return f'{type(self).__name__}({arguments})'
