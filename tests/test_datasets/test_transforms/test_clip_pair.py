"""Clip pairs: the gap against its density's closed form, the starts, the swap, short videos."""

from collections import Counter

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import binomtest, chisquare

from mmssl_video.datasets.transforms import SampleClipPair, draw_gap
from mmssl_video.errors import UserError

M, RATE = 40.0, 5.0
# p(x) of the relative gap x = gap / M, unnormalised: what each name says, and CVRL's 2 (1 - x).
SHAPES = dict(
    decreasing=lambda x: 1 - x,
    uniform=lambda x: 1.0,
    increasing=lambda x: x,
    exponential=lambda x: np.exp(-RATE * x),
)
densities = pytest.mark.parametrize('density', SHAPES)


def pdf(density, gap):
    """Density over gaps in frames, normalised numerically."""
    shape = SHAPES[density]
    return shape(gap / M) / (M * quad(shape, 0, 1)[0])


def cdf(density, gap):
    """Its distribution function by quadrature."""
    return quad(lambda g: pdf(density, g), 0, gap)[0]


@densities
def test_inverse_of_the_distribution_function(density):
    """draw_gap(u) solves F(gap) = u."""
    numbers = np.array([0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999])
    gaps = draw_gap(density, M, numbers, rate=RATE)
    for u, gap in zip(numbers, gaps, strict=True):
        expected = brentq(lambda gap, u=u: cdf(density, gap) - u, 0, M, xtol=1e-12)
        assert gap == pytest.approx(expected, abs=1e-6)
        assert draw_gap(density, M, u, rate=RATE) == gap


def test_constant():
    """All mass at one fraction of the largest gap."""
    gaps = draw_gap('constant', M, np.linspace(0, 0.9, 4), constant=0.25)
    np.testing.assert_array_equal(gaps, [10.0] * 4)
    assert draw_gap('constant', M, 0.3, constant=1.0) == M


def draw(total_frames, start_index=0, **kwargs):
    """Frame indices [2, T] of one pair."""
    results = dict(total_frames=total_frames, start_index=start_index)
    return SampleClipPair(**kwargs)(results)['frame_inds'].reshape(2, -1)


def gap_probabilities(density, num_starts):
    """P(floor(gap) = g) for g = 0 … num_starts - 1, with M = num_starts."""
    edges = [cdf(density, M * g / num_starts) for g in range(num_starts + 1)]
    return np.diff(edges)


@densities
def test_joint_distribution_of_starts(density):
    """P(earlier, gap) = P(gap) / (M - gap): the earlier clip is uniform on what the gap leaves."""
    np.random.seed(0)
    num_starts, num_draws = 6, 2500
    pairs = Counter()
    for _ in range(num_draws):
        # 3 frames 2 apart span 5 frames, so 10 frames leave 6 starts.
        inds = draw(10, clip_len=3, frame_interval=2, gap=density, rate=RATE)
        assert (np.diff(inds, axis=1) == 2).all() and inds.min() >= 0 and inds.max() < 10
        first, second = sorted(inds[:, 0].tolist())
        pairs[first, second - first] += 1
    expected = {
        (first, gap): num_draws * p / (num_starts - gap)
        for gap, p in enumerate(gap_probabilities(density, num_starts))
        for first in range(num_starts - gap)
    }
    assert set(pairs) <= set(expected)
    assert chisquare([pairs[cell] for cell in expected], list(expected.values())).pvalue > 0.01


@pytest.mark.parametrize('constant, gap', [(0.0, 0), (0.5, 10), (0.99, 19), (1.0, 19)])
def test_constant_gap(constant, gap):
    """A constant fraction of the 20 starts; the whole of them is cut to the largest that fits."""
    np.random.seed(1)
    kwargs = dict(clip_len=4, frame_interval=1, gap='constant', constant=constant)
    starts = np.array([draw(23, **kwargs)[:, 0] for _ in range(500)])
    assert set(np.abs(np.diff(starts)).ravel()) == {gap}
    counts = np.bincount(starts.min(1))
    assert len(counts) == 20 - gap
    assert len(counts) == 1 or chisquare(counts).pvalue > 0.01


def test_swap_is_fair():
    """View 0 is the earlier clip half the time, whatever the gap."""
    np.random.seed(2)
    starts = np.array([draw(100)[:, 0] for _ in range(1500)])
    gaps = np.diff(starts)[:, 0]
    for size in (np.abs(gaps) <= 15, np.abs(gaps) > 15):
        sign = gaps[size & (gaps != 0)] > 0
        assert len(sign) > 300
        assert binomtest(int(sign.sum()), len(sign)).pvalue > 0.01


def test_short_videos_wrap():
    """Below one clip: two independent uniform starts, indices modulo the length."""
    np.testing.assert_array_equal(draw(31), [np.arange(0, 31, 2)] * 2)  # exactly one clip
    np.random.seed(4)
    cells = Counter()
    for _ in range(1500):
        inds = draw(5, clip_len=4, frame_interval=2)
        assert ((inds[:, :1] + [0, 2, 4, 6]) % 5 == inds).all()
        cells[tuple(inds[:, 0])] += 1
    assert len(cells) == 25
    assert chisquare(list(cells.values())).pvalue > 0.01


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(gap='linear'), r"gap is 'linear'; choose one of decreasing, uniform, "),
        (dict(constant=1.5), r'constant is 1.5; .*\[0, 1\]'),
        (dict(constant=-0.1), r'constant is -0.1; .*\[0, 1\]'),
        (dict(rate=0), 'rate is 0; .*above 0'),
    ],
)
def test_errors(kwargs, message):
    """One line that names the argument, its value and what is allowed."""
    with pytest.raises(UserError, match=message) as error:
        SampleClipPair(**kwargs)
    assert '\n' not in str(error.value)
