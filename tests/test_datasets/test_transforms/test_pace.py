"""Paces: steps modulo the video's length, a fair label, uniform starts, all paces at once."""

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import SamplePace
from mmssl_video.errors import UserError


def sample(total_frames, start_index=0, **kwargs):
    """Results and frame indices [V, T] of one draw."""
    results = SamplePace(**kwargs)(dict(total_frames=total_frames, start_index=start_index))
    return results, results['frame_inds'].reshape(results['num_views'], results['clip_len'])


def assert_steps(clip, pace, total_frames):
    np.testing.assert_array_equal((clip[1:] - clip[:-1] - pace) % total_frames, 0)


@settings(max_examples=100, deadline=None)
@given(
    total_frames=st.integers(1, 120),
    start_index=st.integers(0, 1),
    clip_len=st.integers(1, 17),
    paces=st.lists(st.integers(1, 9), min_size=2, max_size=5, unique=True),
    every=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 1, 16, [1, 2, 3, 4], False, 0)
@example(1, 1, 16, [1, 2, 3, 4], True, 0)
def test_properties(total_frames, start_index, clip_len, paces, every, seed):
    """Every step is the pace, modulo the loop; every index is a frame of the video."""
    np.random.seed(seed)
    results, inds = sample(total_frames, start_index, clip_len=clip_len, paces=paces, every=every)
    assert inds.dtype == np.int64 and results['num_segments'] == 1
    assert results['num_clips'] == results['num_views'] == (len(paces) if every else 1)
    clips = inds - start_index
    assert clips.min() >= 0 and clips.max() < total_frames
    if every:
        assert 'pace' not in results
        assert results['frame_interval'] == tuple(paces)
        assert len(set(clips[:, 0])) == 1  # all begin with the same frame
        for clip, pace in zip(clips, paces, strict=True):
            assert_steps(clip, pace, total_frames)
    else:
        assert type(results['pace']) is int
        assert results['frame_interval'] == paces[results['pace']]
        assert_steps(clips[0], paces[results['pace']], total_frames)


def test_pace_and_start_are_uniform_and_independent():
    """All pairs alike in probability, whatever the pace: starts need no room."""
    np.random.seed(2)
    counts = dict.fromkeys(product(range(4), range(7)), 0)
    for _ in range(2000):
        results, inds = sample(7)
        counts[results['pace'], inds[0, 0]] += 1
    assert len(counts) == 28 and chisquare(list(counts.values())).pvalue > 1e-3


def test_common_start_is_uniform_where_the_fastest_clip_fits():
    """So no clip jumps from the end to the beginning, which the fast ones would do more often."""
    np.random.seed(3)
    clips = [sample(20, clip_len=4, paces=(1, 4), every=True)[1] for _ in range(1000)]
    assert all((np.diff(clip) > 0).all() for clip in clips)
    counts = np.bincount([clip[0, 0] for clip in clips])
    assert len(counts) == 20 - 12 and chisquare(counts).pvalue > 1e-3
    # Where it does not fit, all begin with the first frame.
    assert {sample(12, clip_len=4, paces=(1, 4), every=True)[1][0, 0] for _ in range(50)} == {0}


@pytest.mark.parametrize('paces', [(), (2,), (1, 2, 1), (0, 1), (-1, 1)])
def test_paces(paces):
    """The message shows what is given and what would do."""
    with pytest.raises(UserError, match=r'SamplePace\.paces is \(.*two or more diff.*\(1, 2\)$'):
        SamplePace(paces=paces)
