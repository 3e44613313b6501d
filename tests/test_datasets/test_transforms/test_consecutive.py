"""Clips one after the other: the gap, the room for the tuple, short videos, DPC beside VCLR."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import SampleConsecutiveClips
from mmssl_video.errors import UserError

DPC = dict(num_segments=8, clip_len=5, frame_interval=3, clip_gap=2)


def draw(total_frames, **kwargs):
    """Frame indices [S, T] of one draw."""
    results = dict(total_frames=total_frames, start_index=0)
    results = SampleConsecutiveClips(**kwargs)(results)
    return results['frame_inds'].reshape(results['num_segments'], results['clip_len'])


@settings(max_examples=120, deadline=None)
@given(
    total_frames=st.integers(1, 200),
    num_segments=st.integers(1, 8),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 4),
    clip_gap=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
@example(64, 3, 16, 1, 8, 0)  # the tuple fills the video
@example(63, 3, 16, 1, 8, 0)
@example(16, 3, 16, 1, 8, 0)  # one clip fills the video
@example(15, 3, 16, 1, 8, 0)
def test_properties(total_frames, num_segments, clip_len, frame_interval, clip_gap, seed):
    """What the docstring promises, for any video and tuple."""
    np.random.seed(seed)
    inds = draw(
        total_frames,
        num_segments=num_segments,
        clip_len=clip_len,
        frame_interval=frame_interval,
        clip_gap=clip_gap,
    )
    assert inds.shape == (num_segments, clip_len)
    span = (clip_len - 1) * frame_interval + 1
    starts = inds[:, 0]
    expected = (starts[:, None] + np.arange(clip_len) * frame_interval) % total_frames
    np.testing.assert_array_equal(inds, expected)
    if total_frames >= num_segments * span + (num_segments - 1) * clip_gap:
        np.testing.assert_array_equal(np.diff(inds), frame_interval)
        np.testing.assert_array_equal(inds[1:, 0] - inds[:-1, -1] - 1, clip_gap)
        return
    if total_frames >= span:
        assert (np.diff(inds) == frame_interval).all()  # no wrap without need
    if num_segments > 1:
        last = total_frames - span if total_frames >= span else total_frames - 1
        for s, start in enumerate(starts):
            assert start == s * last // (num_segments - 1)


@pytest.mark.parametrize(
    'total_frames, starts',
    [
        (64, [0, 24, 48]),
        (60, [0, 22, 44]),  # gaps of 6 instead of 8
        (48, [0, 16, 32]),  # no gap
        (30, [0, 7, 14]),  # clips overlap
        (17, [0, 0, 1]),
        (16, [0, 0, 0]),
        (15, [0, 7, 14]),  # shorter than a clip: all frames are starts
        (1, [0, 0, 0]),
    ],
)
def test_gap_shrinks_in_a_short_video(total_frames, starts):
    for _ in range(5):
        assert draw(total_frames)[:, 0].tolist() == starts


@pytest.mark.parametrize(
    'total_frames, num_starts, kwargs',
    [
        (64, 1, {}),
        (65, 2, {}),
        (73, 10, {}),
        (125, 8, DPC),
        (12, 5, dict(num_segments=1, clip_len=8)),
        (7, 7, dict(num_segments=1, clip_len=8)),  # shorter than the clip: all frames
    ],
)
def test_start_is_uniform(total_frames, num_starts, kwargs):
    """Over the frames that leave room for the tuple."""
    np.random.seed(2)
    starts = [draw(total_frames, **kwargs)[0, 0] for _ in range(600)]
    counts = np.bincount(starts, minlength=num_starts)
    assert len(counts) == num_starts
    assert num_starts == 1 or chisquare(counts).pvalue > 1e-3


def test_gap_below_zero():
    with pytest.raises(UserError, match=r'SampleConsecutiveClips\.clip_gap is -1; .*0 or more$'):
        SampleConsecutiveClips(clip_gap=-1)
