"""Sliding clips: one per interval, in its middle, whatever the video's length."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmaction.registry import TRANSFORMS

from mmssl_video.datasets.transforms import SampleSlidingClips
from mmssl_video.errors import UserError


def clips(total_frames, start_index=0, clip_range=None, **kwargs):
    """Frame indices [num_clips, T]."""
    results = dict(total_frames=total_frames, start_index=start_index)
    if clip_range:
        results['clip_range'] = clip_range
    results = SampleSlidingClips(**kwargs)(results)
    assert results['frame_inds'].dtype == np.int64
    return results['frame_inds'].reshape(results['num_clips'], results['clip_len'])


def test_by_hand():
    assert clips(50, clip_len=1).tolist() == [[8], [24], [40]]
    assert clips(50, start_index=1, clip_len=1).tolist() == [[9], [25], [41]]
    assert clips(11, clip_len=1, interval=5).tolist() == [[2], [7]]
    # Around frame 8 lie 4 and 6, 8 and 10; the clip of three steps is as long before as after.
    assert clips(32, clip_len=3, frame_interval=4).tolist() == [[4, 8, 12], [20, 24, 28]]
    assert clips(32, clip_len=4, frame_interval=2).tolist() == [[5, 7, 9, 11], [21, 23, 25, 27]]
    # Longer than the interval: neighbours overlap, and the ends are repeated.
    assert clips(8, clip_len=5, frame_interval=2, interval=4).tolist() == [
        [0, 0, 2, 4, 6],
        [2, 4, 6, 7, 7],
    ]


@settings(max_examples=100, deadline=None)
@given(
    total_frames=st.integers(1, 300),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 9),
    interval=st.integers(1, 40),
)
@example(15, 1, 1, 16)
@example(16, 1, 1, 16)
@example(1, 4, 2, 16)
def test_properties(total_frames, clip_len, frame_interval, interval):
    """Number, order, centre and range."""
    inds = clips(total_frames, clip_len=clip_len, frame_interval=frame_interval, interval=interval)
    assert len(inds) == max(1, total_frames // interval)
    assert inds.min() >= 0 and inds.max() < total_frames
    length = min(interval, total_frames)
    for k, clip in enumerate(inds):
        first, last = clip[0], clip[-1]
        if last - first == (clip_len - 1) * frame_interval:  # no end of the video in it
            # In time: frame f lasts from f to f + 1.
            assert abs((first + last + 1) / 2 - (k * interval + length / 2)) <= 0.5
            assert (np.diff(clip) == frame_interval).all()
        else:
            assert first == 0 or last == total_frames - 1
        assert (np.diff(clip) >= 0).all()
    if clip_len == 1:
        assert (inds[:, 0] == np.arange(len(inds)) * interval + length // 2).all()


def test_parts_of_a_video_are_the_whole():
    kwargs = dict(clip_len=3, frame_interval=7, interval=5)
    parts = [clips(58, clip_range=(a, min(a + 4, 11)), **kwargs) for a in (0, 4, 8)]
    assert [len(part) for part in parts] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(parts), clips(58, **kwargs))


def test_shorter_than_an_interval():
    """One interval as long as the video."""
    assert clips(7, clip_len=1).tolist() == [[3]]
    assert clips(7, clip_len=3, frame_interval=2).tolist() == [[1, 3, 5]]
    assert clips(1, clip_len=2).tolist() == [[0, 0]]


def test_keys():
    sampler = TRANSFORMS.build(dict(type='SampleSlidingClips', clip_len=2))
    results = sampler(dict(total_frames=40, start_index=0))
    assert results.pop('frame_inds').tolist() == [7, 8, 23, 24]
    assert results == dict(
        total_frames=40, start_index=0, num_clips=2, clip_len=2, frame_interval=1
    )
    assert repr(sampler) == 'SampleSlidingClips(clip_len=2, frame_interval=1, interval=16)'


@pytest.mark.parametrize('name', ['clip_len', 'frame_interval', 'interval'])
def test_number_below_one(name):
    with pytest.raises(UserError, match=rf'SampleSlidingClips\.{name} is 0; .*1 or more$'):
        SampleSlidingClips(**(dict(clip_len=1) | {name: 0}))
