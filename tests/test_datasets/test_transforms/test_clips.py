"""ρ clips: uniform starts, the window in seconds, the order of views, short videos."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmaction.registry import TRANSFORMS
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import SampleClips
from mmssl_video.errors import UserError


def draw(total_frames, start_index=0, avg_fps=None, **kwargs):
    """Frame indices [V, T] of one draw."""
    results = dict(total_frames=total_frames, start_index=start_index)
    if avg_fps is not None:
        results['avg_fps'] = avg_fps
    results = SampleClips(**kwargs)(results)
    return results['frame_inds'].reshape(results['num_views'], results['clip_len'])


def assert_distribution(draws, expected):
    """Chi-square test of a sequence of outcomes against ``{outcome: probability}``."""
    counts = Counter(draws)
    assert set(counts) <= set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    frequencies = [len(draws) * p for p in expected.values()]
    if len(expected) > 1:  # else there is nothing to test
        assert chisquare([counts[outcome] for outcome in expected], frequencies).pvalue > 0.01


@settings(max_examples=120, deadline=None)
@given(
    total_frames=st.integers(1, 200),
    num_views=st.integers(1, 5),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 9),
    timespan=st.none() | st.floats(0, 20),
    fps=st.sampled_from([5, 23.976, 25, 29.97, 60]),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 4, 17, 9, 1.0, 25, 0)
@example(57, 4, 8, 8, None, 25, 0)  # one clip fills the video
@example(58, 4, 8, 8, None, 25, 0)
@example(56, 4, 8, 8, 0.5, 25, 0)  # one frame too short for a clip
def test_properties(total_frames, num_views, clip_len, frame_interval, timespan, fps, seed):
    """Shapes, range, steps and the window, for any video and clip."""
    np.random.seed(seed)
    kwargs = dict(num_views=num_views, clip_len=clip_len, frame_interval=frame_interval)
    inds = draw(total_frames, avg_fps=fps, timespan=timespan, **kwargs)
    assert inds.shape == (num_views, clip_len)
    assert inds.min() >= 0 and inds.max() < total_frames
    num_starts = total_frames - (clip_len - 1) * frame_interval
    for clip in inds:
        expected = [(clip[0] + t * frame_interval) % total_frames for t in range(clip_len)]
        np.testing.assert_array_equal(clip, expected)
        assert num_starts < 1 or (np.diff(clip) == frame_interval).all()  # no wrap without need
    if timespan is not None:
        assert np.ptp(inds[:, 0]) <= timespan * fps


WINDOWS = {  # number of frames, seconds: starts in each window, for clips of 3 frames 2 apart
    (15, None): [range(11)],
    (5, None): [range(1)],
    (4, None): [range(4)],  # too short for a clip: every frame is a start
    (4, 0.2): [range(a, a + 2) for a in range(3)],
} | {
    (11, seconds): [range(a, a + size + 1) for a in range(7 - size)]
    for seconds, size in [
        *[(0.0, 0), (0.1, 0), (0.2, 1), (0.5, 2), (0.79, 3)],
        *[(1.19, 5), (1.2, 6), (1.21, 6), (99, 6)],
    ]
}


def pairs_of(windows):
    """P(s, t) of two views: the window is uniform, and in it are both starts."""
    expected = Counter()
    for window in windows:
        for s, t in product(window, repeat=2):
            expected[s, t] += 1 / (len(windows) * len(window) ** 2)
    return expected


@pytest.mark.parametrize('total_frames, timespan', WINDOWS)
def test_joint_distribution_in_the_window(total_frames, timespan):
    """At 5 frames a second."""
    np.random.seed(4)
    kwargs = dict(avg_fps=5, clip_len=3, frame_interval=2, timespan=timespan)
    draws = [tuple(draw(total_frames, **kwargs)[:, 0]) for _ in range(2000)]
    assert_distribution(draws, pairs_of(WINDOWS[total_frames, timespan]))


@pytest.mark.parametrize('opener', ['VideoInit', 'DecordInit'])
def test_rate_of_a_file(tmp_path, write_numbered_video, opener):
    """Each writes a key that the sampler reads; one sampler takes videos of several rates."""
    if opener == 'DecordInit':
        pytest.importorskip('decord')
    np.random.seed(7)
    sampler = SampleClips(num_views=20, clip_len=1, timespan=1.0)
    for fps in (5, 20):
        path = write_numbered_video(tmp_path / f'{fps}.mp4', 40, fps=fps)
        opened = TRANSFORMS.build(dict(type=opener))(dict(filename=str(path), start_index=0))
        spans = [np.ptp(sampler(dict(opened))['frame_inds']) for _ in range(60)]
        assert max(spans) == fps


@pytest.mark.parametrize('opener', ['PyAVInit', 'OpenCVInit', None])
def test_no_rate(tmp_path, write_numbered_video, opener):
    """Other decoders and raw frames tell none; without a timespan, none is needed."""
    results = dict(total_frames=40, start_index=0)
    if opener:
        path = write_numbered_video(tmp_path / 'video.mp4', 40)
        results = TRANSFORMS.build(dict(type=opener))(dict(filename=str(path), start_index=0))
    with pytest.raises(UserError, match=r'timespan=2.*VideoInit.*timespan=None$') as error:
        SampleClips(timespan=2)(results)
    assert '\n' not in str(error.value)
    assert SampleClips(clip_len=2)(results)['frame_inds'].shape == (4,)


@pytest.mark.parametrize('timespan', [0.0, 0.1, 0.2, 0.5, 0.79, 1.2, 1.21, 99])
def test_constant_rate_by_times_as_by_rate(timespan):
    """The draws themselves are the same, whether the rate or the times are known."""
    results = dict(total_frames=11, start_index=0)
    sampler = SampleClips(num_views=3, clip_len=3, frame_interval=2, timespan=timespan)
    for seed in range(20):
        np.random.seed(seed)
        by_rate = sampler(dict(results, avg_fps=5))['frame_inds']
        np.random.seed(seed)
        by_times = sampler(dict(results, frame_times=np.arange(11) / 5))['frame_inds']
        np.testing.assert_array_equal(by_times, by_rate)


def test_window_of_a_variable_rate():
    """Two seconds hold 2 frames of the slow part, and 4 where the fast one begins."""
    np.random.seed(8)
    times = np.array([0, 2, 4, 4.5, 5, 6, 9])
    sampler = SampleClips(num_views=2, clip_len=1, timespan=2)
    video = dict(total_frames=7, start_index=0, frame_times=times)
    draws = [tuple(sampler(dict(video))['frame_inds']) for _ in range(2000)]
    windows = [[0, 1], [1, 2], [2, 3, 4, 5], [3, 4, 5], [4, 5], [5], [6]]
    assert_distribution(draws, pairs_of(windows))


def test_unknown_rate_and_timespan():
    """A rate of 0 gives equal starts, one that is no number an error (never the whole video)."""
    starts = draw(100, avg_fps=0.0, num_views=9, clip_len=1, timespan=3)
    assert len(set(starts.ravel())) == 1
    with pytest.raises(ValueError, match='NaN'):
        draw(100, avg_fps=float('nan'), timespan=3)
    for timespan in (-0.5, float('nan')):
        with pytest.raises(UserError, match=rf'timespan is {timespan}; .*0 seconds or more$'):
            SampleClips(timespan=timespan)
