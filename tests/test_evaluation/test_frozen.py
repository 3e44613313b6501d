"""The evaluation of a frozen encoder on videos of plain colours."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmssl_video.datasets import sources
from mmssl_video.datasets.collection import write_list
from mmssl_video.errors import UserError
from mmssl_video.evaluation import frozen
from mmssl_video.evaluation.frozen import evaluate_frozen
from mmssl_video.evaluation.trivial import mean_frame
from mmssl_video.video import encode_video

init_default_scope('mmaction')


def evaluate_colours(tmp_path, sizes, broken=()):
    """Evaluate the mean frame, with three colours as classes of these sizes in both lists."""
    for split in ('gallery', 'query'):
        entries = []
        for label, size in enumerate(sizes):
            for number in range(size):
                name = f'{split}_{label}_{number}.mp4'
                frames = np.full((6, 32, 64, 3), 20 + 5 * number, np.uint8)
                frames[..., label] = 220
                encode_video(tmp_path / name, frames)
                entries.append((name, label))
        write_list(tmp_path / f'{split}.txt', entries)
    for name in broken:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
    encoder = mean_frame()
    paths = (tmp_path / 'gallery.txt', tmp_path / 'query.txt', tmp_path)
    return evaluate_frozen(encoder, encoder.pipeline, *paths, num_workers=0, skip_bad=bool(broken))


def test_evaluation_of_a_frozen_encoder(tmp_path, monkeypatch):
    """The mean frame finds all colours, at better than chance; each list is read once."""
    read, read_lines = [], sources.read_lines
    monkeypatch.setattr(
        sources, 'read_lines', lambda path, *args: read.append(path) or read_lines(path, *args)
    )
    result = evaluate_colours(tmp_path, [3, 3, 3])
    assert read == [str(tmp_path / 'gallery.txt'), str(tmp_path / 'query.txt')]
    assert result.metrics == {'R@1': 100.0, 'R@5': 100.0, 'svm_top1': 100.0}
    assert result.chance['R@1'] == result.chance['svm_top1'] == pytest.approx(33.33)
    assert result.gallery.features.shape == (9, 768)
    assert (result.found.indices[:, 0] // 3).tolist() == result.query.labels.tolist()


def test_a_class_without_a_readable_gallery_video(tmp_path, monkeypatch):
    """Its queries are left out, and R@5 of the other four gallery videos."""
    told = []
    monkeypatch.setattr(frozen, 'print_log', lambda message, *_: told.append(message))
    result = evaluate_colours(tmp_path, [2, 2, 1], broken=['gallery_2_0.mp4'])
    assert result.metrics == {'R@1': 100.0, 'svm_top1': 100.0}
    assert result.chance == {'R@1': 50.0, 'svm_top1': 50.0}
    assert result.query.labels.tolist() == [0, 0, 1, 1] and len(result.query.features) == 4
    assert result.found.indices.shape == (4, 4)
    assert [message.split(': ')[1] for message in told] == [
        'no video of class 2 can be read; 1 of 5 queries are left out',
        '4 videos are too few for R@5',
    ]


def test_queries_of_a_class_that_the_gallery_does_not_list(tmp_path):
    """They stay an error."""
    evaluate_colours(tmp_path, [2, 2, 1])
    gallery = tmp_path / 'gallery.txt'
    gallery.write_text(''.join(gallery.read_text().splitlines(keepends=True)[:4]))
    encoder = mean_frame()
    paths = (gallery, tmp_path / 'query.txt', tmp_path)
    with pytest.raises(UserError, match='class 2 .* is absent'):
        evaluate_frozen(encoder, encoder.pipeline, *paths, num_workers=0)
