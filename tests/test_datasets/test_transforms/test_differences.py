"""ClipDifferences against a slow loop, and in the pipelines it is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmaction.datasets.transforms import FormatShape

from mmssl_video.datasets.transforms import ClipDifferences, FormatViews
from mmssl_video.errors import UserError

CLIPS = arrays(
    np.uint8,
    st.tuples(
        st.integers(1, 3), st.integers(2, 5), st.integers(1, 3), st.integers(1, 3), st.just(3)
    ),
)


@settings(max_examples=60, deadline=None)
@given(clips=CLIPS, gain=st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_against_a_slow_loop(clips, gain):
    """Pixel by pixel; no clip mixed with the next; the frames are not written to."""
    kept = clips.copy()
    num_clips, clip_len, *size = clips.shape
    imgs = list(clips.reshape(-1, *size))
    results = ClipDifferences(gain)(dict(imgs=imgs, clip_len=clip_len))
    assert results['clip_len'] == clip_len - 1
    assert {(img.dtype, img.shape) for img in results['imgs']} == {(np.dtype('u1'), tuple(size))}
    differences = np.array(results['imgs']).reshape(num_clips, clip_len - 1, *size)
    for clip, t, *place in np.ndindex(differences.shape):
        before, after = (int(clips[(clip, t + step, *place)]) for step in (0, 1))
        exact = min(max(128 + gain * (after - before), 0), 255)
        assert abs(differences[(clip, t, *place)] - exact) <= 0.5  # halves go to the even number
    np.testing.assert_array_equal(clips, kept)


def test_frame_numbers_are_those_of_the_earlier_frames():
    imgs = [np.zeros((2, 2, 3), np.uint8)] * 6
    results = dict(imgs=imgs, clip_len=3, frame_inds=np.array([4, 6, 8, 10, 12, 14]))
    assert ClipDifferences()(results)['frame_inds'].tolist() == [4, 6, 10, 12]


def test_shapes_of_views_and_of_features():
    """Two views of three clips of five frames, and MMAction2's clips of a whole video."""
    clips = list(np.random.default_rng(0).integers(0, 256, (30, 5, 7, 3), dtype=np.uint8))
    views = dict(imgs=clips, num_views=2, num_segments=3, clip_len=5)
    assert FormatViews('NCTHW')(ClipDifferences()(views))['imgs'].shape == (2, 3, 3, 4, 5, 7)
    video = ClipDifferences()(dict(imgs=clips, num_clips=6, clip_len=5))
    assert FormatShape('NCTHW')(video)['imgs'].shape == (6, 3, 4, 5, 7)


@pytest.mark.parametrize('gain', [0, -1, float('nan')])
def test_gain(gain):
    with pytest.raises(UserError, match=f'ClipDifferences.gain is {gain}; it must be above 0'):
        ClipDifferences(gain)


def test_single_frames():
    with pytest.raises(UserError, match='clips of 1 frame; set clip_len to 2 or more'):
        ClipDifferences()(dict(imgs=[np.zeros((2, 2, 3), np.uint8)], clip_len=1))
