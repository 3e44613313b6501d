"""FormatViews puts every pixel where the recognizer looks for it."""

import numpy as np
import pytest

from mmssl_video.datasets.transforms import FormatViews
from mmssl_video.errors import UserError

V, S, H, W, C = 3, 2, 4, 5, 3


def flat_views(clip_len):
    """V * S * T frames in order view, segment, frame; every value in the sample is another one."""
    imgs = np.arange(V * S * clip_len * H * W * C) % 251
    imgs = list(imgs.astype(np.uint8).reshape(-1, H, W, C))
    return dict(imgs=imgs, num_views=V, num_segments=S, clip_len=clip_len)


def test_nchw():
    """Frame s of view v is [v, s], channels first."""
    results = flat_views(clip_len=1)
    frames = list(results['imgs'])
    out = FormatViews('NCHW')(results)
    assert out['imgs'].shape == out['input_shape'] == (V, S, C, H, W)
    assert out['imgs'].dtype == np.uint8 and out['imgs'].flags.c_contiguous
    for v in range(V):
        for s in range(S):
            for c in range(C):
                np.testing.assert_array_equal(out['imgs'][v, s, c], frames[v * S + s][..., c])


@pytest.mark.parametrize('clip_len', [1, 4])
def test_ncthw(clip_len):
    """Frame t of segment s of view v is [v, s, :, t]."""
    results = flat_views(clip_len)
    frames = list(results['imgs'])
    out = FormatViews('NCTHW')(results)
    assert out['imgs'].shape == out['input_shape'] == (V, S, C, clip_len, H, W)
    assert out['imgs'].dtype == np.uint8 and out['imgs'].flags.c_contiguous
    for v in range(V):
        for s in range(S):
            for t in range(clip_len):
                frame = frames[(v * S + s) * clip_len + t]
                for c in range(C):
                    np.testing.assert_array_equal(out['imgs'][v, s, c, t], frame[..., c])


@pytest.mark.parametrize('segments', [(3, 1, 2), (2, 2, 2), (6,)])
@pytest.mark.parametrize('input_format, clip_len', [('NCHW', 1), ('NCTHW', 1), ('NCTHW', 4)])
def test_views_of_different_lengths(input_format, clip_len, segments):
    """A tuple of segments puts all clips on one axis, in the order of the frames."""
    results = flat_views(clip_len)
    frames = list(results['imgs'])
    results.update(num_views=len(segments), num_segments=segments)
    out = FormatViews(input_format)(results)
    shape = (1, 6, C, H, W) if input_format == 'NCHW' else (1, 6, C, clip_len, H, W)
    assert out['imgs'].shape == out['input_shape'] == shape
    assert out['imgs'].dtype == np.uint8 and out['imgs'].flags.c_contiguous
    clips = out['imgs'].reshape(6, C, clip_len, H, W)
    for i, frame in enumerate(frames):
        shown = clips[i // clip_len, :, i % clip_len]
        np.testing.assert_array_equal(shown, frame.transpose(2, 0, 1))


def test_unknown_format():
    """MMAction2's other formats are not view formats."""
    with pytest.raises(UserError, match=r"input_format is 'NPTCHW'; use 'NCHW' .* or 'NCTHW'"):
        FormatViews('NPTCHW')


def test_clips_for_a_2d_backbone():
    """The message names both ways out."""
    results = flat_views(clip_len=4)
    for segments in (S, (S,) * V):
        with pytest.raises(UserError, match=r"got clips of 4 frames; set clip_len=1 .* 'NCTHW'"):
            FormatViews('NCHW')(dict(results, num_segments=segments))
