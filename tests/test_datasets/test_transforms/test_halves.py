"""Halves: the query in one, the keys in the other, the label right and fair, short videos."""

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from mmssl_video.datasets.transforms import SampleHalves


def draw(total_frames, start_index=0, **kwargs):
    """Frame indices of view 1, [3, T] after a check that view 0 is its query, and the label."""
    results = SampleHalves(**kwargs)(dict(total_frames=total_frames, start_index=start_index))
    inds = results['frame_inds'].reshape(-1, results['clip_len'])
    assert len(inds) == sum(results['num_segments'])
    assert (inds[0] == inds[1]).all()
    return inds[1:], results['query_in_second_half']


@settings(max_examples=100, deadline=None)
@given(
    total_frames=st.integers(1, 120),
    start_index=st.integers(0, 1),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 0, 1, 1, 0)
@example(2, 0, 1, 1, 0)
@example(81, 0, 17, 5, 0)  # one clip fills the video
@example(82, 0, 17, 5, 0)
@example(80, 0, 17, 5, 0)  # one frame too short for a clip
def test_properties(total_frames, start_index, clip_len, frame_interval, seed):
    """What the docstring promises, for any video and clip."""
    np.random.seed(seed)
    inds, label = draw(total_frames, start_index, clip_len=clip_len, frame_interval=frame_interval)
    assert inds.shape == (3, clip_len)
    assert inds.dtype == np.int64
    assert type(label) is int and label in (0, 1)
    clips = inds - start_index
    assert clips.min() >= 0 and clips.max() < total_frames
    num_starts = total_frames - (clip_len - 1) * frame_interval
    for clip in clips:
        expected = [(clip[0] + t * frame_interval) % total_frames for t in range(clip_len)]
        np.testing.assert_array_equal(clip, expected)
        assert num_starts < 1 or (np.diff(clip) == frame_interval).all()  # no wrap without need
    num_starts = num_starts if num_starts >= 1 else total_frames

    query, earlier, later = clips[:, 0]
    if num_starts == 1:
        assert query == earlier == later == 0
        return
    first, second = range(num_starts // 2), range(num_starts // 2, num_starts)
    mine, others = (second, first) if label else (first, second)
    assert query in mine and earlier in others and later in others
    assert (query > later) if label else (query < earlier)
    assert earlier < later or (earlier == later and len(others) == 1)


@pytest.mark.parametrize(
    'total_frames, num_starts, kwargs',
    [
        (8, 8, {}),
        (9, 9, {}),
        (2, 2, {}),
        (3, 3, {}),
        (12, 6, dict(clip_len=3, frame_interval=3)),
        (5, 5, dict(clip_len=3, frame_interval=3)),  # too short for a clip: all 5 frames
    ],
)
def test_joint_distribution(total_frames, num_starts, kwargs):
    """Label, query and pair of keys, each uniform over what the one before leaves."""
    np.random.seed(1)
    counts = Counter()
    for _ in range(1000):
        inds, label = draw(total_frames, **kwargs)
        counts[(label, *inds[:, 0])] += 1
    expected = {}
    halves = range(num_starts // 2), range(num_starts // 2, num_starts)
    for label in (0, 1):
        queries, others = halves[label], halves[1 - label]
        pairs = list(combinations(others, 2)) or [(others[0], others[0])]
        for query, pair in product(queries, pairs):
            expected[(label, query, *pair)] = 1000 / (2 * len(queries) * len(pairs))
    assert set(counts) <= set(expected)
    assert chisquare([counts[cell] for cell in expected], list(expected.values())).pvalue > 0.01


def test_label_of_a_single_frame_is_fair():
    np.random.seed(2)
    assert binomtest(sum(draw(1)[1] for _ in range(600)), 600).pvalue > 0.01
