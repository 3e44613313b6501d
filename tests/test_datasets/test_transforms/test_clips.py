"""ρ clips: uniform starts, the window in seconds, the order of views, short videos."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmaction.registry import TRANSFORMS
from scipy.stats import binomtest, chisquare

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


@settings(max_examples=400, deadline=None)
@given(
    total_frames=st.integers(1, 200),
    start_index=st.integers(0, 1),
    num_views=st.integers(1, 5),
    clip_len=st.integers(1, 17),
    frame_interval=st.integers(1, 9),
    timespan=st.none() | st.floats(0, 20),
    fps=st.sampled_from([5, 23.976, 25, 29.97, 60]),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, 1, 4, 17, 9, 1.0, 25, 0)
@example(57, 0, 4, 8, 8, None, 25, 0)  # one clip fills the video
@example(58, 0, 4, 8, 8, None, 25, 0)
@example(56, 0, 4, 8, 8, 0.5, 25, 0)  # one frame too short for a clip
def test_properties(
    total_frames, start_index, num_views, clip_len, frame_interval, timespan, fps, seed
):
    """Shapes, dtype, range, steps and the window, for any video and clip."""
    np.random.seed(seed)
    kwargs = dict(num_views=num_views, clip_len=clip_len, frame_interval=frame_interval)
    inds = draw(total_frames, start_index, fps, timespan=timespan, **kwargs)
    assert inds.shape == (num_views, clip_len)
    assert inds.dtype == np.int64
    inds = inds - start_index
    assert inds.min() >= 0 and inds.max() < total_frames
    num_starts = total_frames - (clip_len - 1) * frame_interval
    for clip in inds:
        expected = [(clip[0] + t * frame_interval) % total_frames for t in range(clip_len)]
        np.testing.assert_array_equal(clip, expected)
        assert num_starts < 1 or (np.diff(clip) == frame_interval).all()  # no wrap without need
    if timespan is not None:
        assert np.ptp(inds[:, 0]) <= timespan * fps
        np.random.seed(seed)
        again = draw(total_frames, 0, fps, timespan=timespan, **kwargs)
        np.testing.assert_array_equal(again, inds)


@pytest.mark.parametrize(
    'total_frames, num_starts',
    [(15, 5), (11, 1), (10, 10), (4, 4)],  # clips of 3 frames, 5 apart, need 11
)
def test_starts_are_independent_and_uniform(total_frames, num_starts):
    """All tuples of starts are alike in probability; too short a video has all its frames."""
    np.random.seed(1)
    draws = [
        tuple(draw(total_frames, num_views=2, clip_len=3, frame_interval=5)[:, 0])
        for _ in range(3000)
    ]
    cells = list(product(range(num_starts), repeat=2))
    assert_distribution(draws, dict.fromkeys(cells, 1 / len(cells)))


@pytest.mark.parametrize('timespan', [None, 1.0])
def test_order_of_views_tells_no_time(timespan):
    """Of four clips, each is the earliest, and the last, as often as any other."""
    np.random.seed(3)
    kwargs = dict(num_views=4, timespan=timespan)
    starts = np.array([draw(1000, avg_fps=100, **kwargs)[:, 0] for _ in range(2000)])
    for extreme in (starts.argmin(1), starts.argmax(1)):
        # argmin prefers view 0 on ties: leave these out.
        unique = [len(set(row)) == 4 for row in starts]
        assert chisquare(np.bincount(extreme[unique], minlength=4)).pvalue > 0.01
    first, second = starts[:, 0], starts[:, 1]
    different = first != second
    assert binomtest(int((first < second).sum()), int(different.sum())).pvalue > 0.01


@pytest.mark.parametrize(
    'timespan, window',
    [(0.0, 0), (0.1, 0), (0.2, 1), (0.5, 2), (0.79, 3), (1.19, 5), (1.2, 6), (1.21, 6), (99, 6)],
)
def test_joint_distribution_in_the_window(timespan, window):
    """P(s, t) = sum over windows a of P(a) / (W + 1)^2, at 5 frames a second and 7 starts."""
    np.random.seed(4)
    draws = [
        tuple(draw(11, avg_fps=5, clip_len=3, frame_interval=2, timespan=timespan)[:, 0])
        for _ in range(4000)
    ]
    expected = Counter()
    num_windows = 7 - window
    for a in range(num_windows):
        for s, t in product(range(a, a + window + 1), repeat=2):
            expected[s, t] += 1 / (num_windows * (window + 1) ** 2)
    assert_distribution(draws, expected)


def test_window_in_a_short_video():
    """4 frames for a clip of 11: every frame is a start, windows of 2 frames lie at 3 places."""
    np.random.seed(5)
    draws = [
        tuple(draw(4, avg_fps=10, clip_len=3, frame_interval=5, timespan=0.1)[:, 0])
        for _ in range(3000)
    ]
    expected = Counter()
    for a in range(3):
        for s, t in product((a, a + 1), repeat=2):
            expected[s, t] += 1 / 12
    assert_distribution(draws, expected)


def test_rate_of_each_video():
    """One sampler, two videos: half a second is 5 frames of one and 30 of the other."""
    np.random.seed(6)
    sampler = SampleClips(num_views=2, clip_len=1, timespan=0.5)
    for fps, window in ((10, 5), (60, 30), (29.97, 14)):
        gaps = []
        for _ in range(3000):
            results = sampler(dict(total_frames=300, start_index=0, avg_fps=fps))
            gaps.append(int(abs(np.diff(results['frame_inds'])[0])))
        # Two uniform draws of W + 1 numbers: W + 1 pairs are equal, 2 (W + 1 - g) are g apart.
        expected = {g: (2 if g else 1) * (window + 1 - g) / (window + 1) ** 2
                    for g in range(window + 1)}  # fmt: skip
        assert_distribution(gaps, expected)


@pytest.mark.parametrize('opener', ['VideoInit', 'DecordInit'])
def test_rate_of_a_file(tmp_path, write_numbered_video, opener):
    """Each writes a key that the sampler reads."""
    if opener == 'DecordInit':
        pytest.importorskip('decord')
    np.random.seed(7)
    for fps in (5, 20):
        path = write_numbered_video(tmp_path / f'{fps}.mp4', 40, fps=fps)
        opened = TRANSFORMS.build(dict(type=opener))(dict(filename=str(path), start_index=0))
        sampler = SampleClips(num_views=20, clip_len=1, timespan=1.0)
        spans = [np.ptp(sampler(dict(opened))['frame_inds']) for _ in range(200)]
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
    for seed in range(50):
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
    draws = []
    for _ in range(4000):
        results = sampler(dict(total_frames=7, start_index=0, frame_times=times))
        draws.append(tuple(results['frame_inds']))
    expected = Counter()
    windows = [[0, 1], [1, 2], [2, 3, 4, 5], [3, 4, 5], [4, 5], [5], [6]]
    for window in windows:
        for s, t in product(window, repeat=2):
            expected[s, t] += 1 / (len(windows) * len(window) ** 2)
    assert_distribution(draws, expected)


def test_unknown_rate():
    """A rate of 0 gives equal starts, one that is no number an error (never the whole video)."""
    starts = draw(100, avg_fps=0.0, num_views=9, clip_len=1, timespan=3)
    assert len(set(starts.ravel())) == 1
    with pytest.raises(ValueError, match='NaN'):
        draw(100, avg_fps=float('nan'), timespan=3)


@pytest.mark.parametrize('timespan', [-0.5, float('nan')])
def test_timespan_below_zero(timespan):
    """Seconds are not negative."""
    with pytest.raises(UserError, match=rf'timespan is {timespan}; .*0 seconds or more$'):
        SampleClips(timespan=timespan)
