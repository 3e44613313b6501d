"""What every view sampler writes: the frames of its clips, and how they make views."""

import numpy as np


def write_clips(
    results: dict,
    starts: np.ndarray,
    num_segments: int | tuple[int, ...],
    clip_len: int,
    frame_interval: int | tuple[int, ...],
) -> dict:
    """Write the keys that :class:`SampleSegmentTuples` documents.

    Args:
        results: Of the pipeline; has ``total_frames`` and ``start_index``.
        starts: First frame of each clip, counted from 0, in order view, segment.
        num_segments: S of all views, or of each.
        clip_len: T, frames per clip.
        frame_interval: Frames from one frame of a clip to the next, of all clips or of each;
            indices wrap around the end.

    Returns:
        ``results``.
    """
    offsets = np.arange(clip_len) * np.reshape(frame_interval, (-1, 1))
    frame_inds = (starts.reshape(-1, 1) + offsets) % results['total_frames']
    results['frame_inds'] = frame_inds.reshape(-1) + results['start_index']
    ragged = isinstance(num_segments, tuple)
    results['num_views'] = len(num_segments) if ragged else starts.size // num_segments
    results['num_segments'] = num_segments
    results['num_clips'] = starts.size
    results['clip_len'] = clip_len
    results['frame_interval'] = frame_interval
    return results
