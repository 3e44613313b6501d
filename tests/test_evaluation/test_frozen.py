"""The evaluation of a frozen encoder on videos of plain colours."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmssl_video.datasets.collection import write_list
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.evaluation.trivial import mean_frame
from mmssl_video.video import encode_video

init_default_scope('mmaction')


def test_evaluation_of_a_frozen_encoder(tmp_path):
    """Three colours as classes: the mean frame finds all of them, at better than chance."""
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
    encoder = mean_frame()
    paths = (tmp_path / 'gallery.txt', tmp_path / 'query.txt', tmp_path)
    result = evaluate_frozen(encoder, encoder.pipeline, *paths, num_workers=0)
    assert result.metrics == {'R@1': 100.0, 'R@5': 100.0, 'svm_top1': 100.0}
    assert result.chance['R@1'] == result.chance['svm_top1'] == pytest.approx(33.33)
    assert result.gallery.features.shape == (9, 768)
    assert (result.found.indices[:, 0] // 3).tolist() == result.query.labels.tolist()
