"""FormatViews puts every pixel where the recognizer looks for it."""

import numpy as np
import pytest

from mmssl_video.datasets.transforms import FormatViews
from mmssl_video.errors import UserError

V, S, H, W, C = 3, 2, 4, 5, 3


def flat_views(clip_len, num_segments=S, num_views=V):
    """Frames in order view, segment, frame; every value in the sample is another one."""
    imgs = np.arange(V * S * clip_len * H * W * C) % 251
    imgs = list(imgs.astype(np.uint8).reshape(-1, H, W, C))
    return dict(imgs=imgs, num_views=num_views, num_segments=num_segments, clip_len=clip_len)


@pytest.mark.parametrize('segments', [S, (3, 1, 2), (2, 2, 2), (6,)])
@pytest.mark.parametrize('input_format, clip_len', [('NCHW', 1), ('NCTHW', 1), ('NCTHW', 4)])
def test_frames_and_channels(input_format, clip_len, segments):
    """Views of S segments each; a tuple of segments puts all clips on one axis. Channels first."""
    views = (V, S) if segments == S else (1, 6)
    results = flat_views(clip_len, segments, V if segments == S else len(segments))
    frames = list(results['imgs'])
    out = FormatViews(input_format)(results)
    size = (C, H, W) if input_format == 'NCHW' else (C, clip_len, H, W)
    assert out['imgs'].shape == out['input_shape'] == (*views, *size)
    assert out['imgs'].dtype == np.uint8 and out['imgs'].flags.c_contiguous
    clips = out['imgs'].reshape(V * S, C, clip_len, H, W)
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
