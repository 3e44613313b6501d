"""Rotations: every pixel at its place, one angle a sample, the label fair and right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import ClipRotation, SharedAugment
from mmssl_video.errors import UserError


def rotate(imgs, seed=0):
    np.random.seed(seed)
    return ClipRotation()(dict(imgs=list(imgs), img_shape=imgs[0].shape[:2]))


@settings(max_examples=60, deadline=None)
@given(
    clip=arrays(
        np.uint8,
        st.builds(lambda num, size: (num, size, size, 3), st.integers(1, 3), st.integers(1, 5)),
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_against_a_slow_loop(clip, seed):
    """Counter-clockwise: a pixel goes from row y, column x to row W - 1 - x, column y."""
    kept = clip.copy()
    results = rotate(clip, seed)
    assert type(results['rotation']) is int and len(results['imgs']) == len(clip)
    for img, source in zip(results['imgs'], clip, strict=True):
        expected, last = source, len(source) - 1
        for _ in range(results['rotation']):
            turned = np.empty_like(expected)
            for y, x in np.ndindex(source.shape[:2]):
                turned[last - x, y] = expected[y, x]
            expected = turned
        np.testing.assert_array_equal(img, expected)
        assert img.dtype == np.uint8 and img.flags.c_contiguous
        assert results['img_shape'] == img.shape[:2]
    np.testing.assert_array_equal(clip, kept)


def test_label_is_uniform():
    np.random.seed(1)
    img = np.zeros((2, 2, 3), np.uint8)
    img[0, 0] = 1  # the corner, counter-clockwise: top left, bottom left, bottom right, top right
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    counts = [0] * 4
    for _ in range(1000):
        results = ClipRotation()(dict(imgs=[img] * 3))
        corner = corners[results['rotation']]
        assert all(out[corner].all() and out.sum() == 3 for out in results['imgs'])
        counts[results['rotation']] += 1
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize('seed', range(8))
def test_one_array_shown_twice(seed):
    """Whatever the angle, the frames are arrays of their own: Flip, in place, flips each once."""
    img = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    results = rotate([img, img], seed)
    results.update(num_views=1, num_segments=1, clip_len=2)
    wanted = np.rot90(img, results['rotation'])[:, ::-1]
    flipped = SharedAugment('sample', [dict(type='Flip', flip_ratio=1.0)])(results)['imgs']
    for out in flipped:
        np.testing.assert_array_equal(out, wanted)


def test_frames_that_are_no_squares_are_refused():
    with pytest.raises(UserError, match='ClipRotation got frames of 6 x 4 pixels; crop or resize'):
        ClipRotation()(dict(imgs=[np.zeros((4, 6, 3), np.uint8)]))
