"""Raw pixels as features, and the evaluation of a frozen encoder on videos of plain colours."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmssl_video.datasets.synthetic import write_list
from mmssl_video.evaluation.encoder import PixelEncoder
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.models.encoding import encode
from mmssl_video.video import encode_video

init_default_scope('mmaction')


def pixel_encoder(format_shape, size):
    """The baseline, for pixels as they are."""
    return PixelEncoder(
        dict(
            type='ActionDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, format_shape=format_shape
        ),
        size,
    )


def test_pixels_of_frames_and_of_clips():
    """The means of the cells of a grid; a clip counts as the mean of its frames."""
    clips = torch.rand(2, 3, 3, 4, 12, 20)  # [N, M, C, T, H, W]
    cells = clips.reshape(2, 3, 3, 4, 4, 3, 4, 5).mean(dim=(5, 7))
    of_clips = encode(pixel_encoder('NCTHW', 4).backbone, clips, 'NCTHW')
    torch.testing.assert_close(of_clips, cells.mean(dim=3).flatten(2))
    of_frames = encode(pixel_encoder('NCHW', 4).backbone, clips[:, :, :, 0], 'NCHW')
    torch.testing.assert_close(of_frames, cells[:, :, :, 0].flatten(2))


@pytest.mark.parametrize('format_shape', ['NCHW', 'NCTHW'])
def test_evaluation_of_a_frozen_encoder(tmp_path, format_shape):
    """Three colours as classes: pixels find all of them, at better than chance."""
    lists = {'gallery': [], 'query': []}
    for split, entries in lists.items():
        for label in range(3):
            for number in range(3):
                name = f'{split}_{label}_{number}.mp4'
                frames = np.full((6, 32, 64, 3), 20 + 5 * number, np.uint8)
                frames[..., label] = 220
                encode_video(tmp_path / name, frames)
                entries.append((name, label))
        write_list(tmp_path / f'{split}.txt', entries)
    pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleFrames', clip_len=1, num_clips=2, test_mode=True),
        dict(type='VideoDecode'),
        dict(type='FormatShape', input_format=format_shape),
        dict(type='PackActionInputs'),
    ]
    paths = (tmp_path / 'gallery.txt', tmp_path / 'query.txt', tmp_path)
    result = evaluate_frozen(pixel_encoder(format_shape, 2), pipeline, *paths, num_workers=0)
    assert result.metrics == {'R@1': 100.0, 'R@5': 100.0, 'svm_top1': 100.0}
    assert result.chance['R@1'] == result.chance['svm_top1'] == pytest.approx(33.33)
    assert result.gallery.features.shape == (9, 12)
    assert (result.found.indices[:, 0] // 3).tolist() == result.query.labels.tolist()
