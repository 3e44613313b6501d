"""One clip out of order, all others in order; clips as sums of differences."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose
from scipy.stats import chisquare

from mmssl_video.datasets.transforms import FormatViews, SampleOddOneOut, SumOfDifferences
from mmssl_video.errors import UserError


def draw(total_frames, start_index=0, **kwargs):
    """Frame indices [S, T] of one draw and the label."""
    results = SampleOddOneOut(**kwargs)(dict(total_frames=total_frames, start_index=start_index))
    inds = results['frame_inds'].reshape(results['num_segments'], results['clip_len'])
    return inds, results['odd_one']


def check(total_frames, inds, odd_one, num_segments, clip_len, frame_interval):
    """Legal indices; all clips but the odd one in order; the odd one a shuffle of a clip."""
    assert inds.shape == (num_segments, clip_len) and inds.dtype == np.int64
    assert type(odd_one) is int and 0 <= odd_one < num_segments
    assert inds.min() >= 0 and inds.max() < total_frames
    fits = total_frames > (clip_len - 1) * frame_interval
    for i, clip in enumerate(inds):
        if i == odd_one and fits:
            ordered = np.sort(clip)
            np.testing.assert_array_equal(np.diff(ordered), frame_interval)
            assert not np.array_equal(clip, ordered)
            assert not np.array_equal(clip, ordered[::-1])
        elif i == odd_one:  # the frames of some clip that wraps around the end
            steps = np.arange(clip_len) * frame_interval
            wrapped = [np.sort((a + steps) % total_frames) for a in range(total_frames)]
            assert any(np.array_equal(np.sort(clip), frames) for frames in wrapped)
        else:
            expected = [(clip[0] + t * frame_interval) % total_frames for t in range(clip_len)]
            np.testing.assert_array_equal(clip, expected)
            assert not fits or (np.diff(clip) == frame_interval).all()


@settings(max_examples=100, deadline=None)
@given(
    total_frames=st.integers(1, 120),
    start_index=st.integers(0, 1),
    num_segments=st.integers(2, 7),
    clip_len=st.integers(3, 16),
    frame_interval=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@example(6, 1, 6, 6, 1, 0)  # one clip fills the video
@example(5, 1, 6, 6, 1, 0)
@example(1, 0, 2, 3, 1, 0)
def test_properties(total_frames, start_index, num_segments, clip_len, frame_interval, seed):
    """What the docstring promises, for any video and clips."""
    np.random.seed(seed)
    sizes = dict(num_segments=num_segments, clip_len=clip_len, frame_interval=frame_interval)
    inds, odd_one = draw(total_frames, start_index, **sizes)
    check(total_frames, inds - start_index, odd_one, **sizes)


@pytest.mark.parametrize('clip_len', [3, 5])
def test_label_and_order_are_uniform_and_independent(clip_len):
    """Every place with every order but the right one and its reversal: T! - 2 of them."""
    np.random.seed(1)
    identity = tuple(range(clip_len))
    orders = [p for p in permutations(identity) if p not in (identity, identity[::-1])]
    counts = Counter()
    for _ in range(3000):
        inds, odd_one = draw(20, num_segments=3, clip_len=clip_len, frame_interval=2)
        counts[odd_one, tuple((inds[odd_one] - inds[odd_one].min()) // 2)] += 1
    cells = [(i, order) for i in range(3) for order in orders]
    assert set(counts) <= set(cells)
    assert len(cells) == 3 * {3: 4, 5: 118}[clip_len]
    assert chisquare([counts[cell] for cell in cells]).pvalue > 1e-3


@pytest.mark.parametrize('place', [0, 1, 2])
def test_starts_are_uniform(place):
    """Of every clip, odd or not: 5 starts."""
    np.random.seed(3 + place)
    draws = [draw(11, num_segments=3, clip_len=4, frame_interval=2) for _ in range(1200)]
    for odd in (False, True):
        starts = [inds[place].min() for inds, odd_one in draws if (odd_one == place) == odd]
        counts = np.bincount(starts)
        assert len(counts) == 5 and chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize('decoder', ['Video', 'OpenCV'])
def test_pipeline(tmp_path, write_numbered_video, frame_number, decoder):
    """From file to packed sample: the decoded frames stand in the drawn order."""
    path = write_numbered_video(tmp_path / 'video.mp4', 30)
    np.random.seed(4)
    pipeline = [
        dict(type=f'{decoder}Init'),
        dict(type='SampleOddOneOut'),
        dict(type=f'{decoder}Decode'),
        dict(type='FormatViews', input_format='NCTHW'),
    ]
    results = Compose([TRANSFORMS.build(cfg) for cfg in pipeline])(
        dict(filename=str(path), start_index=0, modality='RGB', label=-1)
    )
    assert results['input_shape'] == (1, 6, 3, 6, 48, 64)
    shown = [[frame_number(clip[:, t]) for t in range(6)] for clip in results['imgs'][0]]
    np.testing.assert_array_equal(np.ravel(shown), results['frame_inds'])
    in_order = [(np.diff(clip) == 1).all() for clip in shown]
    assert in_order == [i != results['odd_one'] for i in range(6)]
    pack = TRANSFORMS.build(dict(type='PackActionInputs', algorithm_keys=('odd_one',)))
    assert pack(results)['data_samples'].odd_one == results['odd_one']


# -- Sum of differences ----------------------------------------------------------------------


def summed(frames):
    """The image of one clip [T, H, W, 3]."""
    (img,) = SumOfDifferences()(dict(imgs=list(frames), clip_len=len(frames)))['imgs']
    return img


CLIPS = arrays(
    np.uint8, st.tuples(st.integers(2, 7), st.integers(1, 3), st.integers(1, 3), st.just(3))
)


@settings(max_examples=60, deadline=None)
@given(frames=CLIPS)
def test_sum_against_a_slow_loop(frames):
    """Pixel by pixel in Python integers, clipped at the end; a reversed clip gives the same."""
    kept = frames.copy()
    img = summed(frames)
    assert img.dtype == np.uint8 and img.shape == frames.shape[1:]
    total = abs(np.diff(frames.astype(int), axis=0)).sum(axis=0)
    np.testing.assert_array_equal(img, total.clip(max=255))
    np.testing.assert_array_equal(frames, kept)
    np.testing.assert_array_equal(summed(frames[::-1]), img)


def test_clip_by_clip():
    """Six clips of four frames become six images for a 2D backbone, none mixed with the next."""
    clips = np.random.default_rng(5).integers(0, 256, (6, 4, 5, 7, 3), dtype=np.uint8)
    results = dict(imgs=list(clips.reshape(24, 5, 7, 3)), num_views=2, num_segments=3, clip_len=4)
    results = SumOfDifferences()(results)
    assert results['clip_len'] == 1
    imgs = FormatViews('NCHW')(results)['imgs']
    assert imgs.shape == (2, 3, 3, 5, 7)
    for img, clip in zip(imgs.reshape(6, 3, 5, 7), clips, strict=True):
        np.testing.assert_array_equal(img.transpose(1, 2, 0), summed(clip))
    with pytest.raises(UserError, match='clips of 1 frame; set clip_len to 2 or more') as error:
        SumOfDifferences()(dict(imgs=[np.zeros((2, 2, 3), np.uint8)], clip_len=1))
    assert '\n' not in str(error.value)
