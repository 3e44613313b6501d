"""Repeated augmentation: samples of one video, each with frames and a crop of its own."""

import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmssl_video.video import VideoReader

NUM_REPEATS = 3
PIPELINE = [
    dict(type='VideoInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1),
    dict(type='VideoDecode'),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('frame_inds', 'flip')),
]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, write_numbered_video):
    """Two videos of 60 frames, of classes 1 and 0."""
    init_default_scope('mmaction')
    root = tmp_path_factory.mktemp('repeated')
    for number in range(2):
        write_numbered_video(root / f'{number}.mp4', 60, first=100 * number)
    (root / 'list.txt').write_text('0.mp4 1\n1.mp4 0\n')
    return dict(
        type='RepeatedVideoDataset',
        ann_file=str(root / 'list.txt'),
        data_prefix=dict(video=str(root)),
        pipeline=PIPELINE,
        num_repeats=NUM_REPEATS,
    )


def test_samples_of_a_video(dataset, frame_number, monkeypatch):
    """Clips of their own, each as if alone; the video is decoded once."""
    opened, init = [], VideoReader.__init__
    monkeypatch.setattr(
        VideoReader, '__init__', lambda *args, **kw: opened.append(args) or init(*args, **kw)
    )
    np.random.seed(0)
    samples = DATASETS.build(dataset)[1]
    assert len(samples) == NUM_REPEATS and len(opened) == 1
    shown = []
    for sample in samples:
        (clip,) = sample['inputs']
        frames = clip.permute(1, 2, 3, 0).numpy()
        if sample['data_samples'].flip:
            frames = frames[:, :, ::-1]
        shown.append([frame_number(frame) - 100 for frame in frames])
        assert set(np.diff(shown[-1])) == {2}
        assert sample['data_samples'].gt_label == 0
    assert len(set(map(tuple, shown))) == NUM_REPEATS
    assert len({sample['data_samples'].flip for sample in samples}) == 2


def test_clips_follow_the_frame_rate(dataset, tmp_path, write_numbered_video, frame_number):
    """As those of MMAction2's ``VideoDataset``, of which this is a subclass."""
    write_numbered_video(tmp_path / 'fast.mp4', 120, fps=60)
    (tmp_path / 'list.txt').write_text('fast.mp4 1\n')
    sample = dict(PIPELINE[1], target_fps=15)
    lists = dict(ann_file=str(tmp_path / 'list.txt'), data_prefix=dict(video=str(tmp_path)))
    pipeline = [PIPELINE[0], sample, *PIPELINE[2:]]
    repeated = DATASETS.build(dict(dataset, **lists, pipeline=pipeline))[0]
    once = DATASETS.build(dict(lists, type='VideoDataset', pipeline=pipeline))[0]
    steps = [np.diff(each['data_samples'].frame_inds.ravel()).tolist() for each in repeated]
    assert steps == [np.diff(once['data_samples'].frame_inds.ravel()).tolist()] * NUM_REPEATS
    assert steps[0][0] > 4


def test_batches_hold_all_samples(dataset):
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='repeat_pseudo_collate'),
        )
    )
    (batch,) = loader
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [1, 1, 1, 0, 0, 0]
    assert len(batch['inputs']) == 2 * NUM_REPEATS
    assert all(clip.shape == (1, 3, 4, 48, 64) for clip in batch['inputs'])
    assert batch['inputs'][0].dtype == torch.uint8
