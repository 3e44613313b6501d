"""Mean frame and frame difference: by hand from frames, through files, and on real videos."""

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import SampleFrames
from mmengine.registry import init_default_scope

from mmssl_video.evaluation.extract import extract_features
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.evaluation.trivial import frame_difference, mean_frame
from mmssl_video.video import encode_video

init_default_scope('mmaction')


def extract(encoder, folder):
    return extract_features(encoder, encoder.pipeline, '', str(folder), num_workers=0)


def test_measures_of_clips():
    """The means of cells of 4 x 4 pixels, of frames and of the absolute steps between them."""
    clips = torch.rand(5, 3, 2, 64, 64)
    cells = clips.reshape(5, 3, 2, 16, 4, 16, 4)
    torch.testing.assert_close(
        mean_frame().backbone(clips[:, :, :1]), cells[:, :, 0].mean(dim=(3, 5)).flatten(1)
    )
    steps = (cells[:, :, 1] - cells[:, :, 0]).abs().mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(frame_difference().backbone(clips), steps)


@pytest.mark.parametrize('num_frames', [1, 2, 33, 90])
def test_features_of_a_file(tmp_path, num_frames):
    """Grey levels that drift on the left and jump between two values on the right."""
    left = 20 + 2 * np.arange(num_frames)
    right = 100 + 60 * (np.arange(num_frames) % 2)
    frames = np.empty((num_frames, 48, 96, 3), np.uint8)
    frames[:, :, :48] = left[:, None, None, None]
    frames[:, :, 48:] = right[:, None, None, None]
    encode_video(tmp_path / 'v.mkv', frames, codec='ffv1')

    mean = extract(mean_frame(), tmp_path).features.reshape(3, 16, 16) * 255
    seen = ((np.arange(8) + 0.5) * num_frames / 8).astype(int)
    for part, levels in ((mean[:, :, :8], left), (mean[:, :, 8:], right)):
        np.testing.assert_allclose(part, levels[seen].mean(), atol=1.5)

    difference = extract(frame_difference(), tmp_path).features.reshape(3, 16, 16) * 255
    steps = (2, 60) if num_frames > 1 else (0, 0)
    # Files have fewer levels than pictures.
    for part, step in zip((difference[:, :, :8], difference[:, :, 8:]), steps, strict=True):
        np.testing.assert_allclose(part, step, atol=1.1)


def test_each_pair_of_a_short_video_is_seen():
    """All pairs of up to 33 frames; 32 from the first to the last of longer ones."""
    sampler = frame_difference().pipeline[1]
    assert sampler.pop('type') == 'SampleFrames'
    for num_frames in (2, 3, 20, 33, 34, 5000):
        sampled = SampleFrames(**sampler)(dict(total_frames=num_frames, start_index=0))
        first, second = sampled['frame_inds'].reshape(-1, 2).T
        assert (second == first + 1).all() and (first[0], second[-1]) == (0, num_frames - 1)
        assert len(set(first.tolist())) == min(num_frames - 1, 32)


def test_real_videos(real_data, tmp_path):
    """Signs, told by motion, of half a list by the other: R@1 of another implementation.

    It read all frames with OpenCV, and found 43.75 and 57.5.
    """
    lines = (real_data / 'signs23' / 'test.txt').read_text().splitlines(keepends=True)
    lists = tmp_path / 'gallery.txt', tmp_path / 'query.txt'
    for start, path in enumerate(lists):
        path.write_text(''.join(lines[start::2]))
    found = [
        evaluate_frozen(encoder, encoder.pipeline, *lists, real_data / 'signs23', num_workers=0)
        for encoder in (mean_frame(), frame_difference())
    ]
    recall = [result.metrics['R@1'] for result in found]
    assert recall == pytest.approx([43.75, 57.5], abs=2.6)  # two of 80 videos
