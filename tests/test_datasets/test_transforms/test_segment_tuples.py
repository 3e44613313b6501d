"""Segment tuples: membership, uniformity, distinct draws, clips, short videos."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import SampleSegmentTuples
from mmssl_video.errors import UserError


def draw(total_frames, start_index=0, **kwargs):
    """Frame indices [V, S, T] of one draw."""
    results = dict(total_frames=total_frames, start_index=start_index)
    results = SampleSegmentTuples(**kwargs)(results)
    return results['frame_inds'].reshape(
        results['num_views'], results['num_segments'], results['clip_len']
    )


def members(total_frames, num_segments):
    """Frames of every segment: [s * N / K, (s + 1) * N / K), each cut moved down to a frame."""
    cuts = [s * total_frames // num_segments for s in range(num_segments + 1)]
    return [list(range(*cut)) for cut in zip(cuts, cuts[1:], strict=False)]


views_strategy = st.sampled_from([(0,), (0, 1), (0, 1, 0), (1, 0), (0, 1, 2), (0, 0, 1, 2, 1)])


@settings(max_examples=150, deadline=None)
@given(
    total_frames=st.integers(1, 200),
    num_segments=st.integers(1, 8),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 5),
    views=views_strategy,
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 8, 1, 1, (0, 1, 0), 0)
@example(16, 8, 1, 5, (0, 1, 0), 0)
@example(200, 1, 17, 5, (0, 1, 2), 0)
@example(81, 8, 17, 5, (0, 1, 0), 0)  # one clip fills the video
@example(82, 8, 17, 5, (0, 1, 0), 0)
def test_properties(total_frames, num_segments, clip_len, frame_interval, views, seed):
    """What the docstring promises, for any video, tuple and clip."""
    np.random.seed(seed)
    kwargs = dict(num_segments=num_segments, clip_len=clip_len, frame_interval=frame_interval)
    inds = draw(total_frames, views=views, **kwargs)
    assert inds.shape == (len(views), num_segments, clip_len)
    assert inds.dtype == np.int64
    assert inds.min() >= 0 and inds.max() < total_frames

    tuples = {}
    for view, number in zip(inds, views, strict=True):
        np.testing.assert_array_equal(view, tuples.setdefault(number, view))
    num_tuples = len(tuples)
    span = (clip_len - 1) * frame_interval + 1
    fits = span <= total_frames  # else the indices wrap around
    steps = np.diff(inds, axis=2) % total_frames
    assert (steps == frame_interval % total_frames).all()
    if fits:
        assert (np.diff(inds, axis=2) == frame_interval).all()

    for segment, frames in enumerate(members(total_frames, num_segments)):
        starts = [int(clip[segment, 0]) for clip in tuples.values()]
        ends = [int(clip[segment, -1]) for clip in tuples.values()]
        if not frames:  # fewer frames than segments: the one at the cut is shared
            assert clip_len > 1 and fits or set(starts) == {segment * total_frames // num_segments}
        if clip_len == 1 and len(frames) > 1 and num_tuples == 2:
            assert starts[0] != starts[1]  # the anchor's frame is never the positive's
        if clip_len == 1 or not fits:
            if frames:
                assert set(starts) <= set(frames)
            if len(frames) >= num_tuples:
                assert len(set(starts)) == num_tuples
        elif len(frames) - span + 1 >= num_tuples:  # room for the draws inside the segment
            assert min(starts) >= frames[0] and max(ends) <= frames[-1]
            assert len(set(starts)) == num_tuples
        else:
            # Starts from which the clip ends inside the video, up to the segment's end.
            end = frames[-1] if frames else segment * total_frames // num_segments
            allowed = range(min(end, total_frames - span) + 1)
            assert set(starts) <= set(allowed)
            assert len(set(starts)) == num_tuples or len(allowed) < num_tuples
            # None earlier than the segment, but for what distinct starts need.
            first = frames[0] if frames else end
            assert min(starts) >= min(first, max(0, allowed[-1] - num_tuples + 1))


def test_uniform_in_segment():
    """Each tuple's frame is uniform in its segment, every pair of different frames too.

    And the frame of one segment says nothing about that of the next.
    """
    np.random.seed(0)
    draws = np.array([draw(20, views=(0, 1)) for _ in range(3000)])[..., 0]  # [N, V, S]
    segments = members(20, 3)
    for segment, frames in enumerate(segments):
        assert len(frames) in (6, 7)
        for view in range(2):
            counts = Counter(draws[:, view, segment].tolist())
            assert set(counts) == set(frames)
            assert chisquare(list(counts.values())).pvalue > 0.01
        pairs = Counter(map(tuple, draws[:, :, segment].tolist()))
        assert set(pairs) == {(a, b) for a in frames for b in frames if a != b}
        assert chisquare(list(pairs.values())).pvalue > 0.01
    for view in range(2):
        cells = Counter(map(tuple, draws[:, view, :2].tolist()))
        assert set(cells) == set(product(*segments[:2]))
        assert chisquare(list(cells.values())).pvalue > 0.01


def test_clip_starts_are_uniform():
    """A clip of 4 frames 3 apart (10 in all) starts at any frame that keeps it in its segment."""
    np.random.seed(2)
    kwargs = dict(num_segments=3, clip_len=4, frame_interval=3)
    draws = np.array([draw(48, **kwargs) for _ in range(1500)])  # [N, V, S, T]
    for segment in range(3):
        counts = Counter(draws[:, 1, segment, 0].tolist())
        assert sorted(counts) == list(range(16 * segment, 16 * segment + 7))
        assert chisquare(list(counts.values())).pvalue > 0.01


def test_clip_longer_than_segment():
    """15 frames of a segment of 10: the starts that end inside the video, two at the least."""
    np.random.seed(3)
    draws = np.array([draw(30, clip_len=8, frame_interval=2) for _ in range(400)])
    starts = draws[..., 0]
    assert set(starts[:, :, 0].ravel()) == set(range(10))
    assert set(starts[:, :, 1].ravel()) == set(range(10, 16))
    assert set(starts[:, :, 2].ravel()) == {14, 15}
    assert (starts[:, 0] != starts[:, 1]).all()


@pytest.mark.parametrize('total_frames, expected', [(1, [0, 0, 0]), (2, [0, 0, 1]), (3, [0, 1, 2])])
def test_fewer_frames_than_the_tuple(total_frames, expected):
    """Videos of 1, 2 and 3 frames: one frame is left to each of the three segments."""
    for seed in range(5):
        np.random.seed(seed)
        np.testing.assert_array_equal(draw(total_frames)[..., 0], [expected] * 3)


@pytest.mark.parametrize('views', [(), (1,), (0, 2), (0, 1, 3), (-1, 0)])
def test_views_that_skip_a_tuple(views):
    """Tuples are numbered 0, 1, … without a gap."""
    with pytest.raises(UserError, match=r'SampleSegmentTuples\.views is .*\(0, 1, 0\)$'):
        SampleSegmentTuples(views=views)
