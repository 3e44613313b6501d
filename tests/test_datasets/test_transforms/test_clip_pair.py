"""Clip pairs: the gap against its density's closed form, the starts, the swap, short videos."""

from collections import Counter

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import binomtest, chisquare, kstest

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
    for u in [0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999]:
        expected = brentq(lambda gap, u=u: cdf(density, gap) - u, 0, M, xtol=1e-12)
        assert draw_gap(density, M, u, rate=RATE) == pytest.approx(expected, abs=1e-6)


@densities
def test_derivative_is_one_over_the_density(density):
    """d gap / d u = 1 / p(gap), by central differences."""
    u, h = np.linspace(0.05, 0.95, 19), 1e-6
    upper, lower = (draw_gap(density, M, u + s * h, rate=RATE) for s in (1, -1))
    at = draw_gap(density, M, u, rate=RATE)
    np.testing.assert_allclose(
        (upper - lower) / (2 * h), [1 / pdf(density, g) for g in at], rtol=1e-5
    )


@densities
def test_kolmogorov_smirnov(density):
    """Gaps of uniform numbers follow the density, and no other one."""
    gaps = draw_gap(density, M, np.random.default_rng(0).random(500), rate=RATE)
    assert gaps.shape == (500,) and gaps.min() >= 0 and gaps.max() <= M
    for other in SHAPES:
        pvalue = kstest(gaps, np.vectorize(lambda g, name=other: cdf(name, g))).pvalue
        assert pvalue > 0.01 if other == density else pvalue < 1e-6


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
    num_starts, num_draws = 6, 6000
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
    pairs = [draw(23, clip_len=4, frame_interval=1, gap='constant', constant=constant)
             for _ in range(1000)]  # fmt: skip
    starts = np.array(pairs)[:, :, 0]
    assert set(np.abs(np.diff(starts)).ravel()) == {gap}
    counts = Counter(starts.min(1).tolist())
    assert sorted(counts) == list(range(20 - gap))
    if len(counts) > 1:
        assert chisquare(list(counts.values())).pvalue > 0.01


def test_swap_is_fair():
    """View 0 is the earlier clip half the time, whatever the gap."""
    np.random.seed(2)
    starts = np.array([draw(100)[:, 0] for _ in range(2000)])
    gaps = np.diff(starts)[:, 0]
    for size in (np.abs(gaps) <= 15, np.abs(gaps) > 15):
        sign = gaps[size & (gaps != 0)] > 0
        assert len(sign) > 300
        assert binomtest(int(sign.sum()), len(sign)).pvalue > 0.01


def test_exactly_one_clip():
    """31 frames hold one clip of 16 frames 2 apart, and both views show it."""
    for seed in range(10):
        np.random.seed(seed)
        np.testing.assert_array_equal(draw(31), [np.arange(0, 31, 2)] * 2)


def test_short_videos_wrap():
    """Below one clip: two independent uniform starts, indices modulo the length."""
    np.random.seed(4)
    cells = Counter()
    for _ in range(3000):
        inds = draw(5, clip_len=4, frame_interval=2)
        for clip in inds:
            np.testing.assert_array_equal(clip, [(clip[0] + 2 * t) % 5 for t in range(4)])
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
